"""What a model becomes: commands, ports, times, aliases."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaswap_lib.command_words import split, without_comments
from llamaswap_lib.config.load import inspect_text, load, load_text
from llamaswap_lib.config.schema import Model, PeerModel
from llamaswap_lib.typed_yaml.problems import InvalidConfig


def model(text: str, name: str = "a") -> Model:
    return load_text(text, environment={}).models[name]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ()),
        (" \t\r\n", ()),
        ("a  b\tc\nd\r\ne", ("a", "b", "c", "d", "e")),
        ("a''b \"\" ''", ("ab", "", "")),
        ("'a \"b\\' c", ('a "b\\', "c")),
        (r'"a\"b\\c\$d\`e\f"', ('a"b\\c$d`e\\f',)),
        (r"a\ b \"c\' \d", ("a b", "\"c'", "d")),
        ("it's open\n", ("its open\n",)),
        ('say "half\nopen', ("say", "half\nopen")),
        ('"ends with \\', ("ends with  ",)),
        ("a \\\n ab\\\n0\n", ("a", "ab", "0")),
        ("a \\  \n b", ("a", "b")),
        ("a\\\\\nb", ("a ", "b")),
        ("x $HOME ~ * | > ; && `y`", ("x", "$HOME", "~", "*", "|", ">", ";", "&&", "`y`")),
        ("a # b\n  # gone\n#gone too\n#\nc#d", ("a", "#", "b", "c#d")),
        ("a 'first\n# gone even inside quotes\nlast'", ("a", "first\nlast")),
        ("non\u00a0breaking caf\u00e9", ("non\u00a0breaking", "caf\u00e9")),
        ('--json \'{"a": "b c"}\'', ("--json", '{"a": "b c"}')),
    ],
)
def test_command_is_split_without_a_shell(command: str, words: tuple[str, ...]) -> None:
    assert split(command) == words


def test_comment_lines_go_and_others_stay_as_they_are() -> None:
    assert without_comments("a \\\n  # x\nb # y\n") == "a \\\nb # y\n"


def test_comments_go_before_macros_expand_and_those_in_macros_go_too() -> None:
    one = model(
        "macros:\n  m: |\n    --one\n    # inside\n    --two\n"
        "models:\n  a:\n    cmd: |\n      x ${PORT}\n      # ${unknown}\n      ${m}\n"
    )
    assert one.argv == ("x", "5800", "--one", "--two")


def test_ports_follow_byte_order_of_ids_and_skip_models_without_one() -> None:
    config = load_text(
        "startPort: 7000\nmodels:\n"
        "  m9: {cmd: 'x ${PORT}'}\n  m10: {cmd: 'x ${PORT}'}\n  b: {cmd: x, proxy: 'http://h:1'}\n"
        "  _c: {cmd: 'x ${PORT}'}\n  Z: {cmd: 'x ${PORT} ${PORT}'}\n  \u00e9: {cmd: 'x ${PORT}'}\n"
    )
    proxies = {name: one.proxy.rpartition(":")[2] for name, one in config.models.items()}
    assert proxies == {"Z": "7000", "_c": "7001", "b": "1", "m10": "7002", "m9": "7003", "\u00e9": "7004"}
    assert list(config.models) == ["m9", "m10", "b", "_c", "Z", "\u00e9"]


def test_start_port_may_be_a_macro() -> None:
    assert model("macros: {p: 0x1F40}\nstartPort: ${p}\nmodels: {a: {cmd: 'x ${PORT}'}}").argv == ("x", "8000")


def test_stop_command_keeps_its_pid_and_lies_in_words() -> None:
    one = model("models: {a: {cmd: 'x ${PORT}', cmdStop: 'docker stop ${MODEL_ID} \"p ${PID}\"'}}")
    assert one.stop_argv == ("docker", "stop", "a", "p ${PID}")


@pytest.mark.parametrize(
    ("global_keys", "key", "ttl"),
    [
        ("", "", 0),
        ("globalTTL: 9", "", 9),
        ("globalTTL: 9", "ttl: -1", 9),
        ("globalTTL: 9", "ttl: 0", 0),
        ("", "ttl: 1h", 3600),
    ],
)
def test_ttl_takes_the_global_one_only_where_it_is_minus_one(global_keys: str, key: str, ttl: float) -> None:
    assert model(f"{global_keys}\nmodels:\n  a:\n    cmd: x ${{PORT}}\n    {key}\n").ttl == ttl


@pytest.mark.parametrize(
    ("global_keys", "key", "hung_after"),
    [
        ("", "", 30),
        ("hungAfter: 9", "", 9),
        ("hungAfter: 0", "", 0),
        ("hungAfter: 9", "hungAfter: 0", 0),
        ("hungAfter: 0", "hungAfter: 1m", 60),
        ("hungAfter: 9", "hungAfter: -1", 9),
        ("", "hungAfter: 500ms", 0.5),
    ],
)
def test_hung_after_takes_the_global_one_only_where_it_is_minus_one(
    global_keys: str, key: str, hung_after: float
) -> None:
    found = model(f"{global_keys}\nmodels:\n  a:\n    cmd: x ${{PORT}}\n    {key}\n").hung_after
    assert found == hung_after


@pytest.mark.parametrize(
    ("global_keys", "key", "expected"),
    [
        ("", "", 120),
        ("healthCheckTimeout: 3", "", 15),
        ("healthCheckTimeout: 40", "healthCheckTimeout: 0", 40),
        ("healthCheckTimeout: 40", "healthCheckTimeout: 2", 15),
        ("", "healthCheckTimeout: 2m", 120),
    ],
)
def test_health_check_timeout_is_at_least_15_seconds(global_keys: str, key: str, expected: float) -> None:
    assert model(f"{global_keys}\nmodels:\n  a:\n    cmd: x ${{PORT}}\n    {key}\n").health_check_timeout == expected


def test_timeouts_of_a_model_and_of_a_peer_differ_in_one_default() -> None:
    config = load_text(
        "models: {a: {cmd: 'x ${PORT}'}}\n"
        "peers:\n  p: {proxy: 'http://h', models: [m]}\n  q: {proxy: 'http://h', models: [m], timeouts: {connect: 1}}\n"
        "  r: {proxy: 'http://h', models: [m], timeouts: {responseHeader: ~}}\n"
    )
    assert config.models["a"].timeouts.response_header == 0
    assert [peer.timeouts.response_header for peer in config.peers.values()] == [60, 60, 60]
    assert config.peers["q"].timeouts.connect == 1


def test_names_resolve_to_ids_before_aliases_before_peers() -> None:
    config = load_text(
        "models:\n  a: {cmd: 'x ${PORT}', aliases: [b, c, own]}\n"
        "  b: {cmd: 'x ${PORT}', filters: {setParamsByID: {'b:x': {}}}}\n"
        "peers:\n  p: {proxy: 'http://h', models: [own, both, alone]}\n  q: {proxy: 'http://h', models: [both]}\n"
    )
    assert [config.resolve(name) for name in ("a", "b", "c", "b:x", "alone", "A")] == ["a", "b", "a", "b", None, None]
    assert config.resolve_peer("alone") == PeerModel("p", "alone")
    assert config.resolve_peer("q/both") == PeerModel("q", "both")
    assert config.resolve_peer("p/own") == PeerModel("p", "own")
    assert config.resolve_peer("both") is None
    assert config.resolve_peer("own") is None


def test_the_older_spelling_of_strip_params_counts_where_the_newer_one_says_nothing() -> None:
    text = "models: {a: {cmd: 'x ${PORT}', filters: {strip_params: 'x, y', stripParams: %s}}}"
    assert model(text % "z").filters.strip_params == ("z",)
    assert model(text % "~").filters.strip_params == ("x", "y")
    assert model(text % "''").filters.strip_params == ("x", "y")


def test_a_priority_may_stand_under_the_id_and_an_alias_if_it_is_the_same() -> None:
    text = "models: {a: {cmd: 'x ${PORT}', aliases: [b]}}\n"
    text += "routing: {scheduler: {settings: {fifo: {priority: {a: 3, b: %d}}}}}"
    assert not inspect_text(text % 3).problems.errors
    assert [one.message for one in inspect_text(text % 4).problems.errors] == ['"a" has the priority 3 already']


def test_default_paths_to_ignore_are_ready_to_use() -> None:
    (pattern,) = load_text("models: {}").ignore_patterns
    assert pattern.search("/assets/app.js")
    assert not pattern.search("/v1/json")


def test_policy_of_the_users_own_is_found_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Policy: ...\n")
    file = tmp_path / "config.yaml"
    file.write_text("routing: {router: {use: 'mine.py:Policy'}}\n")
    routing = load([file], {}).routing
    assert (routing.router, routing.policy) == ("policy", f"{tmp_path / 'mine.py'}:Policy")
    file.write_text("routing: {router: {use: 'other.py:Policy'}}\n")
    with pytest.raises(InvalidConfig, match=r"there is no file .*/other\.py"):
        load([file], {})


PORTED = """
startPort: 7000
macros: {where: "127.0.0.1:${PORT}"}
models:
  a:
    cmd: |
      serve --port ${PORT} # ${PORT}
      # gone ${PORT}
      --name "7000 ${MODEL_ID}"
    cmdStop: stop ${PORT} ${PID}
    proxy: http://${where}/x?port=${PORT}
    checkEndpoint: /health/${PORT}
    env: ["HOST=${where}", "N=7000", null]
  b: {cmd: "serve -p ${PORT}"}
  fixed: {cmd: serve 7000, proxy: "http://localhost:7000"}
