"""Keys by the names that other programs, older files or habit give them: the right one is told, or nothing."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from llamaswap_lib.config.hints import WORDS
from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.typed_yaml.kinds import keys_of
from llamaswap_lib.typed_yaml.problems import fold, nearest
from llamaswap_lib.typed_yaml.secrets import MASK, Hidden

LEVELS = {
    "": "{}: 1\n",
    "models.m": "models: {{m: {{cmd: 'x ${{PORT}}', {}: 1}}}}\n",
    "groups.g": "groups: {{g: {{{}: 1}}}}\nmodels: {{m: {{cmd: 'x ${{PORT}}'}}}}\n",
    "performance": "performance: {{{}: 1}}\n",
    "metrics": "metrics: {{{}: 1}}\n",
    "peers.p": "peers: {{p: {{proxy: 'http://h', models: [x], {}: 1}}}}\n",
    "hooks": "hooks: {{{}: 1}}\n",
    "routing": "routing: {{{}: 1}}\n",
    "selectors.s": "selectors: {{s: {{strategy: pin, targets: [m], {}: 1}}}}\nmodels: {{m: {{cmd: 'x ${{PORT}}'}}}}\n",
}


def told(level: str, name: str) -> str:
    """What is said behind the unknown key."""
    problems = inspect_text(LEVELS[level].format(name), "", {}).problems
    assert not problems.errors
    (message,) = [one.message for one in problems.warnings if one.message.startswith("unknown key ")]
    return message.removeprefix(f'unknown key "{name}"')


@pytest.mark.parametrize(
    ("level", "names", "right"),
    [
        ("", "idleTimeout unloadAfter modelTTL ttl idle_timeout keep_alive", "globalTTL"),
        ("", "readyTimeout startTimeout loadTimeout health-check-timeout", "healthCheckTimeout"),
        ("", "preload", "hooks.on_startup.preload"),
        ("", "model_list servers services Models", "models"),
        ("", "apiKey master_key api_keys", "apiKeys"),
        ("", "cmd", "models.ID.cmd"),
        ("", "checkEndpoint", "models.ID.checkEndpoint"),
        ("", "sets", "matrix.sets"),
        ("", "maxJSONMB", "limits.maxJSONMB"),
        ("models.m", "command exec run", "cmd"),
        ("models.m", "group groups members swap", "groups.X.members"),
        ("models.m", "tools", "capabilities.tools"),
        ("models.m", "tags labels", "metadata"),
        ("models.m", "stripParams strip_params", "filters.stripParams"),
        ("models.m", "setParams", "filters.setParams"),
        ("models.m", "port url api_base base_url", "proxy"),
        ("models.m", "idleTimeout globalTTL keep_alive unloadAfter", "ttl"),
        ("models.m", "readyTimeout startTimeout loadTimeout", "healthCheckTimeout"),
        ("models.m", "healthcheck health_check", "checkEndpoint"),
        ("models.m", "environment", "env"),
        ("models.m", "ignoreWebsockets", "compat.ignoreWebsockets"),
        ("models.m", "stopTimeout stop_grace_period", "unloadTimeout"),
        ("models.m", "check_endpoint CheckEndpoint", "checkEndpoint"),
        ("models.m", "alais", "aliases"),
        ("", "prometheus", "metrics"),
        ("", "includeUpstreams include_upstreams", "metrics.includeUpstreams"),
        ("metrics", "include_upstreams includeUpstream upstreams models includeModels", "includeUpstreams"),
        ("groups.g", "models model", "members"),
        ("groups.g", "persist", "persistent"),
        ("peers.p", "url api_base", "proxy"),
        ("peers.p", "api_key token", "apiKey"),
        ("hooks", "preload", "on_startup.preload"),
        ("routing", "groups", "router.settings.groups"),
        ("selectors.s", "models", "targets"),
    ],
)
def test_known_wrong_name_gets_the_right_one(level: str, names: str, right: str) -> None:
    for name in names.split():
        assert told(level, name) == f' (did you mean "{right}"?)', name


@pytest.mark.parametrize(
    ("level", "name", "part"),
    [
        ("", "host", "the flag -listen"),
        ("", "port", "the flag -listen"),
        ("", "listen", "the flag -listen"),
        ("", "litellm_settings", "LiteLLM"),
        ("performance", "enable", '"disabled", with the opposite value'),
        ("performance", "enabled", '"disabled", with the opposite value'),
        ("metrics", "enabled", "/metrics is always there"),
        ("metrics", "path", "/metrics at the address of -listen"),
        ("metrics", "scrape_interval", "Prometheus says how often"),
        ("metrics", "maxInMemory", "metricsMaxInMemory, at the top"),
        ("models.m", "n_ctx", "belongs in cmd"),
        ("models.m", "working_dir", "sh -c 'cd DIR && exec PROGRAM ...'"),
        ("models.m", "startPort", "stands at the top"),
        ("models.m", "enabled", "cannot be switched off"),
    ],
)
def test_what_has_no_key_of_its_own_is_said_in_a_sentence(level: str, name: str, part: str) -> None:
    said = told(level, name)
    assert said.startswith("; ")
    assert part in said


@pytest.mark.parametrize("name", ["writeTimeout", "spareTimeout", "coffeeTimeout", "colour", "someTTL"])
def test_nothing_is_guessed_from_the_last_word_alone(name: str) -> None:
    assert told("models.m", name) == ""


def test_a_model_at_the_left_margin_is_known_by_its_command() -> None:
    problems = inspect_text("models:\nqwen:\n  cmd: x ${PORT}\n", "", {}).problems
    assert [one.message for one in problems.warnings] == [
        'unknown key "qwen"; a model stands below models, indented by more than it'
    ]


def test_invisible_spaces_are_named_in_a_warning() -> None:
    problems = inspect_text("models:\n  m:\n    cmd: x ${PORT}\n    \u00a0ttl: 5\n", "", {}).problems
    assert 'there are spaces that YAML does not count as such around "ttl"' in problems.warnings[0].message


def test_the_table_has_no_name_that_is_a_key_of_its_level_and_no_name_twice() -> None:
    for cls, table in WORDS.items():
        names = [name for words in table for name in words.split()]
        assert len(names) == len(set(names)), (cls, sorted(name for name in names if names.count(name) > 1))
        keys = {known.name.lower().replace("_", "") for known in keys_of(cls)}
        assert not keys & set(names), cls


def test_an_unknown_key_that_an_anchor_brings_to_many_models_is_looked_up_once() -> None:
    models = "".join(f"  m{number}: {{<<: *all, cmd: 'x ${{PORT}}'}}\n" for number in range(9))
    problems = inspect_text(f"x-all: &all {{ttll: 5, zzzz: 6}}\nmodels:\n{models}", "", {}).problems
    assert [str(one) for one in problems.warnings] == [
        ':1: models.m0: unknown key "ttll" (did you mean "ttl"?)',
        ':1: models.m0: unknown key "zzzz"',
    ]


def test_names_are_prepared_once_for_all_that_are_looked_for_among_them() -> None:
    known = [f"model-{number}" for number in range(50)]
    prepared = []

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is fold.__code__:
            prepared.append(frame)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        found = [nearest(f"modle-{number}", known) for number in range(50)]
    finally:
        sys.setprofile(before)
    assert found == known
    assert len(prepared) == len(known) + len(found)


def test_a_name_from_the_environment_stays_hidden_where_one_that_is_equal_was_not() -> None:
    assert nearest("secert", ["secret"]) == "secret"
    near = nearest("secert", [Hidden("secret", MASK)])
    assert isinstance(near, Hidden)


@pytest.mark.parametrize(("key", "value"), [("ttl", "300"), ("unlisted", "true")])
def test_quotes_around_a_value_of_the_environment_are_told_without_the_value(key: str, value: str) -> None:
    text = f"models:\n  m:\n    cmd: x ${{PORT}}\n    {key}: '${{env.VALUE}}'\n"
    (error,) = inspect_text(text, "", {"VALUE": value}).problems.errors
    assert error.message.endswith(', got "[hidden]"; leave out the quotes')
