"""How rows lie in a database: its tables, its indexes, and the steps from one version of them to the next.

Pure text and numbers, any thread. A row is one record of `requests`. Texts that many rows share lie in `texts`, once
for each field, and a row has their numbers (0 for ''); how many rows have one is counted there. `totals` has the sums
by model, `speeds` how many rows have about which speed, `periods` sums over short times. All of that is changed in the
transaction that changes the rows, so that nobody has to count a million of them. `activity` is a view for people with a
SQLite shell.

The numbers of fields and kinds are part of the file: they never change. A new version is one more step in STEPS.
"""

from __future__ import annotations

import math

APPLICATION_ID = 0x6C73_6163  # "lsac": so that we do not take another program's database for ours

FIELDS = {
    "model": 1, "path": 2, "method": 3, "content_type": 4, "ended": 5, "error": 6, "selector": 7, "priority": 8,
    "session": 9, "key": 10, "remote_ip": 11, "behind": 12,
}  # fmt: skip
STATUS_FIELD = 13  # a status is stored as a number; here is only counted how many rows have it
SPEED_KINDS = {"prompt_per_second": 1, "tokens_per_second": 2}

_COLUMNS_1 = """
id timestamp model path method status content_type ended error selector priority session key remote_ip is_local
duration_ms cache_tokens draft_tokens draft_acc_tokens input_tokens output_tokens prompt_per_second tokens_per_second
seen_per_second first_byte_ms first_token_ms queue_ms load_ms prompt_ms generation_ms ours_ms behind request_bytes
response_bytes retries upstream_ms
"""  # as they were then, whatever becomes of COLUMNS
_VERSION_1 = f"""
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp REAL NOT NULL,
    model INTEGER NOT NULL,
    path INTEGER NOT NULL,
    method INTEGER NOT NULL,
    status INTEGER NOT NULL,
    content_type INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    error INTEGER NOT NULL,
    selector INTEGER NOT NULL,
    priority INTEGER,
    session INTEGER NOT NULL,
    key INTEGER NOT NULL,
    remote_ip INTEGER NOT NULL,
    is_local INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    cache_tokens INTEGER NOT NULL,
    draft_tokens INTEGER NOT NULL,
    draft_acc_tokens INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    prompt_per_second REAL NOT NULL,
    tokens_per_second REAL NOT NULL,
    seen_per_second REAL NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    first_token_ms INTEGER NOT NULL,
    queue_ms INTEGER NOT NULL,
    load_ms INTEGER NOT NULL,
    prompt_ms INTEGER NOT NULL,
    generation_ms INTEGER NOT NULL,
    ours_ms INTEGER NOT NULL,
    behind INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    upstream_ms INTEGER NOT NULL
);
CREATE INDEX requests_by_time ON requests (timestamp);
CREATE INDEX requests_by_model ON requests (model);
CREATE INDEX requests_by_session ON requests (session) WHERE session > 0;
CREATE INDEX requests_by_error ON requests (error) WHERE error > 0;
CREATE INDEX requests_by_prompt_speed ON requests (prompt_per_second, model);
CREATE INDEX requests_by_speed ON requests (tokens_per_second, model);
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    field INTEGER NOT NULL,
    text TEXT NOT NULL,
    count INTEGER NOT NULL
);
CREATE UNIQUE INDEX texts_by_text ON texts (field, text);
CREATE INDEX texts_by_count ON texts (field, count);
CREATE TABLE totals (
    model INTEGER PRIMARY KEY,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_tokens INTEGER NOT NULL
);
CREATE TABLE speeds (
    kind INTEGER NOT NULL,
    model INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (kind, model, bucket)
) WITHOUT ROWID;
CREATE VIEW activity AS SELECT {
    ", ".join(
        f"(SELECT text FROM texts WHERE texts.id = requests.{name}) AS {name}" if name in FIELDS else name
        for name in _COLUMNS_1.split()
    )
} FROM requests;
PRAGMA application_id = {APPLICATION_ID};
"""

# As they were then, whatever becomes of those in periods.py.
_PERIOD_2 = "(CAST(timestamp / 300 AS INTEGER) - (timestamp < 300 * CAST(timestamp / 300 AS INTEGER)))"
_SUMS_2 = """count(*), sum(status >= 400), total(max(input_tokens, 0)), total(max(output_tokens, 0)),
total(max(cache_tokens, 0)), sum(prompt_per_second > 0), total(max(prompt_per_second, 0)), sum(tokens_per_second > 0),
total(max(tokens_per_second, 0)), total(duration_ms), sum(first_token_ms >= 0), total(max(first_token_ms, 0)),
total(queue_ms), max(queue_ms), sum(load_ms > 0), total(max(load_ms, 0))"""
_VERSION_2 = f"""
CREATE TABLE periods (
    model INTEGER NOT NULL,
    period INTEGER NOT NULL,
    is_whole INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_tokens INTEGER NOT NULL,
    prompt_speeds INTEGER NOT NULL,
    prompt_speed REAL NOT NULL,
    speeds INTEGER NOT NULL,
    speed REAL NOT NULL,
    duration_ms INTEGER NOT NULL,
    first_tokens INTEGER NOT NULL,
    first_token_ms INTEGER NOT NULL,
    queue_ms INTEGER NOT NULL,
    max_queue_ms INTEGER NOT NULL,
    loads INTEGER NOT NULL,
    load_ms INTEGER NOT NULL,
    PRIMARY KEY (model, period)
) WITHOUT ROWID;
INSERT INTO periods SELECT model, {_PERIOD_2} AS period, 1, {_SUMS_2} FROM requests GROUP BY model, period;
INSERT INTO periods SELECT -1, {_PERIOD_2} AS period, 1, {_SUMS_2} FROM requests GROUP BY period;
"""

STEPS = (_VERSION_1, _VERSION_2)  # the N-th leads from version N - 1 to version N; 0 is an empty file

# -- speeds, in buckets --

_PER_OCTAVE = 512  # buckets between a speed and its double: each is at most 0.2 % wide


def bucket_of(speed: float) -> int:
    """The number of the bucket of a speed above 0; a higher speed has the same or a higher one."""
    mantissa, exponent = math.frexp(speed)  # the mantissa is at least 0.5 and below 1
    return exponent * _PER_OCTAVE + int((mantissa - 0.5) * 2 * _PER_OCTAVE)


def lowest_of(bucket: int) -> float:
    """The lowest speed of a bucket; the next bucket begins with the lowest speed that is not in it."""
    exponent, part = divmod(bucket, _PER_OCTAVE)
    return math.ldexp(0.5 + part / (2 * _PER_OCTAVE), exponent)
