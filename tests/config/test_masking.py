"""What is shown of a configuration: secrets are told by the names beside them, and only their value gives way."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.command_words import mask_command, mask_variable, split, words_of
from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.show import shown, to_yaml
from llamaswap_lib.typed_yaml.problems import InvalidConfig, quoted
from llamaswap_lib.typed_yaml.secrets import is_secret_name, mask_text, mask_value, visible


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "OPENAI_API_KEY", "MY_SECRET", "DB_PASSWORD", "db_passwd", "AWS_CREDENTIALS", "TOKEN", "key"),
        *(
            "apiKey",
            "api-key",
            "hf-token",
            "HfToken",
            "X-Api-Key",
            "APIKEY",
            "MYTOKEN",
            "smtp-pass",
            "TOKEN_2",
            "API_KEY2",
            "apiKeys",
        ),
    ],
)
def test_names_whose_last_word_says_so_are_those_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "TOKENIZERS_PARALLELISM",
            "KEY_FILE",
            "api-key-file",
            "max-tokens",
            "MONKEY",
            "keep",
            "PATH",
            "secret_name",
            "",
        ),
        *("ssl-keyfile", "TOKENS", "n-predict", "PASSWORD_FILE", "cache-type-k", "2", "keys"),
    ],
)
def test_other_names_are_not(name: str) -> None:
    assert not is_secret_name(name)


COMMANDS = [
    ("server --api-key S --port 5800 -m x", "server --api-key [hidden] --port 5800 -m x"),
    ("server --api-key=S -c 1", "server --api-key=[hidden] -c 1"),
    ("server '--api-key=S S' -c 1", "server --api-key=[hidden] -c 1"),
    ('server --api-key "S S" \\\n  --port 1\n', "server --api-key [hidden] \\\n  --port 1\n"),
    ("server \\\n  --hf-token \\\n  S \\\n  -m 'a b'", "server \\\n  --hf-token \\\n  [hidden] \\\n  -m 'a b'"),
    ("server -hft S --token S", "server -hft [hidden] --token [hidden]"),
    ("server --use-token --port 1", "server --use-token --port 1"),
    ("curl -H 'Authorization: Bearer S' x", "curl -H 'Authorization: [hidden]' x"),
    ("curl -HX-Api-Key:S --header=Cookie:S", "curl -HX-Api-Key:[hidden] --header=Cookie:[hidden]"),
    ("curl -H Authorization: Bearer S x", "curl -H Authorization: Bearer [hidden] x"),
    ("curl -u me:S http://h", "curl -u me:[hidden] http://h"),
    ("docker run -u 1000:1000 -p 1:2 img:key", "docker run -u 1000:1000 -p 1:2 img:key"),
    ("docker run -e HF_TOKEN=S --env=A_KEY=S -eB_KEY=S i", None),
    ("env HF_TOKEN=S OTHER=x server", "env HF_TOKEN=[hidden] OTHER=x server"),
    ("server http://u:S@h/x?key=S&a=1 --url=http://u:S@h", None),
    ("sh -c 'HF_TOKEN=S exec server --port 1'", "sh -c 'HF_TOKEN=[hidden] exec server --port 1'"),
    ('bash -lc "server --api-key \\"S\\" --port 1"', "bash -lc 'server --api-key [hidden] --port 1'"),
    ("""server --headers '{"Authorization": "Bearer S", "a": 1}'""", None),
    ("sshpass -p S ssh -p 22 box server", "sshpass -p [hidden] ssh -p 22 box server"),
    ("/usr/bin/sshpass -pS ssh box db_pass=S server", "/usr/bin/sshpass -p[hidden] ssh box db_pass=[hidden] server"),
    ("server --override-kv a.add_bos_token=bool:false --chat-template 'x: y'", None),
]


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_a_masked_command_splits_into_as_many_words(command: str, expected: str | None) -> None:
    masked = mask_command(command)
    assert expected is None or masked == expected
    assert "S" not in masked
    assert len(split(masked)) == len(split(command))


WORD = st.sampled_from(
    [
        *(
            "server",
            "--api-key",
            "--api-key=S",
            "S",
            "'S S'",
            '"S \\" S"',
            "-H",
            "'Authorization: S'",
            "HF_TOKEN=S",
            "-c",
        ),
        *("'sh --token S'", "\\\n", "''", "a'b'c", "--port", "5800", "http://u:S@h", "#x", "'it'\"'\"'s'", "--token"),
        *("-u", "curl", "Authorization:", "Bearer", '--x="{}"', "\\", "'", '"'),
    ]
)


@given(st.lists(WORD).map(" ".join))
def test_words_that_are_no_secrets_stay_as_they_are(command: str) -> None:
    before, after = words_of(command), words_of(mask_command(command))
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one.value == other.value or "[hidden]" in other.value


@given(st.text(alphabet="ab-=:'\"\\ \n#${}@/?&"))
def test_a_command_without_a_secret_stays_byte_for_byte(command: str) -> None:
    if "@" not in command:
        assert mask_command(command) == command
        assert mask_text(command) == command


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apiKey: S # why", "apiKey: [hidden] # why"),
        ("{p: {apiKey: S, models: [m]}}", "{p: {apiKey: [hidden], models: [m]}}"),
        ('"api_key": "S"', '"api_key": "[hidden]"'),
        ("image:tag a token:7b", "image:tag a token:7b"),
        ("ftp://u:S@h/p", "ftp://u:[hidden]@h/p"),
        ("the key is x", "the key is x"),
        ("--flag TOKEN=S", "--flag TOKEN=[hidden]"),
    ],
)
def test_secrets_are_found_in_any_text(text: str, expected: str) -> None:
    assert mask_text(text) == expected


def test_variables_and_values_are_masked_by_their_names() -> None:
    assert mask_variable("HF_TOKEN=S") == "HF_TOKEN=[hidden]"
    assert mask_variable("ARGS=--api-key S -c 1") == "ARGS=--api-key [hidden] -c 1"
    assert mask_variable("PATH=/a:/b") == "PATH=/a:/b"
    assert mask_variable("HF_TOKEN: S") == "HF_TOKEN: [hidden]"
    assert mask_variable("export HF_TOKEN") == "export HF_TOKEN"
    value = {"api_key": "S", "headers": {"Authorization": "Bearer S"}, "n": 1, "list": [{"token": "S"}, "a"], "key": 5}
    masked = {"api_key": "[hidden]", "headers": {"Authorization": "[hidden]"}, "n": 1, "key": 5}
    assert mask_value(value) == {**masked, "list": [{"token": "[hidden]"}, "a"]}


ENVIRONMENT = {
    "ONE": "s3c",
    "TWO": "s3c s3c",
    "LIST": "[s3c1, s3c2]",
    "QUOTES": 's3"c\\x',
    "QUOTED": "'s3c'",
    "NUMBER": "4711",
    "BLANKS": " s3c ",
    "MAPPING": "a: s3c",
    "COMMENT": "s3c # s3c",
    "NOTHING": "",
    "HOME": "/root",
}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("server ${env.ONE} -m ${env.HOME}/m.gguf", "server [hidden] -m [hidden]/m.gguf"),
        ("server ${env.TWO} ${env.NOTHING} -c 1", "server [hidden] [hidden]  -c 1"),
        ("'server --x=\"${env.ONE}\" ${env.NUMBER}'", 'server --x="[hidden]" [hidden]'),
        ('"server ${env.QUOTES}"', "server [hidden]"),
        ("server ${env.BLANKS} x", "server  [hidden]  x"),
        ("server ${env.COMMENT}", "[hidden]"),
        ("${env.QUOTED}", "[hidden]"),
        ("server ${a} ${b}", "server x-[hidden] --api-key [hidden]"),
        ("|\n      server ${env.ONE} \\\n        --port ${PORT}\n", "server [hidden] \\\n  --port 5800\n"),
        (">-\n      server\n      ${env.ONE}${env.ONE}", "server [hidden][hidden]"),
    ],
)
def test_what_came_from_the_environment_is_hidden_where_it_stands(line: str, expected: str) -> None:
    macros = "macros: {a: 'x-${env.ONE}', b: --api-key literal}\n"
    text = f"{macros}models:\n  m:\n    cmd: {line}\n    proxy: http://h:5800\n"
    (model,) = load_text(text, environment=ENVIRONMENT).models.values()
    assert model.shown.cmd == expected
    assert "s3" in model.cmd or "literal" in model.cmd


def test_a_shown_configuration_has_nothing_of_the_environment() -> None:
    text = (
        "globalTTL: ${env.NUMBER}\nmodels:\n  m:\n    cmd: server ${PORT} ${env.ONE}\n    name: n ${env.ONE}\n"
        "    aliases: ${env.LIST}\n    env: ['A=${env.ONE}']\n"
        "    metadata: {n: ${env.NUMBER}, l: [{x: '${env.ONE}'}]}\n"
        "    filters: {stripParams: '${env.ONE}, b', setParams: {a: '${env.TWO}', n: ${env.NUMBER}}}\n"
    )
    config = load_text(text, environment=ENVIRONMENT)
    assert config.global_ttl == 4711
    assert config.models["m"].filters.set_params == {"a": "s3c s3c", "n": 4711}
    said = to_yaml(shown(config))
    assert "s3c" not in said
    assert "4711" not in said
    assert "server 5800 [hidden]" in said
    assert "s3c" in to_yaml(shown(config, mask=False))
    assert json.dumps(config.models["m"].filters.set_params["n"]) == "4711"
    assert visible(config.models["m"].metadata["n"]) == "[hidden]"


def test_the_shown_command_goes_along_with_another_port() -> None:
    text = "models: {m: {cmd: 'server --api-key S --port ${PORT}', proxy: 'http://u:S@h:${PORT}'}}"
    model = load_text(text).models["m"].at_port(6000)
    assert model.argv == ("server", "--api-key", "S", "--port", "6000")
    assert model.shown.cmd == "server --api-key [hidden] --port 6000"
    assert model.shown.proxy == "http://u:[hidden]@h:6000"


def test_the_caret_stands_below_its_word_when_a_secret_before_it_is_masked() -> None:
    text = "models: {a: {cmd: 'x ${PORT} --token 0123456789abcdef', ttl: never}}"
    with pytest.raises(InvalidConfig) as refusal:
        load_text(text)
    _, line, carets = str(refusal.value).splitlines()[:3]
    assert line[carets.index("^") : carets.rindex("^") + 1] == "never"


def test_quotes_hide_secrets_and_show_what_cannot_be_seen() -> None:
    assert quoted("a\x1b[31m\n\u202eb") == '"a\\x1b[31m\\n\\u202eb"'
    assert quoted("http://u:secret@h") == '"http://u:[hidden]@h"'


@pytest.mark.parametrize("text", ["X-Api-Key: [", "token: [", 'token: ["', "token: '", "{token: [ X-Api-Key: ["])
def test_a_secret_that_breaks_off_is_no_crash(text: str) -> None:
    assert mask_text(text).startswith(text[:9])


def test_an_option_in_an_option_in_an_option_is_no_crash() -> None:
    command = "server --token abc " + "--a=" * 3000
    assert mask_command(command) == command.replace("abc", "[hidden]")
    assert mask_command(command + "--token=abc").endswith("--a=--token=[hidden]")


@pytest.mark.slow
def test_masking_takes_a_time_that_grows_with_the_length_alone() -> None:
    """All pieces take seconds together. Where a value is read again for every place in it, each takes minutes."""
    pieces = ["a=", "?a=b", "--a=", "a: ", "a://b:", "a:", "--token [", "?key=", "token=", "token: ", "token: ["]
    probe = "import sys; from llamaswap_lib.typed_yaml.secrets import mask_text\n"
    probe += "for piece in sys.argv[1:]: mask_text('--token abc ' + piece * (400_000 // len(piece)))"
    subprocess.run([sys.executable, "-c", probe, *pieces], check=True, timeout=300)


def test_a_list_hides_each_of_its_secrets() -> None:
    assert mask_text('{token: ["abc", "def"], top_k: 3}') == '{token: ["[hidden]"], top_k: 3}'
    assert mask_text("cmd: [server, --api-key, abc, -m, x]") == "cmd: [server, --api-key, [hidden], -m, x]"
    assert mask_text('cmd: ["server", "--api-key", "abc", "-m"]') == 'cmd: ["server", "--api-key", "[hidden]", "-m"]'


def test_a_line_for_a_shell_that_begins_with_a_secret_stays_readable() -> None:
    command = "ssh box 'HF_TOKEN=abc llama-server --port 9000 -m x --api-key \"def\"'"
    assert mask_command(command) == ("ssh box 'HF_TOKEN=[hidden] llama-server --port 9000 -m x --api-key \"[hidden]\"'")
    assert mask_command("env 'PASSWORD=two words' server -m x") == "env PASSWORD=[hidden] server -m x"


def test_a_command_written_as_a_list_shows_no_secret_in_the_error() -> None:
    with pytest.raises(InvalidConfig) as caught:
        load_text("models:\n  m:\n    cmd: [server, --api-key, qwertz]\n    proxy: http://localhost:1\n")
    assert "expected a command, got a list" in str(caught.value)
    assert "qwertz" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["bob:qwertz@host:80", "http://bob:qwe rtz@host", "http://bob:q/wertz@h", "htp://b:q#wz@h"]
)
def test_a_malformed_proxy_shows_no_password_in_the_error(url: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load_text(f"models:\n  m:\n    cmd: x\n    proxy: '{url}'\n")
    assert url.rpartition("@")[0].rpartition(":")[2] not in str(caught.value)
    assert "@h" in str(caught.value)


def test_the_keys_of_a_map_of_keys_are_shown_nowhere() -> None:
    text = 'apiKeyNames: {sk-one: laptop, "${env.SOME_KEY}": desk, sk-two: tv}\n'
    config = load_text(text, environment={"SOME_KEY": "from-env"})
    assert config.api_key_names == {"sk-one": "laptop", "from-env": "desk", "sk-two": "tv"}
    told = to_yaml(shown(config))
    assert 'apiKeyNames:\n  "[hidden]": laptop\n  "[hidden] (2)": desk\n  "[hidden] (3)": tv\n' in told
    assert shown(config, mask=False)["apiKeyNames"] == config.api_key_names


@pytest.mark.parametrize("value", ["[a]", "{a: 1}"])
def test_the_keys_of_a_map_of_keys_are_not_in_its_errors(value: str) -> None:
    with pytest.raises(InvalidConfig) as failure:
        load_text(f"apiKeyNames: {{sk-one: {value}, sk-two: tv}}\n")
    assert "sk-" not in str(failure.value)
    assert 'apiKeyNames."[hidden]": expected text' in str(failure.value)


def test_a_copy_that_another_process_gets_hides_the_same() -> None:
    text = "models: {m: {cmd: 'server ${PORT}'}}\napiKeys: ['sk-${env.KEY}']\n"
    [secret] = load_text(text, environment={"KEY": "1234567890"}).api_keys
    copy = pickle.loads(pickle.dumps(secret))  # noqa: S301 - our own
    assert (copy, visible(copy)) == ("sk-1234567890", visible(secret))
    assert "1234567890" not in visible(copy)


def test_what_came_from_the_environment_is_hidden_in_a_text_with_every_private_character() -> None:
    private = "".join(map(chr, range(0xE000, 0xF900)))
    text = f"models:\n  m:\n    cmd: server ${{PORT}} ${{env.ONE}}\n    name: {private}\n"
    (model,) = load_text(text, environment=ENVIRONMENT).models.values()
    assert model.shown.cmd == "server 5800 [hidden]"
    assert model.name == private
