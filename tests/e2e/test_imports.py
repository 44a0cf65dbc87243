"""After the start nothing is imported and no file of the program is opened, whatever is asked of it."""

from __future__ import annotations

import gzip
import shutil
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from llamaswap_lib.wire.zstd import find_zstandard
from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, IS_CHECKOUT, ROOT, demo, models, wait_until
from tests.web.zstd_frames import stored

AUDITED = Path(__file__).with_name("audited.py")
CONFIG = {
    **models(a=demo(), b={"cmd": demo(), "filters": {"setParams": {"x": 1}}}, missing="/no/such/program ${PORT}"),
    "peers": {"p": {"proxy": "http://bücher.invalid", "models": ["far"]}},
}
PUT_OFF = ("_bz2", "_lzma", "_ssl", "html.entities")  # what bz2, lzma, ssl and html import
ENCODED = b'{"model": "a", "messages": [], "max_tokens": 1}'


def test_nothing_is_imported_and_no_file_of_ours_is_opened_after_the_start(
    run_program: RunProgram, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    command = (*COMMAND[:-1], str(AUDITED), str(notes), COMMAND[-1])
    with run_program(CONFIG, command=command, flags=["-allow-config-edit"]) as program:
        wait_until(lambda: "its name in the Via header" in program.stdout, "it has imported what it needs later")
        started = notes.read_text()
        assert "tempfile" in started
        assert [name for name in PUT_OFF if f"import {name}\n" in started] == []
        assert program.get("/health").status == 200
        begun = len(notes.read_bytes())

        assert program.chat("a", max_tokens=1).status == 200
        assert program.chat("b", max_tokens=1, padding="x" * 3_000_000).status == 200
        for coding, body in (("gzip", gzip.compress(ENCODED)), ("zstd", stored(ENCODED)), ("br", ENCODED)):
            answer = program.ask(
                "POST", "/v1/chat/completions", body, content_type="application/json", content_encoding=coding
            )
            assert answer.status == (200 if coding == "gzip" or (coding == "zstd" and find_zstandard()) else 415)
        assert program.chat("missing").status == 502
        assert program.chat("far").status == 502
        assert "did you mean" in program.chat("aa").message
        assert program.ask("POST", "/v1/chat/completions", b"{", content_type="application/json").status == 400
        typo = b"models: {a: {cmd: '${LLAMASWAP} ${PORT}', tll: 1}}"
        assert "did you mean" in program.ask("POST", "/api/config/check", typo).text
        etag = str(program.get("/api/config/files/config.yaml").headers["etag"])
        assert program.ask("PUT", "/api/config/files/config.yaml", typo, if_match=etag).status == 200
        assert program.ask("PUT", "/api/config/files/config.yaml", b"models: [", if_match=etag).status == 412
        for path in (
            "/api/config",
            "/api/config/files",
            "/ui/",
            "/running",
            "/v1/models",
            "/api/queue",
            "/logs",
            "/nowhere%0a",
            "/unload",
        ):
            assert program.get(path).status in (200, 404), path

        later = notes.read_text()[begun:].splitlines()
        assert [line for line in later if line.startswith("import ")] == []
        ours = (str(ROOT / "llamaswap"), COMMAND[-1])
        assert [line for line in later if any(path in line for path in ours)] == []


PEERS = {"peers": {"p": {"proxy": "http://127.0.0.1:9", "models": ["far"]}}}
BY_MEMORY = {"routing": {"router": {"use": "memory"}}}


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (PEERS, "llamaswap_lib.fleet.looks"),
        (BY_MEMORY, "llamaswap_lib.core.eviction.placing"),
        (BY_MEMORY, "llamaswap_lib.estimates.estimator"),
        (models(b={"cmd": demo(), "proxy": "https://127.0.0.1:${PORT}"}), "_ssl"),
        ({"peers": {"p": {"proxy": "https://127.0.0.1:9", "models": ["far"]}}}, "_ssl"),
    ],
    ids=["peers", "memory", "estimates", "tls-model", "tls-peer"],
)
def test_what_only_some_configurations_need_is_imported_with_the_first_of_them(
    run_program: RunProgram, tmp_path: Path, more: dict[str, Any], name: str
) -> None:
    notes = tmp_path / "notes"
    command = (*COMMAND[:-1], str(AUDITED), str(notes), COMMAND[-1])
    config = models(a=demo())
    with run_program(config, command=command) as program:
        wait_until(lambda: "tempfile" in notes.read_text(), "it has imported what it needs later")
        program.reload({**config, "logLevel": "debug"})
        assert f"import {name}\n" not in notes.read_text()
        program.reload({**config, **more, "models": {**config["models"], **more.get("models", {})}})
        assert f"import {name}\n" in notes.read_text()
        begun = len(notes.read_bytes())
        assert program.chat("a", max_tokens=1).status == 200
        if "peers" in more:
            wait_until(lambda: program.get("/api/peers").json()["peers"][0]["up"] is False, "it is looked at")
            assert program.chat("far").status == 502
        later = notes.read_text()[begun:].splitlines()
        assert [line for line in later if line.startswith("import llamaswap_lib")] == []


def test_openssl_is_imported_at_the_start_where_clients_speak_tls(run_program: RunProgram, tmp_path: Path) -> None:
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem := tmp_path / "both.pem")
    notes = tmp_path / "notes"
    command = (*COMMAND[:-1], str(AUDITED), str(notes), COMMAND[-1])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    flags = ["-tls-cert-file", str(pem), "-tls-key-file", str(pem)]
    with run_program(models(a=demo()), command=command, flags=flags, context=context) as program:
        assert program.get("/health").status == 200
        assert "import _ssl\n" in notes.read_text()


@pytest.mark.skipif(not IS_CHECKOUT, reason="another build of it is tested")
def test_a_reload_that_needs_files_which_have_changed_is_refused_until_an_upgrade(
    run_program: RunProgram, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "llamaswap_lib", tmp_path / "llamaswap_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "llamaswap.py", tmp_path)
    config = models(a=demo(), b=demo())
    with run_program(config, command=(sys.executable, str(tmp_path / "llamaswap.py"))) as program:
        assert program.chat("a", max_tokens=1).status == 200
        changed = tmp_path / "llamaswap_lib" / "fleet" / "looks.py"
        changed.write_text(changed.read_text() + "# of another version\n")

        assert program.reload({**config, "logLevel": "debug"})["changed"]
        program.write_config({**config, **PEERS})
        answer = program.post("/api/config/reload", None)
        assert answer.status == 400
        why = "the program's files have changed since it was started: upgrade llamaswap (`llamaswap upgrade`)"
        assert why in answer.message
        program.await_log("the new configuration cannot be used, the old one goes on:", why)
        assert program.chat("b", max_tokens=1).status == 200
        assert program.get("/api/peers").json()["peers"] == []

        program.upgrade()
        assert len(program.get("/api/peers").json()["peers"]) == 1
        assert program.chat("b", max_tokens=1).status == 200
