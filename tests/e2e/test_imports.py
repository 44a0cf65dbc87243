"""After the start nothing is imported and no file of the program is opened, whatever is asked of it."""

from __future__ import annotations

import gzip
from pathlib import Path

from llamaswap_lib.wire.zstd import find_zstandard
from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, ROOT, demo, models, wait_until
from tests.web.zstd_frames import stored

AUDITED = Path(__file__).with_name("audited.py")
CONFIG = {
    **models(a=demo(), b={"cmd": demo(), "filters": {"setParams": {"x": 1}}}, missing="/no/such/program ${PORT}"),
    "peers": {"p": {"proxy": "http://bücher.invalid", "models": ["far"]}},
}
ENCODED = b'{"model": "a", "messages": [], "max_tokens": 1}'


def test_nothing_is_imported_and_no_file_of_ours_is_opened_after_the_start(
    run_program: RunProgram, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    command = (*COMMAND[:-1], str(AUDITED), str(notes), COMMAND[-1])
    with run_program(CONFIG, command=command, flags=["-allow-config-edit"]) as program:
        wait_until(lambda: "its name in the Via header" in program.stdout, "it has imported what it needs later")
        assert "tempfile" in notes.read_text()
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


def test_what_looks_at_peers_is_imported_only_where_there_are_any(run_program: RunProgram, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    command = (*COMMAND[:-1], str(AUDITED), str(notes), COMMAND[-1])
    looks = "import llamaswap_lib.fleet.watching"
    with run_program(models(a=demo()), command=command) as program:
        wait_until(lambda: "tempfile" in notes.read_text(), "it has imported what it needs later")
        assert looks not in notes.read_text()
        program.reload({**models(a=demo()), "peers": {"p": {"proxy": "http://127.0.0.1:9", "models": ["far"]}}})
        assert looks in notes.read_text()
        wait_until(lambda: program.get("/api/peers").json()["peers"][0]["up"] is False, "it is looked at")
