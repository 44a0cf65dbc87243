"""What lies on the way to a file."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from llamaswap_lib.runtime.files.watched_paths import MOST_LINKS, trail_of


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder whose path has no links in it."""
    return tmp_path.resolve()


def test_a_plain_file_is_looked_up_in_its_folder(top: Path) -> None:
    (top / "config.yaml").touch()
    trail = trail_of(f"{top}/config.yaml")
    assert trail.lookups == [(str(top), "config.yaml")]
    assert trail.folders == [str(folder) for folder in reversed([top, *top.parents]) if folder != Path("/")]
    assert trail.end == f"{top}/config.yaml"
    assert stat.S_ISREG(trail.mode)
    assert trail.error == 0


def test_links_are_looked_up_where_they_lie(top: Path) -> None:
    """Kubernetes lays the files of a volume out like this."""
    (top / "..2024_01").mkdir()
    (top / "..2024_01" / "config.yaml").touch()
    (top / "..data").symlink_to("..2024_01")
    (top / "config.yaml").symlink_to("..data/config.yaml")
    trail = trail_of(f"{top}/config.yaml")
    assert trail.lookups == [
        (str(top), "config.yaml"),
        (str(top), "..data"),
        (f"{top}/..2024_01", "config.yaml"),
    ]
    assert trail.end == f"{top}/..2024_01/config.yaml"
    assert f"{top}/..2024_01" in trail.folders


def test_what_is_missing_is_looked_up_in_the_last_folder_there_is(top: Path) -> None:
    (top / "link").symlink_to(top / "a" / "b" / "config.yaml")
    trail = trail_of(f"{top}/link")
    assert trail.lookups == [(str(top), "link"), (str(top), "a")]
    assert (trail.end, trail.error) == ("", errno.ENOENT)


def test_a_file_in_the_place_of_a_folder_ends_the_way(top: Path) -> None:
    (top / "a").touch()
    trail = trail_of(f"{top}/a/config.yaml")
    assert trail.lookups == [(str(top), "a")]
    assert (trail.end, trail.error) == ("", errno.ENOTDIR)


def test_a_way_up_goes_up_from_where_a_link_led(top: Path) -> None:
    (top / "deep" / "er").mkdir(parents=True)
    (top / "deep" / "config.yaml").touch()
    (top / "link").symlink_to("deep/er")
    assert trail_of(f"{top}/link/../config.yaml").end == f"{top}/deep/config.yaml"
    assert trail_of(f"{top}/./deep//config.yaml").end == f"{top}/deep/config.yaml"


def test_a_folder_is_an_end_too(top: Path) -> None:
    for path in (f"{top}/", f"{top}/.", f"{top}/x/.."):
        (top / "x").mkdir(exist_ok=True)
        assert (trail_of(path).end, stat.S_ISDIR(trail_of(path).mode)) == (str(top), True), path
    assert trail_of("/").end == "/"


@pytest.mark.parametrize("links", [MOST_LINKS, MOST_LINKS + 1])
def test_as_many_links_as_the_kernel_takes(top: Path, links: int) -> None:
    (top / "0").touch()
    for number in range(links):
        (top / str(number + 1)).symlink_to(str(number))
    trail = trail_of(f"{top}/{links}")
    is_short = links == MOST_LINKS
    assert (trail.end, trail.error) == ((f"{top}/0", 0) if is_short else ("", errno.ELOOP))
    assert (top / str(links)).exists() == is_short, "the kernel says the same"


def test_links_in_a_circle_come_to_an_end(top: Path) -> None:
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    trail = trail_of(f"{top}/a")
    assert (trail.end, trail.error) == ("", errno.ELOOP)
    assert set(trail.lookups) == {(str(top), "a"), (str(top), "b")}


def test_a_path_that_can_be_none_ends_at_once() -> None:
    assert trail_of("/\0").error == errno.EINVAL
    assert trail_of("/" + "x" * 5000).error == errno.ENAMETOOLONG


def test_two_ways_are_equal_only_over_the_same_things(top: Path) -> None:
    (top / "a").touch()
    before = trail_of(f"{top}/a")
    assert trail_of(f"{top}/a") == before
    (top / "b").touch()
    (top / "b").rename(top / "a")
    assert trail_of(f"{top}/a") != before
