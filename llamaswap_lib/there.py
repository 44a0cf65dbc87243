"""A model's server on the machine where a job runs: a free port, its address told to llamaswap, its end.

    python3 there.py [options] -- llama-server --host HOST --port PORT -m model.gguf

This file can be copied to a machine that has no llamaswap: it needs Python 3.8 and nothing else. `llamaswap there` is
the same. The thread `main` starts the server, passes signals on and waits. With `--front`, the thread `front` asks
whether the llamaswap there knows this run, and has the server ended when it has not for a while. When this program
ends, the process group of the server has ended. Stdout may be a closed pipe by then (ssh), so nothing depends on it;
and the end of stdin means nothing (srun leaves it open when it is killed).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

VARIABLE = "LLAMASWAP_ANNOUNCE"  # has the token
LOST_AFTER, GRACE = 15.0, 10.0  # seconds
PAUSE, PATIENCE = 3.0, 3.0  # seconds between two questions to llamaswap, and for one of them
LEAST_LOOKS = 5  # before it counts as gone
OK = 200
WHY = {0: "does not answer any more", 404: "does not know this run any more"}
MOST_BYTES = 8_192
LOOK = 0.02  # seconds between looks at processes that are not our children
AT_END_TIMEOUT = 30.0  # seconds for the command of --at-end
PORTS = (20_000, 32_767)  # below those that Linux gives to outgoing connections
MOST_TRIES = 200
WORD = re.compile(r"\$\{(HOST|PORT)\}|\$(HOST|PORT)\b|(?<![\w$])(HOST|PORT)(?![\w=])")
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)
NOT_FOUND, NO_PERMISSION, BY_SIGNAL = 127, 126, 128  # exit codes, as shells have them


class Fault(Exception):
    """What the user can put right; the text says it, `code` is the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this file and of `llamaswap there`."""
    add = parser.add_argument
    add("--host", metavar="NAME", help="name or address of this machine (default: $POD_IP, or its host name)")
    ports_help = "the port is one of these, by chance (default: 20000-32767)"
    add("--ports", metavar="FIRST-LAST", type=port_range, default=PORTS, help=ports_help)
    add("--token", metavar="TOKEN", help=f"the token of this run (default: ${VARIABLE})")
    front_help = "the llamaswap that has started this: tell it the address by a request, and end the server without it"
    add("--front", metavar="URL", help=front_help)
    lost_help = "end the server when that llamaswap has not known this run for so long (default: 15; 0: never)"
    add("--lost-after", metavar="SECONDS", type=seconds, default=LOST_AFTER, help=lost_help)
    end_help = "run this in a shell after such an end; '' for nothing (default: cancel this job of Slurm's)"
    add("--at-end", metavar="COMMAND", type=str, help=end_help)
    grace_help = "from the signal that ends the server to SIGKILL (default: 10)"
    add("--grace", metavar="SECONDS", type=seconds, default=GRACE, help=grace_help)
    cmd_help = "the server's command, behind --, with the words HOST and PORT in it"
    add("command", metavar="CMD", type=str, nargs="*", help=cmd_help)


def port_range(text: str) -> tuple[int, int]:
    """`29000-29999` as two numbers; raises ArgumentTypeError."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) <= 65_535):
        raise argparse.ArgumentTypeError(f"expected two ports such as 29000-29999, got {text!r}")
    return int(first), int(last)


def seconds(text: str) -> float:
    """A time; raises ArgumentTypeError."""
    if not re.fullmatch(r"\d{1,7}(\.\d+)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected seconds such as 15, got {text!r}")
    return float(text)


def run(options: argparse.Namespace) -> int:
    """Run the server to its end; the exit code is the server's own, 128 + N after the signal N."""
    try:
        job = Job(options)
        job.start()
        return job.wait()
    except Fault as fault:
        complain(str(fault))
        return fault.code


