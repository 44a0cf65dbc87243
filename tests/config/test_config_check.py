"""`llamaswap check`: what it warns of beyond the loader, and how it prints what was found."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from llamaswap_lib.config import render
from llamaswap_lib.config.check import Listen, check
from llamaswap_lib.config.load import Report

Check = Callable[[str], Report]


@pytest.fixture
def checked(tmp_path: Path) -> Check:
    """Check a text, on a machine with the one program `server` on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "server").write_text("#!/bin/sh\n")
    (programs / "server").chmod(0o755)
    (tmp_path / "there.gguf").write_text("")

    def check_text(text: str) -> Report:
        file = tmp_path / "config.yaml"
        file.write_text(text.replace("%", str(tmp_path)))
        return check([file], {"PATH": str(programs)})

    return check_text


def warnings(report: Report) -> list[str]:
    """`LINE: path: message` of each."""
    assert not report.errors
    assert report.config is not None
    assert report.config.warnings == report.warnings
    return [str(problem).rpartition("config.yaml:")[2] for problem in report.warnings]


def test_a_sound_configuration_has_nothing_to_warn_of(checked: Check) -> None:
    report = checked(
        "macros: {m: there}\nmodels:\n  a: {cmd: 'server ${PORT} -m %/${m}.gguf'}\n  b: {cmd: '%/bin/server ${PORT}'}\n"
    )
    assert warnings(report) == []
    assert render.text_of(report) == "ok: 2 models\n"


def test_programs_and_files_that_are_not_there_are_named(checked: Check) -> None:
    report = checked(
        "models:\n"
        "  a: {cmd: 'nope ${PORT} -m %/there.gguf --mmproj=%/gone.gguf https://h/x.gguf'}\n"
        "  b: {cmd: '%/nope ${PORT}', cmdStop: 'server ${PID}'}\n"
        "  c: {cmd: '%/there.gguf ${PORT}', cmdStop: 'kil ${PID}'}\n"
        "  d: {proxy: 'http://localhost:1'}\n"
        "  e: {cmd: 'nope ${PORT}', env: ['PATH=%/bin', 'NO_VALUE']}\n"
        "  f: {cmd: 'server ${PORT}', env: ['PATH=/nowhere']}\n"  # ours counts, as at the start
    )
    said = "\n".join(warnings(report))
    for expected in (
        '2: models.a.cmd: the program "nope" is not on PATH',
        "2: models.a.cmd: there is no file",
        "gone.gguf",
        '/nope" is not there',
        '/there.gguf" cannot be executed',
        '4: models.c.cmdStop: the program "kil" is not on PATH',
        "5: models.d.cmd: there is no command",
        '6: models.e.env[1]: expected NAME=value, got "NO_VALUE"; it adds nothing',
    ):
        assert expected in said
    assert len(warnings(report)) == 8


def test_a_warning_about_one_item_of_a_list_has_the_line_of_that_item(checked: Check) -> None:
    text = "models:\n  a:\n    cmd: server ${PORT}\n    env:\n      - A=1\n      - NO_VALUE\n      - B=2\n"
    assert warnings(checked(text)) == ['6: models.a.env[1]: expected NAME=value, got "NO_VALUE"; it adds nothing']


@pytest.mark.parametrize(
    ("key", "is_warned_of"),
    [
        ("|\n  hush\n", True),
        ('"hu\\tsh"\n', True),
        ('"hu\\0sh"\n', True),
        ("|-\n  hush\n", False),
        ("h\u00fcsh\n", False),
    ],
)
def test_a_key_that_no_header_can_bring_is_warned_of_and_not_shown(
    checked: Check, key: str, is_warned_of: bool
) -> None:
    said = warnings(checked(f"models: {{a: {{cmd: 'server ${{PORT}}'}}}}\napiKeys:\n- {key}"))
    fault = "has a line break or another control character in it, so hardly any client can send this key"
    assert said == [f"3: apiKeys[0]: {fault}"] * is_warned_of


