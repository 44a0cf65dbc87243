-- A store of version 2 with two rows, as it was written then. It never changes.
PRAGMA user_version = 2;
PRAGMA application_id = 1819500899;
BEGIN TRANSACTION;
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
INSERT INTO "periods" VALUES(-1,5666666,1,2,1,7,0,0,1,70.0,1,30.0,3000,0,0,0,0,0,0);
INSERT INTO "periods" VALUES(1,5666666,1,1,0,7,0,0,1,70.0,1,30.0,1500,0,0,0,0,0,0);
INSERT INTO "periods" VALUES(2,5666666,1,1,1,0,0,0,0,0.0,0,0.0,1500,0,0,0,0,0,0);
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
INSERT INTO "requests" VALUES(1,1700000000.0,1,3,4,200,5,6,0,0,8,0,0,0,1,1500,0,0,0,7,0,70.0,30.0,0.0,-1,-1,0,0,-1,-1,0,0,0,0,0,0);
INSERT INTO "requests" VALUES(2,1700000010.0,2,3,4,500,5,6,7,0,NULL,9,0,0,1,1500,0,0,0,0,0,0.0,0.0,0.0,-1,-1,0,0,-1,-1,0,0,0,0,0,0);
CREATE TABLE speeds (
    kind INTEGER NOT NULL,
    model INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (kind, model, bucket)
) WITHOUT ROWID;
INSERT INTO "speeds" VALUES(1,-1,3632,1);
INSERT INTO "speeds" VALUES(1,1,3632,1);
INSERT INTO "speeds" VALUES(2,-1,3008,1);
INSERT INTO "speeds" VALUES(2,1,3008,1);
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    field INTEGER NOT NULL,
    text TEXT NOT NULL,
    count INTEGER NOT NULL
);
INSERT INTO "texts" VALUES(1,1,'m',1);
INSERT INTO "texts" VALUES(2,1,'org/n',1);
INSERT INTO "texts" VALUES(3,2,'/v1/chat/completions',2);
INSERT INTO "texts" VALUES(4,3,'POST',2);
INSERT INTO "texts" VALUES(5,4,'application/json',2);
INSERT INTO "texts" VALUES(6,5,'complete',2);
INSERT INTO "texts" VALUES(7,6,'it broke',1);
INSERT INTO "texts" VALUES(8,8,'0',1);
INSERT INTO "texts" VALUES(9,9,'chat',1);
INSERT INTO "texts" VALUES(10,13,'200',1);
INSERT INTO "texts" VALUES(11,13,'500',1);
CREATE TABLE totals (
    model INTEGER PRIMARY KEY,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_tokens INTEGER NOT NULL
);
INSERT INTO "totals" VALUES(-1,2,7,0,0);
INSERT INTO "totals" VALUES(1,1,7,0,0);
INSERT INTO "totals" VALUES(2,1,0,0,0);
CREATE INDEX requests_by_time ON requests (timestamp);
CREATE INDEX requests_by_model ON requests (model);
CREATE INDEX requests_by_session ON requests (session) WHERE session > 0;
CREATE INDEX requests_by_error ON requests (error) WHERE error > 0;
CREATE INDEX requests_by_prompt_speed ON requests (prompt_per_second, model);
CREATE INDEX requests_by_speed ON requests (tokens_per_second, model);
CREATE UNIQUE INDEX texts_by_text ON texts (field, text);
CREATE INDEX texts_by_count ON texts (field, count);
CREATE VIEW activity AS SELECT id, timestamp, (SELECT text FROM texts WHERE texts.id = requests.model) AS model, (SELECT text FROM texts WHERE texts.id = requests.path) AS path, (SELECT text FROM texts WHERE texts.id = requests.method) AS method, status, (SELECT text FROM texts WHERE texts.id = requests.content_type) AS content_type, (SELECT text FROM texts WHERE texts.id = requests.ended) AS ended, (SELECT text FROM texts WHERE texts.id = requests.error) AS error, (SELECT text FROM texts WHERE texts.id = requests.selector) AS selector, (SELECT text FROM texts WHERE texts.id = requests.priority) AS priority, (SELECT text FROM texts WHERE texts.id = requests.session) AS session, (SELECT text FROM texts WHERE texts.id = requests.key) AS key, (SELECT text FROM texts WHERE texts.id = requests.remote_ip) AS remote_ip, is_local, duration_ms, cache_tokens, draft_tokens, draft_acc_tokens, input_tokens, output_tokens, prompt_per_second, tokens_per_second, seen_per_second, first_byte_ms, first_token_ms, queue_ms, load_ms, prompt_ms, generation_ms, ours_ms, (SELECT text FROM texts WHERE texts.id = requests.behind) AS behind, request_bytes, response_bytes, retries, upstream_ms FROM requests;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('requests',2);
COMMIT;
