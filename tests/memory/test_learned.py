"""`Learned`: when needs are written into their file, and what stands there then."""

from __future__ import annotations

import json
from pathlib import Path

from llamaswap_lib.memory.learned import Learned

GIB = 1 << 30


def kept(file: Path) -> dict[str, list[dict[str, int]]]:
    return {digest: row["peaks"] for digest, row in json.loads(file.read_text())["needs"].items()}


def test_the_file_is_written_only_when_a_need_has_changed_by_more_than_noise(tmp_path: Path) -> None:
    file, learned = tmp_path / "needs.json", Learned(lambda _: None, lambda: 7.0)
    learned.use(file)
    learned.write()
    assert not file.exists()
    for size, is_written in ((GIB, True), (GIB, False), (GIB + 1, False), (GIB + GIB // 50, True)):
        learned.note("a", "m", 1, {"ram": size})
        learned.write()
        assert file.exists() is is_written
        if is_written:
            assert kept(file) == {"a": [{"ram": size}]}
            file.unlink()
    learned.write()
    assert not file.exists()


def test_what_grows_little_by_little_is_written_when_it_is_more_than_noise_in_all(tmp_path: Path) -> None:
    file, learned = tmp_path / "needs.json", Learned(lambda _: None, lambda: 7.0)
    learned.use(file)
    for step in range(5):
        learned.note("a", "m", 1, {"ram": 1000 + 4 * step})
        learned.write()
    assert kept(file) == {"a": [{"ram": 1012}]}


def test_two_models_with_the_same_command_that_run_at_once_keep_their_own_peaks() -> None:
    learned = Learned(lambda _: None, lambda: 7.0)
    learned.note("a", "before", 1, {"ram": 3})
    learned.forget_runs({})
    for one, other in ((10, 5), (12, 6), (12, 7)):
        learned.note("a", "m", 2, {"ram": one})
        learned.note("a", "n", 3, {"ram": other})
        learned.forget_runs({2: None, 3: None})
    assert learned.peaks("a") == ({"ram": 3}, {"ram": 12}, {"ram": 7})
    assert learned.need("a") == {"ram": 12}


def test_another_file_gets_all_that_is_known(tmp_path: Path) -> None:
    learned = Learned(lambda _: None, lambda: 7.0)
    learned.note("a", "m", 1, {"ram": 5})
    learned.write()
    for name in ("first.json", "second.json"):
        learned.use(tmp_path / name)
        learned.write()
        assert kept(tmp_path / name) == {"a": [{"ram": 5}]}


def test_who_has_left_the_file_to_another_process_does_not_write_over_what_that_has_measured(tmp_path: Path) -> None:
    file = tmp_path / "needs.json"
    old, new = (Learned(lambda _: None, lambda: 7.0) for _ in range(2))
    old.use(file)
    old.note("a", "m", 1, {"ram": 1000})
    old.write()
    new.use(file)
    old.leave_file()
    new.note("a", "m", 2, {"ram": 3000})
    new.write()
    old.note("a", "m", 1, {"ram": 2000})
    old.write()
    assert kept(file) == {"a": [{"ram": 1000}, {"ram": 3000}]}
    assert old.need("a") == {"ram": 2000}
