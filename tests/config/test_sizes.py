"""Sizes and shares: what is read, what is refused, and that what is written is read as the same again."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.load import inspect_text, load_text
from llamaswap_lib.config.schema import Model
from llamaswap_lib.typed_yaml.sizes import size_of, size_text

GB, MB = 1 << 30, 1 << 20


def model(memory: str) -> Model:
    return load_text(f"models: {{m: {{cmd: 'x ${{PORT}}', memory: {memory}}}}}", environment={}).models["m"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("18GB", 18 * GB),
        ("18 GiB", 18 * GB),
        ("18g", 18 * GB),
        ("1.5G", 3 * GB // 2),
        ("512MB", 512 * MB),
        ("2t", 2048 * GB),
        ("1048577", MB + 1),
        ("2097152B", 2 * MB),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert model(text).memory == {"": size}
    assert model(f'"{text}"').memory == {"": size}
    assert size_of(str(size_text(size))) == size


@pytest.mark.parametrize(
    "text", ["18", "0", "-5GB", "GB", "18 gigs", "5%", "1e9", ".5GB", "1_000MB", "9" * 400, "2000TB"]
)
def test_what_is_no_size_or_has_no_unit_is_refused(text: str) -> None:
    (error,) = inspect_text(f"models: {{m: {{cmd: 'x ${{PORT}}', memory: {text}}}}}").problems.errors
    assert error.message.startswith("expected a size such as 18GB, or a mapping from devices to sizes")


def test_nothing_may_be_said_of_one_device() -> None:
    assert model("{gpu: 0, ram: 2GB}").memory == {"gpu": 0, "ram": 2 * GB}


@pytest.mark.parametrize(("text", "reserve"), [("5%", 0.05), ("0%", 0.0), ("0", 0), ("2GB", 2 * GB), ("12.5 %", 0.125)])
def test_a_reserve_is_a_size_or_a_share(text: str, reserve: float) -> None:
    written = f"routing: {{router: {{use: memory, settings: {{memory: {{devices: {{ram: {{reserve: {text}}}}}}}}}}}}}"
    found = load_text(written, environment={}).routing.memory.devices["ram"].reserve
    assert (found, type(found)) == (reserve, type(reserve))


def test_a_reserve_of_all_is_refused() -> None:
    devices = "{ram: {capacity: 2GB, reserve: 100%}, '0': {capacity: 2GB, reserve: 3GB}, '1': {reserve: 101%}}"
    written = f"routing: {{router: {{use: memory, settings: {{memory: {{devices: {devices}}}}}}}}}"
    messages = [error.message for error in inspect_text(written).problems.errors]
    assert [message.partition(":")[0] for message in sorted(messages)] == [
        'expected a size such as 2GB, or a share such as 5%, got "101%"',
        *["expected less than the capacity"] * 2,
    ]
