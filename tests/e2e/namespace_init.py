"""Process 1 of a PID namespace: `python namespace_init.py COMMAND...` runs it, and ends when nobody is left there.

The exit code is the command's, 128 + N after the signal N. So what outlives the command (the guardian of a llamaswap
that was killed) is not ended with it. A program of its own, without dependencies.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    command = os.fork()
    if not command:
        os.execvp(sys.argv[1], sys.argv[1:])
    code = 1
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return code if code >= 0 else 128 - code
        if pid == command:
            code = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
