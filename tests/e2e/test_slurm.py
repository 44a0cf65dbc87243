"""Models that run on the nodes of a Slurm cluster, a real one: each thing that can happen to a job, once."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.pages import Block, blocks, name_of, of_language
from tests.e2e.program import HELLO, wait_until
from tests.e2e.slurm import SERVER, Cluster, Front, why_impossible

REASON = why_impossible()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON != "", reason=REASON)]
FRONT = "--front http://127.0.0.1:${OWN_PORT}"
SBATCH = ("sbatch", "--wait", "-o", "/dev/null")


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """With nothing on it, before and after."""
    whole_cluster.await_idle()
    yield whole_cluster
    whole_cluster.await_idle()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One that a test may break."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    with Cluster(folder) as made:
        yield made


def test_a_model_is_loaded_on_a_node_answers_and_is_swapped(cluster: Cluster, tmp_path: Path) -> None:
    config = {"models": {name: cluster.model(f"ls-{name}") for name in ("a", "b")}, "logToStdout": "both"}
    with Front(cluster, tmp_path / "front", config) as front:
        for name in ("a", "b", "a"):
            told = front.chat(name).json()
            assert (told["name"], told["node"] in cluster.names) == (name, True)
            assert front.states() == {name: "ready"}
            assert cluster.jobs() == {f"ls-{name}": "RUNNING"}
        assert front.get("/unload").status == 200
        wait_until(lambda: "a: got SIGTERM, bye" in front.stdout, "the server got SIGTERM")
        wait_until(lambda: not cluster.jobs(), "the job is over")


def test_a_job_waits_for_a_node_and_is_withdrawn_when_nobody_waits_for_it(cluster: Cluster, tmp_path: Path) -> None:
    with Front(cluster, tmp_path / "front", {"models": {"a": cluster.model("ls-a")}}) as front:
        cluster.fill("others")
        with front.wire() as wire:
            wire.request("POST", "/v1/chat/completions", {"model": "a", **HELLO})
            wait_until(lambda: cluster.jobs().get("ls-a") == "PENDING", "it is queued")
            assert [row["reason"] for row in front.queue()] == ["queued"]
        wait_until(lambda: "ls-a" not in cluster.jobs(), "it is withdrawn")
        wait_until(lambda: not front.states(), "here too")
        with front.wire() as wire:
            wire.request("POST", "/v1/chat/completions", {"model": "a", **HELLO})
            wait_until(lambda: cluster.jobs().get("ls-a") == "PENDING", "it is queued once more")
            cluster.cancel("others")
            assert wire.status() == 200
        assert front.get("/unload").status == 200


@pytest.mark.parametrize("client", [("srun",), SBATCH], ids=["srun", "sbatch"])
def test_a_job_ends_when_llamaswap_is_killed(cluster: Cluster, tmp_path: Path, client: tuple[str, ...]) -> None:
    model = cluster.model("ls-a", client=client, there=FRONT)
    with Front(cluster, tmp_path / "front", {"models": {"a": model}}) as front:
        assert front.chat("a").status == 200
        front.signal(signal.SIGKILL)
        assert front.wait() == 128 + signal.SIGKILL
        wait_until(lambda: not cluster.jobs(), "the job has been cancelled")


@pytest.mark.parametrize("client", [("srun",), SBATCH], ids=["srun", "sbatch"])
def test_a_job_ends_when_its_llamaswap_loses_its_power(
    cluster: Cluster, tmp_path: Path, client: tuple[str, ...]
) -> None:
    """By the helper on the node: nothing is left that could say anything."""
    model = cluster.model("ls-a", client=client, there=f"{FRONT} --lost-after 1")
    with Front(cluster, tmp_path / "front", {"models": {"a": model}}) as front:
        assert front.chat("a").status == 200
        front.lose_power()
        wait_until(lambda: not cluster.jobs(), "the job has been cancelled")


@pytest.mark.parametrize("client", [("srun",), (*SBATCH, "--no-requeue")], ids=["srun", "sbatch"])
def test_a_job_that_is_preempted_is_loaded_again(cluster: Cluster, tmp_path: Path, client: tuple[str, ...]) -> None:
    model = cluster.model("ls-a", client=client, there=FRONT)
    with Front(cluster, tmp_path / "front", {"models": {"a": model}}) as front:
        first = front.chat("a").json()["job"]
        cluster.fill("urgent", "-p", "urgent")
        wait_until(lambda: not front.states(), "its end is noticed")
        with front.wire() as wire:
            wire.request("POST", "/v1/chat/completions", {"model": "a", **HELLO})
            wait_until(lambda: cluster.jobs().get("ls-a") == "PENDING", "it waits for a node")
            cluster.cancel("urgent")
            assert wire.status() == 200
        assert front.chat("a").json()["job"] != first
        assert front.get("/unload").status == 200


def test_jobs_whose_time_limit_is_over_are_loaded_again(cluster: Cluster, tmp_path: Path) -> None:
    """Slurm looks at time limits each half a minute."""
    clients = {"a": ("srun",), "b": SBATCH}
    models = {name: cluster.model(f"ls-{name}", client=words, there=FRONT) for name, words in clients.items()}
    groups = {"cluster": {"swap": False, "exclusive": False, "members": ["a", "b"]}}
    with Front(cluster, tmp_path / "front", {"models": models, "groups": groups}) as front:
        first = {name: front.chat(name).json()["job"] for name in models}
        for job in first.values():
            cluster.run("scontrol", "update", f"JobId={job}", "EndTime=now")
        wait_until(lambda: len(front.states()) < 2, "the end of one is noticed")
        wait_until(lambda: not front.states(), "that of the other, too")
        for name, job in first.items():
            assert "JobState=TIMEOUT " in cluster.run("scontrol", "show", "job", job)
            assert front.chat(name).json()["job"] != job
        assert front.get("/unload").status == 200


def test_a_job_that_is_requeued_is_found_again_or_ends(cluster: Cluster, tmp_path: Path) -> None:
    """`sbatch --wait` goes on, or ends, as it happens. Then the run has ended, and the job starts again for nobody."""
    model = cluster.model("ls-a", client=(*SBATCH, "--requeue"), there=f"{FRONT} --lost-after 1")
    with Front(cluster, tmp_path / "front", {"models": {"a": model}}) as front:
        job = front.chat("a").json()["job"]
        cluster.run("scontrol", "requeue", job)
        wait_until(lambda: cluster.jobs().get("ls-a") == "PENDING", "it is queued again")
        cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # else Slurm lets it wait for two minutes

        def is_found_again() -> bool:
            return "a: ready at http://" in front.stdout and front.states() == {"a": "ready"}

        wait_until(lambda: is_found_again() or not (front.states() or cluster.jobs()), "it is found again, or ends")
        assert front.chat("a").status == 200
        assert cluster.jobs() == {"ls-a": "RUNNING"}
        assert front.get("/unload").status == 200


def test_what_an_earlier_run_has_left_is_ended_before_the_next_start(cluster: Cluster, tmp_path: Path) -> None:
    model = cluster.model("ls-a", client=SBATCH, there=FRONT, cmdStatus="sh -c 'squeue -h -n ls-a | grep -q .'")
    config = {"models": {"a": {**model, "cmd": model["cmd"].replace(FRONT, f"{FRONT} --lost-after 0")}}}
    with Front(cluster, tmp_path / "first", config) as first:
        job = first.chat("a").json()["job"]
        first.lose_power()
        assert cluster.jobs() == {"ls-a": "RUNNING"}
        with Front(cluster, tmp_path / "second", config) as second:
            assert second.chat("a").json()["job"] != job
            assert cluster.job_id("ls-a") != job
            assert second.get("/unload").status == 200


def test_two_users_have_servers_on_one_node_and_each_gets_their_own(cluster: Cluster, tmp_path: Path) -> None:
    models = {name: cluster.model(f"ls-{name}", client=("srun", "-w", "node1")) for name in ("alice", "bob")}
    for model in models.values():
        model["cmd"] = model["cmd"].replace("--gres=gpu:1 ", "")  # the node has only one
    with (
        Front(cluster, tmp_path / "alice", {"models": {"alice": models["alice"]}}) as one,
        Front(cluster, tmp_path / "bob", {"models": {"bob": models["bob"]}}) as other,
    ):
        for _ in range(2):
            told = [front.chat(name).json() for front, name in ((one, "alice"), (other, "bob"))]
            assert [(it["name"], it["node"]) for it in told] == [("alice", "node1"), ("bob", "node1")]
        for front in (one, other):
            assert front.get("/unload").status == 200


def test_a_model_whose_slurmd_dies_answers_on_and_leaves_nothing_behind(own_cluster: Cluster, tmp_path: Path) -> None:
    """Slurm takes the node out, its default is after five minutes: srun ends, and the model is loaded elsewhere."""
    model = own_cluster.model("ls-a", there=f"{FRONT} --lost-after 1")
    with Front(own_cluster, tmp_path / "front", {"models": {"a": model}}) as front:
        before = front.chat("a").json()
        own_cluster.kill_slurmd(before["node"])
        assert front.chat("a").json() == before
        own_cluster.run("scontrol", "update", f"NodeName={before['node']}", "State=DOWN", "Reason=dead")
        wait_until(lambda: not front.states(), "srun has ended")
        after = front.chat("a").json()
        assert after["node"] != before["node"]
        wait_until(lambda: servers_of(front) == 1, "the old server ends")
        assert front.chat("a").json() == after
        assert front.get("/unload").status == 200


def test_an_idle_model_is_evicted_for_one_that_is_queued(cluster: Cluster, tmp_path: Path) -> None:
    names = ["a", "b", "c"]  # of which two have a node
    group = {"swap": False, "exclusive": False, "persistent": True, "whenQueued": "evict", "members": names}
    config = {"models": {name: cluster.model(f"ls-{name}") for name in names}, "groups": {"cluster": group}}
    with Front(cluster, tmp_path / "front", config) as front:

        def have_both_nodes() -> bool:
            """One that is ready goes, where the other one takes a second to begin."""
            assert [front.chat(name).json()["name"] for name in "ab"] == ["a", "b"]
            return front.states() == {"a": "ready", "b": "ready"}

        wait_until(have_both_nodes, "both are ready")
        for name in ("a", "c"):  # b has been idle for longer than a
            assert front.chat(name).json()["name"] == name
        wait_until(lambda: front.states() == {"a": "ready", "c": "ready"}, "the end of b is noticed")
        front.await_log("b: stopping, idle, makes room in the queue of c")
        assert front.get("/unload").status == 200


def test_a_model_whose_node_is_switched_off_is_loaded_elsewhere(own_cluster: Cluster, tmp_path: Path) -> None:
    """Long before Slurm notices. The request that finds nobody there waits, and the next run answers it."""
    model = own_cluster.model("ls-a", there=FRONT, lostAfter=1, unloadTimeout=1)
    with Front(own_cluster, tmp_path / "front", {"models": {"a": model}}) as front:
        node = front.chat("a").json()["node"]
        own_cluster.power_off(node)
        [other] = set(own_cluster.names) - {node}
        assert front.chat("a").json()["node"] == other
        front.await_log("a: lost: no answer from http://127.0.0.1")
        assert front.get("/unload").status == 200


def test_a_request_to_a_node_that_is_silent_is_answered_elsewhere_once_slurm_gives_it_up(
    own_cluster: Cluster, tmp_path: Path
) -> None:
    """A frozen machine holds its connections: only the end of srun says that nothing will come of them."""
    model = own_cluster.model("ls-a", there=FRONT, unloadTimeout=1)
    with Front(own_cluster, tmp_path / "front", {"models": {"a": model}}) as front:
        node = front.chat("a").json()["node"]
        own_cluster.signal_all(node, signal.SIGSTOP)
        with front.wire() as wire:
            wire.request("POST", "/v1/chat/completions", {"model": "a", **HELLO})
            wait_until(lambda: front.running("a")["in_flight"] == 1, "it is inside")
            own_cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=silent")
            [other] = set(own_cluster.names) - {node}
            assert wire.status() == 200
        assert front.chat("a").json()["node"] == other
        own_cluster.power_off(node)
        assert front.get("/unload").status == 200


CONFIGURATIONS = [block for block in of_language("yaml") if re.search(r"cmd: (srun|sbatch) ", block.text)]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=name_of)
def test_the_configurations_of_the_page_are_loaded_and_unloaded(cluster: Cluster, tmp_path: Path, block: Block) -> None:
    config = yaml.safe_load(adapted(block.text, cluster, "${OWN_PORT}"))
    with Front(cluster, tmp_path / "front", config) as front:
        for script in (other for other in blocks(block.page) if other.text.startswith("#!/bin/sh")):
            path = cluster.folder / ("serve.sh" if "port=$(" in script.text else "there.sh")
            path.write_text(adapted(script.text, cluster, str(front.port)))
            path.chmod(0o755)
        for model in config["models"]:
            assert front.chat(model).json()["node"] in cluster.names
        assert front.get("/unload").status == 200


def adapted(text: str, cluster: Cluster, port: str) -> str:
    """With a server, a helper, names and files that are there."""
    text = text.replace("llamaswap there", str(cluster.folder / "on_node")).replace("python3", sys.executable)
    text = re.sub(r"llama-server --host (\S+) --port (\S+).*", rf"{sys.executable} -S {SERVER} \1 \2 qwen", text)
    text = text.replace("/shared/", f"{cluster.folder}/").replace("front:8080", f"127.0.0.1:{port}")
    return (
        text.replace("node3", "node1").replace("http://node1", "http://127.0.0.11").replace("$(hostname)", "127.0.0.1")
    )


def servers_of(front: Front) -> int:
    """How many there are on the nodes: helpers and srun have the server's words in theirs."""
    return sum(SERVER.name in command.split()[2] for command in front.relatives().values() if command.count(" ") > 2)
