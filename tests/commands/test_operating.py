"""`profile`, `reload`, `version`, `upgrade`: what they print, for people and for programs."""

from __future__ import annotations

from llamaswap_lib import __version__
from tests.client.answers import answering, reply
from tests.commands.conftest import Serve
from tests.commands.terminal import Shell
from tests.e2e.program import demo, models

CONFIG = {
    **models(small=demo(), large=demo()),
    "profiles": {
        "day": {"description": "for work", "pins": {"default": "small", "large": ""}},
        "night": {"pins": {"default": "large"}},
    },
}


def test_profiles_are_listed_and_made_active(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        assert [row[0] for row in shell.run("profile").rows()] == ["NAME", "day", "night"]
        assert shell.run("profile", "day").out == "the active profile is day\n"
        [_, day, _] = shell.run("profile").out.splitlines()
        assert " ".join(day.split()) == "day active default = small, large is off for work"
        assert shell.run("profile", "--json").json()["active"] == "day"
        assert shell.run("profile", "--none", "--json").json() == {"active": None}
        assert shell.run("profile", "--none").out == "no profile is active\n"
        wrong = shell.run("profile", "dai")
        both = shell.run("profile", "day", "--none")
    assert wrong.code == 4
    assert "dai" in wrong.err
    assert both.code == 1


def test_without_profiles_it_says_where_they_come_from(serve: Serve) -> None:
    with serve() as shell:
        assert "the key profiles of the configuration" in shell.run("profile").out


def test_a_reload_says_what_has_changed(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        assert shell.run("reload").out == "nothing has changed\n"
        shell.program.write_config({**models(small=demo("--quiet"), other=demo()), "maxWait": 5})
        told = shell.run("reload").out.splitlines()
        assert "1 model new: other" in told
        assert "1 model gone: large" in told
        assert [line for line in told if line.startswith("settings: ")]
        shell.program.write_config(models(small=demo("--quiet")))
        assert shell.run("reload", "--json").json()["models"]["removed"] == ["other"]


def test_a_configuration_with_errors_is_told_and_changes_nothing(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        good = shell.program.config_path.read_text()
        shell.program.config_path.write_text("models: {small: {cmd: [1]}}")
        ended = shell.run("reload")
        shell.program.config_path.write_text(good)
        assert (ended.code, ended.out) == (6, "")
        assert "config.yaml:1" in ended.err
        assert shell.run("ls").code == 0


def test_both_versions_are_shown(serve: Serve, shell: Shell) -> None:
    with serve() as here:
        assert here.run("version").rows() == [["this", "program", __version__], ["the", "server", __version__]]
        assert here.run("version", "--json").json()["server"]["version"] == __version__
    gone = here.run("version")
    assert gone.code == 3
    assert f"this program  {__version__}\nthe server    no server at " in gone.out


def test_an_upgrade_says_who_has_taken_over_or_why_nobody_has() -> None:
    with answering(reply('{"pid": 7, "from": "0.1.0", "to": "0.2.0"}')) as it:
        shell = Shell(it.url)
        assert shell.run("upgrade").out == "process 7 has taken over: version 0.2.0, before it was 0.1.0\n"
        assert shell.run("upgrade", "--json").json()["to"] == "0.2.0"
    assert it.heads[0].startswith("POST /api/upgrade ")
    with answering(
        reply('{"error": {"message": "the process before, 5, still serves", "code": "conflict"}}', "409 X")
    ) as it:
        ended = Shell(it.url).run("upgrade")
    assert (ended.code, ended.err) == (6, "llamaswap: the process before, 5, still serves\n")
