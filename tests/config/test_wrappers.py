"""Which program a command starts behind others, which word a shell reads, and whose files it names."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.wrappers import started


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("llama-server -m x", "llama-server"),
        ("/usr/bin/env A=1 B=2 llama-server", "/usr/bin/env llama-server"),
        ("env -u A -C /x --ignore-environment A=1 vllm serve", "env vllm"),
        ("sudo -u me -E A=1 docker run", "sudo docker"),
        ("sudo --user=me -- docker run", "sudo docker"),
        ("nice -n 5 ionice -c 3 taskset -c 0-7 x", "nice ionice taskset x"),
        ("nice -10 x", "nice x"),
        ("taskset 0xff x", "taskset x"),
        ("chrt -f 10 x", "chrt x"),
        ("numactl --cpunodebind=0 -m 0 -- x -m 1", "numactl x"),
        ("timeout -k 5 60 x", "timeout x"),
        ("stdbuf -oL x", "stdbuf x"),
        ("nohup setsid x", "nohup setsid x"),
        ("sudo", "sudo"),
        ("sudo -u", "sudo"),
        ("", ""),
    ],
)
def test_the_program_that_a_wrapper_starts_is_checked_as_well(command: str, programs: str) -> None:
    argv = command.split()
    assert [argv[number] for number in started(argv).programs] == programs.split()


@pytest.mark.parametrize(
    "command",
    [
        *("runuser -u me -- docker run x", "setpriv --reuid=1 podman run x", "conda run -n e docker run x"),
        *("./start.sh kubectl exec pod -- x", "sudo docker run x", "env A=1 apptainer exec x"),
    ],
)
def test_files_of_a_container_are_not_looked_for_whatever_wraps_its_command(command: str) -> None:
    assert not started(command.split()).is_here


@pytest.mark.parametrize("command", ["llama-server -m /docker/x", "sudo llama-server", "/opt/podman-models/x"])
def test_files_of_this_machine_are_looked_for(command: str) -> None:
    assert started(command.split()).is_here


@pytest.mark.parametrize(
    ("argv", "script"),
    [
        (("su", "me", "-c", "a b"), 3),
        (("runuser", "-l", "me", "-c", "a b"), 4),
        (("sh", "-c", "a b"), 2),
        (("sudo", "/bin/bash", "-l", "-ec", "a b", "zero"), 4),
        (("docker", "run", "--entrypoint=/bin/sh", "image", "-c", "a b"), 5),
        (("docker", "exec", "box", "bash", "-lc", "a b"), 5),
        (("sh", "run.sh"), None),
        (("sh", "-c"), None),
        (("llama-server", "-c", "4096"), None),
    ],
)
def test_the_word_that_a_shell_reads_is_known(argv: tuple[str, ...], script: int | None) -> None:
    assert started(argv).script == script


@pytest.mark.parametrize(
    ("command", "is_here", "has_shell"),
    [
        ("llama-server", True, False),
        ("sh -c x", True, False),
        ("sudo docker run", False, False),
        ("/usr/local/bin/kubectl exec", False, False),
        ("nice ssh box x", False, True),
        ("wsl x", False, True),
        ("su - me -c x", True, True),
    ],
)
def test_it_is_known_where_the_words_are_read(command: str, is_here: bool, has_shell: bool) -> None:
    found = started(command.split())
    assert (found.is_here, found.has_shell) == (is_here, has_shell)