def test_a_matrix_that_is_not_in_use_is_warned_of_at_its_key(checked: Check) -> None:
    text = "models: {a: {cmd: 'server ${PORT}'}}\nrouting:\n  router:\n    settings:\n"
    text += "      matrix:\n        sets: {s: a}\n"
    expected = "routing.router.settings.matrix: does nothing while routing.router.use is not matrix"
    assert warnings(checked(text)) == [f"5: {expected}"]
    used = text.replace("  router:\n", "  router:\n    use: matrix\n")
    assert warnings(checked(used)) == []


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_a_proxy_without_a_port_has_that_of_its_scheme(tmp_path: Path, scheme: str, port: int) -> None:
    (tmp_path / "server").write_text("#!/bin/sh\n")
    (tmp_path / "server").chmod(0o755)
    models = "".join(
        f"  {name}: {{cmd: 'server --port {number}', proxy: '{url}'}}\n"
        for name, number, url in (
            ("same", port, f"{scheme}://localhost"),
            ("other", 9000, f"{scheme}://localhost"),
            ("twin", port, f"{scheme}://localhost:{port}"),
        )
    )
    (tmp_path / "c.yaml").write_text(f"groups: {{g: {{swap: false, members: [same, twin]}}}}\nmodels:\n{models}")
    report = check([tmp_path / "c.yaml"], {"PATH": str(tmp_path)}, Listen("127.0.0.1", port, True))
    said = "\n".join(warnings_in(report))
    assert f"models.same.proxy: leads to port {port}, where llamaswap itself listens" in said
    assert f"models.other.proxy: leads to port {port}, but cmd says --port 9000" in said
    assert f"models.same.proxy: leads to port {port}, but" not in said
    assert f'models.twin.proxy: listens on port {port}, as "same" does' in said


def warnings_in(report: Report) -> list[str]:
    return [str(problem) for problem in report.warnings]


def test_files_inside_of_a_container_are_not_looked_for(checked: Check, tmp_path: Path) -> None:
    (tmp_path / "bin" / "docker").symlink_to(tmp_path / "bin" / "server")
    assert warnings(checked("models: {a: {cmd: 'docker run x -m /models/x.gguf ${PORT}'}}")) == []


def test_ports_clash_only_for_models_that_can_run_together(checked: Check) -> None:
    text = (
        "models:\n  a: {cmd: 'server ${PORT}'}\n  b: {cmd: server, proxy: 'http://127.0.0.1:5800'}\n"
        "  far: {cmd: server, proxy: 'http://other:5800'}\n"
    )
    assert warnings(checked(text)) == []
    said = warnings(checked(text + "groups: {g: {swap: no, members: [a, b, far]}}\n"))
    assert said == ['3: models.b.proxy: listens on port 5800, as "a" does; they may run at the same time']


@pytest.mark.parametrize(
    ("one", "other", "may_meet"),
    [
        ("", "", False),
        ("exclusive: no", "", True),
        ("", "exclusive: no", True),
        ("persistent: yes", "", True),
        ("", "persistent: yes", True),
    ],
)
def test_ports_clash_across_groups_that_leave_each_other_alone(
    checked: Check, one: str, other: str, may_meet: bool
) -> None:
    models = "models:\n  a: {cmd: 'server ${PORT}'}\n  b: {cmd: server, proxy: 'http://127.0.0.1:5800'}\n"
    report = checked(f"{models}groups:\n  g: {{members: [a], {one}}}\n  h: {{members: [b], {other}}}\n")
    assert bool(warnings(report)) == may_meet


