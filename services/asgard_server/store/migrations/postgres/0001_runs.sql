-- Index and change log of runs and results: rows derived from documents, for lists and search.
-- Times are whole microseconds since 1970, UTC. Ids compare by their bytes, as in Python.
-- needs: 1

-- One row: the newest revision, how many runs there are, and which log this is.
CREATE TABLE asgard.run_log_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  revision bigint NOT NULL DEFAULT 0,
  runs bigint NOT NULL DEFAULT 0,
  epoch text NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', ''),
  state text NOT NULL DEFAULT 'building' CHECK (state IN ('building', 'whole')),
  storage_id text
) WITH (fillfactor = 10);
INSERT INTO asgard.run_log_head DEFAULT VALUES;

CREATE TABLE asgard.run_log (
  revision bigint PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  gone boolean NOT NULL,
  at bigint NOT NULL
);

-- Who observes a document holds the row that its key is hashed to, whether or not the document
-- has a row of its own yet: a row that is not there cannot be locked.
CREATE TABLE asgard.run_locks (slot integer PRIMARY KEY);
INSERT INTO asgard.run_locks SELECT generate_series(0, 16383);

CREATE TABLE asgard.runs (
  id text COLLATE "C" PRIMARY KEY,
  sorted_at bigint NOT NULL,
  created_at bigint NOT NULL,
  changed_at bigint NOT NULL,
  noticed_at bigint NOT NULL,
  digest bytea NOT NULL,
  stamp text COLLATE "C" NOT NULL,
  document bytea NOT NULL,
  text text COLLATE "C" NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX runs_by_time ON asgard.runs (sorted_at, id);

CREATE TABLE asgard.results (
  id text COLLATE "C" PRIMARY KEY,
  run_id text COLLATE "C" NOT NULL,
  sorted_at bigint NOT NULL,
  created_at bigint NOT NULL,
  changed_at bigint NOT NULL,
  noticed_at bigint NOT NULL,
  digest bytea NOT NULL,
  stamp text COLLATE "C" NOT NULL,
  result_type bytea NOT NULL,
  display bytea NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX results_by_run ON asgard.results (run_id, sorted_at, id);

-- Apart from runs: it is written with every result, also before the run itself is known, and
-- a row of a few bytes costs a tenth of one that holds a document.
CREATE TABLE asgard.result_counts (
  run_id text COLLATE "C" PRIMARY KEY,
  results bigint NOT NULL,
  changed_at bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE asgard.unreadable (
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  stamp text COLLATE "C" NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE TABLE asgard.tombstones (
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (kind, id)
);
CREATE INDEX tombstones_by_time ON asgard.tombstones (at);

CREATE TABLE asgard.requests (
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  digest bytea NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (kind, id)
);
CREATE INDEX requests_by_time ON asgard.requests (at);