def complain(text: str) -> None:
    """On stderr, if anybody reads that."""
    write(2, f"llamaswap there: {text}\n")


def write(descriptor: int, text: str) -> None:
    """At once, and no error if the reader has gone."""
    try:
        os.write(descriptor, text.encode(errors="replace"))
    except OSError:
        pass  # it has gone


class Job:
    """One server. The main thread."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Raises Fault for what is missing."""
        if not options.command:
            raise Fault("no command; it stands behind --, such as: there -- llama-server --host HOST --port PORT")
        if not any("PORT" in found[0] for word in options.command for found in WORD.finditer(word)):
            raise Fault("the command has no word PORT, so the server is not told where to listen")
        self._token = options.token or os.environ.get(VARIABLE, "")
        if not self._token:
            raise Fault(f"no token, without which llamaswap believes no address: give --token, or set {VARIABLE}")
        self._options = options
        self._host = options.host or os.environ.get("POD_IP") or socket.gethostname()
        self._front = Front(options.front, self._token, options.lost_after) if options.front else None
        self._early: list[int] = []  # signals that came before the server
        self._server: subprocess.Popen[bytes] | None = None
        self._kill_at = float("inf")

    def start(self) -> None:
        """Start the server and tell its address; raises Fault."""
        signal.signal(signal.SIGALRM, lambda *_: self._send(signal.SIGKILL))
        for passed_on in PASSED_ON:
            if passed_on == signal.SIGTERM or signal.getsignal(passed_on) is not signal.SIG_IGN:
                signal.signal(passed_on, lambda number, _: self._pass_on(number))
        port = free_port(*self._options.ports)
        words = [replaced(word, self._host, port) for word in self._options.command]
        env = {name: value for name, value in os.environ.items() if name != VARIABLE}  # it would be in its log one day
        try:
            self._server = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        except OSError as error:
            code = NO_PERMISSION if isinstance(error, PermissionError) else NOT_FOUND
            raise Fault(f"cannot start {words[0]}: {error.strerror}", code) from None
        for number in self._early:
            self._pass_on(number)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._announce(f"http://{host}:{port}")

    def wait(self) -> int:
        """Until all of the server has ended, and after a lost front also the job; the exit code."""
        assert self._server is not None, "started before"
        status = self._server.wait()
        self._end_rest()
        signal.alarm(0)
        if self._front and self._front.is_lost:
            self._at_end()
        return status if status >= 0 else BY_SIGNAL - status

    def _announce(self, address: str) -> None:
        """By a request where that works, else by a line of the output. Told by both, it would seem to have moved."""
        if not (self._front and self._front.tell(address)):
            write(1, f"LLAMASWAP_ADDRESS={self._token} {address}\n")
        if self._front:
            threading.Thread(target=self._front.watch, args=(address,), name="front", daemon=True).start()

    # -- its end --

    def _pass_on(self, number: int) -> None:
        """A signal to the server. Of those that end it, the first one begins the time until SIGKILL."""
        if self._server is None:
            self._early.append(number)
            return
        if number in ENDING and self._kill_at == float("inf"):
            self._kill_at = time.monotonic() + self._options.grace
            signal.setitimer(signal.ITIMER_REAL, max(self._options.grace, LOOK))
        self._send(number)

    def _send(self, number: int) -> bool:
        """To the server's group; whether it has any process."""
        assert self._server is not None, "started before"
        try:
            os.killpg(self._server.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # the last one has changed its user
        return True

    def _end_rest(self) -> None:
        """The group's processes that have outlived the first one: SIGTERM, then SIGKILL, then no more patience."""
        self._send(signal.SIGTERM)
        kill_at = min(self._kill_at, time.monotonic() + self._options.grace)
        while self._send(0) and time.monotonic() < kill_at:
            time.sleep(LOOK)
        self._send(signal.SIGKILL)
        while self._send(0) and time.monotonic() < kill_at + PATIENCE:
            time.sleep(LOOK)

    def _at_end(self) -> None:
        """The allocation of `srun` outlives its last process, GPUs and all, when nobody waits for it any more."""
        command = self._options.at_end
        if command is None:
            command = "scancel $SLURM_JOB_ID" if os.environ.get("SLURM_JOB_ID") and shutil.which("scancel") else ""
        try:
            if command:
                subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, timeout=AT_END_TIMEOUT, check=False)  # noqa: S602 - the user's own
        except (OSError, subprocess.TimeoutExpired) as error:
            complain(f"the command after the end failed: {error}")