PROXIES = """
models:
  a: {cmd: server, proxy: "http://%HOST:8080"}
  b: {cmd: "server ${PORT}"}
startPort: 8080
"""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "0.0.0.0", "[::1]", socket.gethostname()])
def test_a_proxy_that_leads_to_the_server_itself_is_named(tmp_path: Path, host: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(PROXIES.replace("%HOST", host))

    def found(listen: Listen | None) -> list[str]:
        told = [str(problem) for problem in check([file], listen=listen).warnings]
        return [text.rpartition("config.yaml:")[2] for text in told if "itself" in text]

    here = "3: models.a.proxy: leads to port 8080, where llamaswap itself listens"
    assert found(None) == [f"{here} unless -listen says otherwise; the model could not be loaded"]
    assert found(Listen("", 8080, is_told=True)) == [f"{here}; the model could not be loaded"]
    assert found(Listen("", 8081, is_told=True)) == []
    assert found(Listen("192.0.2.1", 8080, is_told=True)) == []


def test_a_peer_that_is_the_server_itself_is_named(checked: Check) -> None:
    report = checked("peers: {p: {proxy: http://localhost:8080, models: [m]}}")
    [warning] = warnings(report)
    assert warning.endswith("unless -listen says otherwise; requests would go round in a circle")


def test_a_port_beyond_the_last_is_named(checked: Check) -> None:
    report = checked("startPort: 65535\nmodels:\n  a: {cmd: 'server ${PORT}'}\n  b: {cmd: 'server ${PORT}'}\n")
    assert [str(problem).partition(":")[2] for problem in report.errors] == [
        "1: startPort: the ports that are counted from here go beyond 65535, the highest one"
    ]


def test_models_in_no_group_and_in_no_set_are_named_where_there_are_any(checked: Check) -> None:
    models = "models: {a: {cmd: 'server ${PORT}'}, b: {cmd: 'server ${PORT}'}}\n"
    assert warnings(checked(models)) == []
    assert warnings(checked(models + "groups: {g: {members: [a]}}\n")) == [
        "1: models.b: is in no group; it is in the default one, which swaps and is exclusive"
    ]
    assert warnings(checked(models + "matrix: {sets: {s: a}}\n")) == [
        "1: models.b: is in no set of the matrix, so it runs alone"
    ]


def test_names_that_hide_others_are_named(checked: Check) -> None:
    report = checked(
        "models:\n  a: {cmd: 'server ${PORT}', aliases: [a, b]}\n  b: {cmd: 'server ${PORT}'}\n"
        "peers:\n  p: {proxy: 'http://h', models: [b, m]}\n  q: {proxy: 'http://h', models: [m]}\n"
    )
    assert warnings(report) == [
        '2: models.a.aliases[1]: "b" is the id of a model, which wins; the alias does nothing',
        "2: models.a.aliases[0]: is the id of this model already",
        (
            '5: peers.p.models[0]: "b" is also a model of this server, so requests for it go to either; '
            'with pooled: false this one is only "p/b"'
        ),
    ]
    alone = checked(
        "models:\n  a: {cmd: 'server ${PORT}'}\nselectors: {s: {strategy: pin, targets: [a]}}\npeers:\n"
        "  p: {proxy: 'http://h', models: [a, s, m], pooled: false}\n"
        "  q: {proxy: 'http://h', models: [m], pooled: false}\n"
    )
    assert warnings(alone) == [
        '5: peers.p.models[0]: "a" is also a name on this server, so this one is only "p/a"',
        '5: peers.p.models[1]: "s" is also a name on this server, so this one is only "p/s"',
        '5: peers.p.models[2]: other peers have "m" too, so this one is only "p/m"',
        '6: peers.q.models[0]: other peers have "m" too, so this one is only "q/m"',
    ]


def test_keys_without_effect_are_named(checked: Check) -> None:
    report = checked(
        "logRequests: true\nmetricsMaxInMemory: 5\nstore: {path: '%/x.db'}\nmacros: {used: 1, unused: 2}\n"
        "models:\n  a: {cmd: 'server ${PORT} ${used}', macros: {mine: 3}, tll: 1}\n"
        "selectors: {s: {strategy: pin, targets: [a], settings: {spillover: 2, sticky: prefix}}}\n"
        "routing: {router: {use: matrix, settings: {matrix: {sets: {s: a}}, groups: {g: {members: [a]}}}}}\n"
    )
    assert [line.partition(": ")[2] for line in warnings(report)] == [
        "logRequests: does nothing any more; requests are logged at level info",
        'models.a: unknown key "tll" (did you mean "ttl"?)',
        "selectors.s.settings.spillover: does nothing with the strategy pin",
        "selectors.s.settings.sticky: does nothing with the strategy pin",
        "routing.router.settings.groups: does nothing while routing.router.use is matrix",
        "metricsMaxInMemory: does nothing beside store.path",
        "macros.unused: nothing uses this macro",
        "models.a.macros.mine: nothing uses this macro",
    ]


def test_keys_of_memory_without_effect_are_named(checked: Check) -> None:
    text = "models:\n  a: {cmd: 'server ${PORT}', pinned: true}\nrouting:\n  router:\n    use: %\n    settings:\n"
    text += "      memory: {minResidency: 5, devices: {ram: {reserve: 0, yieldTo: others}, 1: {reserve: 0}}}\n"
    at = "routing.router.settings.memory"
    assert [line.partition(": ")[2] for line in warnings(checked(text.replace("%", "memory")))] == [
        f"{at}.devices.ram.yieldTo: does nothing with a reserve of 0: others cannot leave less than that",
    ]
    assert sorted(line.partition(": ")[2] for line in warnings(checked(text.replace("%", "group")))) == [
        "models.a.pinned: does nothing while routing.router.use is not memory",
        f"{at}.devices.ram.yieldTo: does nothing while routing.router.use is not memory",
        f"{at}.minResidency: does nothing while routing.router.use is not memory",
    ]


def test_bounds_of_a_store_without_a_file_do_nothing(checked: Check) -> None:
    report = checked("models: {a: {cmd: 'server ${PORT}'}}\nstore: {maxRows: 5, maxAge: 30s}\n")
    assert [line.partition(": ")[2] for line in warnings(report)] == [
        "store.maxRows: does nothing without store.path",
        "store.maxAge: does nothing without store.path",
    ]


def test_nothing_to_serve_is_worth_a_warning(checked: Check) -> None:
    assert [problem.message for problem in checked("logLevel: info").warnings] == ["there are no models and no peers"]


def test_errors_are_all_told_and_there_is_no_configuration(checked: Check) -> None:
    report = checked("startPort: 0\nlogLevel: loud\nmodels: {a: {cmd: 'server ${nope}'}}\n")
    assert report.config is None
    assert len(report.errors) == 2
    text = render.text_of(report, show=True)
    assert text.count("error: ") == 2
    assert "warning: " in text
    assert text.endswith("2 errors, 1 warning\n")
    assert "| startPort: 0\n" in text


def test_shown_configuration_is_yaml_with_secrets_masked(checked: Check) -> None:
    report = checked(
        "apiKeys: [hush]\nlogRequests: yes\npeers: {p: {proxy: 'https://me:hush@h/x', apiKey: hush, models: [m]}}\n"
        "models: {a: {cmd: 'server ${PORT}', env: [HF_TOKEN=hush, A=b]}}\n"
    )
    text = render.text_of(report, show=True)
    assert "hush" not in text.replace("apiKeys: [hush]", "").replace(report.warnings[0].text(), "")
    assert '- "HF_TOKEN=[hidden]"' in text
    assert '- "A=b"' in text
    assert '"https://me:[hidden]@h/x"' in text
    assert text.startswith("# warning: ")


def test_command_prints_text_or_json_without_the_last_line_end(checked: Check) -> None:
    report = checked("models: {a: {cmd: 'server ${PORT}'}}\n")
    assert render.render(report) == "ok: 1 model"
    assert json.loads(render.render(report, as_json=True)) == {"ok": True, "errors": [], "warnings": []}
    assert render.render(report, show=True).startswith("models:\n  a:\n    cmd: server 5800\n")


def test_json_holds_places_messages_and_the_configuration(checked: Check) -> None:
    found = json.loads(render.json_of(checked("models:\n  a: {cmd: 'server ${PORT}', tll: 5}\n"), show=True))
    assert found["ok"] is True
    assert found["errors"] == []
    (warning,) = found["warnings"]
    assert (warning["line"], warning["column"], warning["path"]) == (2, 30, "models.a")
    assert found["config"]["models"]["a"]["proxy"] == "http://localhost:5800"
    refused = json.loads(render.json_of(checked("models: ["), show=True))
    assert (refused["ok"], refused["config"], len(refused["errors"])) == (False, None, 1)