"""


def test_a_model_at_another_port_is_as_if_it_had_been_given_that_one() -> None:
    moved, other = model(PORTED).at_port(7123), model(PORTED.replace("startPort: 7000", "startPort: 7123"))
    assert moved == other
    assert moved.argv == ("serve", "--port", "7123", "#", "7123", "--name", "7000 a")
    assert moved.stop_argv == ("stop", "7123", "${PID}")
    assert (moved.proxy, moved.check_endpoint) == ("http://127.0.0.1:7123/x?port=7123", "/health/7123")
    assert moved.env == ("HOST=127.0.0.1:7123", "N=7000")
    assert moved.automatic_port == other.automatic_port
    assert moved.at_port(7000) == model(PORTED)


def test_a_model_with_the_default_proxy_and_nothing_else_moves_too() -> None:
    moved = model(PORTED, "b").at_port(9)
    assert (moved.argv, moved.proxy, moved.stop_argv) == (("serve", "-p", "9"), "http://localhost:9", ())


def test_a_model_without_an_automatic_port_stays_where_it_is() -> None:
    fixed = model(PORTED, "fixed")
    assert fixed.automatic_port is None
    assert fixed.at_port(7123) is fixed


@pytest.mark.parametrize("key", ['"a\\r\\nX-Evil: 1"', '"a\\tb"', '"a\\0b"'])
def test_key_of_a_peer_that_would_end_its_header_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidConfig, match=r"peers\.p\.apiKey: expected a key in one line") as caught:
        load_text(f"peers: {{p: {{proxy: 'http://h', models: [m], apiKey: {key}}}}}")
    assert all("Evil" not in problem.message for problem in caught.value.errors)


def test_the_key_of_a_peer_may_end_with_a_line_break() -> None:
    load_text("peers:\n  p:\n    proxy: http://h\n    models: [m]\n    apiKey: |\n      sek\n")