class Front:
    """The llamaswap that has started this. The main thread, then the thread `front`."""

    def __init__(self, url: str, token: str, lost_after: float) -> None:
        """Raises Fault for what is no URL."""
        if not re.match(r"https?://[^/]+", url):
            raise Fault(f"--front: expected the address of llamaswap such as http://front:8080, got {url!r}")
        self.is_lost = False
        self._shown = url
        self._url = f"{url.rstrip('/')}/api/announce/{token}"
        self._lost_after = lost_after

    def tell(self, address: str) -> bool:
        """Whether that has worked."""
        return self._ask({"address": address})[0] == OK

    def watch(self, address: str) -> None:
        """Until it has gone: then send SIGTERM to ourselves. It is told the address again where it has another one."""
        seen, why = time.monotonic(), ""
        pause = min(PAUSE, self._lost_after / LEAST_LOOKS) if self._lost_after else PAUSE
        while not 0 < self._lost_after <= time.monotonic() - seen:
            time.sleep(pause)
            status, told = self._ask()
            if status == OK:
                seen = time.monotonic()
                if told != address:
                    self.tell(address)
            else:
                why = WHY.get(status, f"answers with {status}") + (f" ({told})" if told else "")
        complain(f"the llamaswap at {self._shown} {why}: ending the server")
        self.is_lost = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _ask(self, told: dict[str, str] | None = None) -> tuple[int, str]:
        """The status of its answer, 0 without one; and the address that it knows, or why there is no answer."""
        import http.client  # noqa: PLC0415 - with the next one it takes longer than all others together
        import urllib.request  # noqa: PLC0415

        class Redirect(urllib.request.HTTPRedirectHandler):
            """What is told is told there, too; else a POST becomes a GET, whose answer looks as if it had worked."""

            def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
                del fp, code, msg, headers
                return urllib.request.Request(newurl, req.data, req.headers)  # noqa: S310 - as below

            http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302

        data = None if told is None else json.dumps(told).encode()
        headers = {"X-Requested-With": "llamaswap", "Content-Type": "application/json"}  # so that it is not logged
        request = urllib.request.Request(self._url, data, headers)  # noqa: S310 - http or https
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), Redirect)
        try:
            with direct.open(request, timeout=PATIENCE) as answer:
                return answer.status, str(json.loads(answer.read(MOST_BYTES)).get("address", ""))
        except urllib.request.HTTPError as error:
            error.close()
            return error.code, ""
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)  # of an URLError
            return 0, str(getattr(reason, "strerror", None) or reason)


def free_port(first: int, last: int) -> int:
    """A port of these that nobody has on any address of this machine; raises Fault."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    every = "::" if family == socket.AF_INET6 else ""
    for _ in range(MOST_TRIES):
        port = random.randint(first, last)  # two jobs that start at once choose different ones
        with socket.socket(family) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind((every, port))
            except OSError:
                continue
            return port
    raise Fault(f"no port from {first} to {last} is free here")


def replaced(word: str, host: str, port: int) -> str:
    """With the host and port in the place of HOST and PORT, also written $PORT and ${PORT}."""
    return WORD.sub(lambda found: host if "HOST" in found[0] else str(port), word)


def main() -> int:
    parser = argparse.ArgumentParser(prog="there.py", description="Runs a model's server for a llamaswap elsewhere.")
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
