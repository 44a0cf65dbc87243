"""Prometheus' text of metrics: what is written is read alike by others, and what others write is read."""

from __future__ import annotations

import shutil
import subprocess
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from llamaswap_lib.activity.exposition import Family, Labels, Sample, buckets, counter, gauge, read, written

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus"
)
NAMED: Labels = (("model", 'a "b" \\ \n c'),)
FAMILIES = [
    counter("llamaswap_requests", 'Requests, "all"\nof \\ them.', [(NAMED, 5), ((("model", "b"),), 2.5)]),
    gauge("llamaswap_waiting", "Who waits.", [(NAMED, 0), ((), -inf)]),
    Family("llamaswap_seconds", "histogram", "How long.", [*buckets(NAMED, (0.5, 1.0), [1, 0, 2], 7.25)]),
    Family("other_thing", "unknown", "", [Sample("", (), 3)]),
    gauge("llamaswap_nothing", "Nobody has one."),
]
Flat = set[tuple[str, Labels, float]]


def flat(families: list[Family]) -> Flat:
    """The names, labels and values of all samples."""
    return {
        (family.name + sample.suffix, tuple(sorted(sample.labels)), float(sample.value))
        for family in families
        for sample in family.samples
    }


def theirs(parsed: object) -> Flat:
    return {
        (sample.name, tuple(sorted(sample.labels.items())), float(sample.value))
        for family in parsed  # type: ignore[attr-defined]
        for sample in family.samples
    }


def test_others_read_what_is_written() -> None:
    for parse, is_open in ((parse_plain, False), (parse_open, True)):
        text = written(FAMILIES, is_open=is_open).decode()
        assert theirs(parse(text)) == flat(FAMILIES)
        assert flat([*read(text).values()]) == flat(FAMILIES)
        assert {family.help for family in read(text).values()} == {family.help for family in FAMILIES if family.samples}
        assert text.count("# TYPE ") == text.count("# HELP ") == 4
        assert text.endswith("# EOF\n") == is_open


def test_the_two_formats_name_a_counter_each_in_its_way() -> None:
    assert "# TYPE llamaswap_requests_total counter" in written(FAMILIES, is_open=False).decode()
    assert "# TYPE llamaswap_requests counter" in written(FAMILIES, is_open=True).decode()


def test_what_is_no_number_is_not_written() -> None:
    text = written([gauge("a", "A.", [((), nan)]), gauge("b", "B.", [(NAMED, nan), ((), 1)])], is_open=False).decode()
    assert text == "# HELP b B.\n# TYPE b gauge\nb 1\n"


@needs_promtool
def test_promtool_accepts_what_is_written() -> None:
    families = [family for family in FAMILIES if family.name != "other_thing"]
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=written(families, is_open=False), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_the_text_of_llama_cpp_is_read() -> None:
    families = read(
        "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed, excluding cached tokens\n"
        "# TYPE llamacpp:prompt_tokens_total counter\n"
        "llamacpp:prompt_tokens_total 95\n"
        "# HELP llamacpp:predicted_tokens_seconds Average generation throughput in tokens/s\n"
        "# TYPE llamacpp:predicted_tokens_seconds gauge\n"
        "llamacpp:predicted_tokens_seconds nan\n"
    )
    counted = families["llamacpp:prompt_tokens"]
    assert (counted.kind, counted.samples) == ("counter", [Sample("_total", (), 95.0)])
    assert counted.help == "Number of prompt tokens processed, excluding cached tokens"
    assert families["llamacpp:predicted_tokens_seconds"].kind == "gauge"


def test_odd_lines_are_read_or_left_out() -> None:
    families = read(
        "# TYPE vllm:seconds histogram\n"
        'vllm:seconds_bucket{model_name="a}b",le="1.0",} 3 1395066363000\n'
        "vllm:seconds_count 3\n"
        "vllm:seconds_created 1.7e9\n"
        "# TYPE requests counter\n"
        "requests 4\n"
        "# TYPE plain untyped\n"
        "plain{a='b'} 1\n"
        "plain  -Inf\n"
        "# a comment\n"
        "no value\n"
        "{} 7\n"
        "words x\n"
        "word1\n"
        "# TYPE\n"
        "surprise_total 1\r\n"
    )
    assert families["vllm:seconds"].samples == [
        Sample("_bucket", (("model_name", "a}b"), ("le", "1.0")), 3.0),
        Sample("_count", (), 3.0),
    ]
    assert (families["requests"].kind, families["requests"].samples) == ("unknown", [Sample("", (), 4.0)])
    assert (families["plain"].kind, families["plain"].samples) == ("unknown", [Sample("", (), -inf)])
    assert families["surprise_total"].samples == [Sample("", (), 1.0)]
    assert families.keys() == {"vllm:seconds", "requests", "plain", "surprise_total"}


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.floats(allow_nan=False))
def test_any_label_and_value_comes_back(label: str, value: float) -> None:
    family = gauge("a", "A.", [((("x", label),), value)])
    text = written([family], is_open=False).decode()
    assert read(text)["a"].samples == family.samples


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    read(text)
    read(f'# TYPE a counter\na_total{{b="{text}"}} 1\n{text}')
