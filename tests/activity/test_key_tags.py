"""What stands for a key: a name, or a tag that leads to no key."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from llamaswap_lib.activity.key_tags import SALT_BYTES, KeyTags, new_salt, read_salt

SALT = bytes(32)


def no_warning(message: str) -> None:
    raise AssertionError(message)


def test_a_tag_is_eight_digits_that_are_the_same_each_time_and_differ_by_key_and_salt() -> None:
    tags, others = KeyTags(SALT), KeyTags(new_salt())
    found = {tags.tag(b"one"), tags.tag(b"two"), others.tag(b"one")}
    assert len(found) == 3
    assert all(re.fullmatch(r"key-[0-9a-f]{8}", tag) for tag in found)
    assert tags.tag(b"one") in found


def test_no_key_has_no_tag_and_a_named_one_its_name() -> None:
    tags = KeyTags(SALT, {"s3cret": "laptop"})
    assert tags.tag(b"") == ""
    assert tags.tag(b"s3cret") == "laptop"
    assert tags.tag(b"s3cre").startswith("key-")


def test_the_salt_lies_beside_the_store_for_its_owner_alone_and_stays_the_same(tmp_path: Path) -> None:
    store = str(tmp_path / "activity.db")
    salt = read_salt(store, no_warning)
    file = tmp_path / "activity.db.salt"
    assert file.read_bytes() == salt
    assert len(salt) == SALT_BYTES
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_salt(store, no_warning) == salt
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_half_a_salt_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.salt").write_bytes(b"half")
    salt = read_salt(str(tmp_path / "a"), no_warning)
    assert len(salt) == SALT_BYTES
    assert read_salt(str(tmp_path / "a"), no_warning) == salt


@pytest.mark.parametrize("store", ["", ":memory:"])
def test_without_a_store_each_start_has_another(store: str) -> None:
    assert read_salt(store, no_warning) != read_salt(store, no_warning)


def test_a_salt_that_cannot_be_kept_is_told_and_does_without(tmp_path: Path) -> None:
    told: list[str] = []
    salt = read_salt(str(tmp_path / "no" / "folder"), told.append)
    assert len(salt) == SALT_BYTES
    [message] = told
    assert message.endswith("No such file or directory; the tags of keys change with each start")
