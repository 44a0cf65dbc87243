"""Several files as one configuration: which files, in what order, and what may stand in two of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llamaswap_lib.config.load import config_files, load
from llamaswap_lib.config.schema import Config
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.typed_yaml.problems import InvalidConfig

Merge = Callable[..., Config]


@pytest.fixture
def merged(tmp_path: Path) -> Merge:
    """Load these texts as a.yaml, b.yaml, ..."""

    def load_texts(*texts: str) -> Config:
        files = [tmp_path / f"{chr(ord('a') + n)}.yaml" for n in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        return load(files, {})

    return load_texts


def test_mappings_merge_and_lists_append_in_the_order_of_the_files(merged: Merge) -> None:
    config = merged(
        "apiKeys: [one]\nmacros: {x: 1}\nmodels: {a: {cmd: 'a ${PORT}'}}\nui: {activity: {session_id: [A]}}\n",
        "apiKeys: [two, three]\nmacros: {y: '${x}2'}\nmodels: {b: {cmd: 'b ${y} ${PORT}'}}\n",
        "ui: {activity: {session_id: [B]}}\nhooks: {on_startup: {preload: [b]}}\n",
    )
    assert config.api_keys == ("one", "two", "three")
    assert list(config.models) == ["a", "b"]
    assert config.models["b"].argv == ("b", "12", "5801")
    assert config.ui.activity.session_id == ("A", "B")
    assert config.hooks_preload == ("b",)


def test_equal_scalars_agree_and_null_gives_way(merged: Merge) -> None:
    config = merged("globalTTL: 5\nstartPort: ~\nlogLevel: 'warn'\n", "globalTTL: 5\nstartPort: 6000\nlogLevel: warn\n")
    assert (config.global_ttl, config.start_port, config.log_level) == (5, 6000, "warn")


@pytest.mark.parametrize(("one", "other"), [("5", "6"), ("5", "'5'"), ("010", "8"), ("[]", "5"), ("{}", "[]")])
def test_different_values_are_an_error_that_names_both_files(merged: Merge, one: str, other: str) -> None:
    with pytest.raises(InvalidConfig, match=r"b\.yaml:2: startPort: is something else in .*/a\.yaml:1; ") as refusal:
        merged(f"startPort: {one}\n", f"\nstartPort: {other}\n")
    assert refusal.value.errors


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("models: {a: {cmd: 'x ${PORT}'}}", "models.a"),
        ("groups: {g: {members: []}}", "groups.g"),
        ("peers: {p: {proxy: 'http://h', models: [m]}}", "peers.p"),
        ("profiles: {p: {pins: {x: ''}}}", "profiles.p"),
        ("models: {a: {cmd: 'x ${PORT}'}}\nselectors: {s: {strategy: pin, targets: [a]}}", "selectors.s"),
        ("models: {a: {cmd: 'x ${PORT}'}}\nmatrix: {sets: {s: a}}", "matrix.sets"),
        ("routing: {router: {settings: {groups: {g: {members: []}}}}}", "routing.router.settings.groups.g"),
        (
            "models: {a: {cmd: 'x ${PORT}'}}\nrouting: {router: {use: matrix, settings: {matrix: {sets: {s: a}}}}}",
            "routing.router.settings.matrix.sets",
        ),
    ],
)
def test_one_entry_of_a_named_kind_may_stand_in_one_file_only(merged: Merge, text: str, path: str) -> None:
    with pytest.raises(InvalidConfig) as refusal:
        merged(text, text)
    assert path in [str(problem).split(": ")[1] for problem in refusal.value.errors]
    assert all("b.yaml" in str(problem) and "a.yaml" in problem.message for problem in refusal.value.errors)


def test_anchors_are_each_files_own(merged: Merge) -> None:
    with pytest.raises(InvalidConfig, match=r"b\.yaml:1: there is no anchor &x"):
        merged("x-a: &x 5\n", "globalTTL: *x\n")


def test_errors_of_several_files_are_told_at_once_each_with_its_file(merged: Merge) -> None:
    with pytest.raises(InvalidConfig) as refusal:
        merged("startPort: 0\n", "models: [\n", "globalTTL: -1\n")
    assert [problem.where.rpartition("/")[2] for problem in refusal.value.errors] == [
        "a.yaml:1",
        "b.yaml:2",
        "c.yaml:1",
    ]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"nope\.yaml: cannot read it: No such file or directory") as refusal:
        load([tmp_path / "nope.yaml"], {})
    assert str(refusal.value).count("\n") == 0


def test_folder_gives_its_yaml_files_in_order_after_the_named_one(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    (folder / "sub.yaml").mkdir(parents=True)
    for name in ("b.yaml", "a.yml", "B.yaml", "c.txt", "sub.yaml/x.yaml", "._a.yml"):
        (folder / name).write_text("")
    (folder / ".#b.yaml").symlink_to("somebody@machine.123:456")
    main = tmp_path / "z.yaml"
    assert config_files(main, folder) == [main, folder / "B.yaml", folder / "a.yml", folder / "b.yaml"]
    assert config_files(main, None) == [main]
    assert config_files(None, folder)[0] == folder / "B.yaml"


def test_no_file_a_file_given_twice_and_a_missing_folder_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    empty = tmp_path / "empty"
    empty.mkdir()
    for file, folder, said in (
        (None, None, "name a file"),
        (None, empty, r"no \*\.yml"),
        (tmp_path / "a.yaml", tmp_path, "leave out one of the two"),
        (empty / ".." / "a.yaml", tmp_path, "leave out one of the two"),
        (None, tmp_path / "nope", "cannot read this folder"),
    ):
        with pytest.raises(ConfigError, match=said):
            config_files(file, folder)
