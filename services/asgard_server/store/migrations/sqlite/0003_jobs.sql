-- SimSwarm's jobs, and the log of their changes. Times are whole microseconds since 1970, UTC.
-- An id is never given again: it is part of the keys of a job's files.
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('draft', 'pending', 'provisioning', 'running',
    'reporting', 'completed', 'failed', 'refunded')),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  seed_text TEXT NOT NULL,
  goal TEXT NOT NULL,
  tier TEXT CHECK (tier IN ('small', 'medium', 'large')),
  enrich_web INTEGER NOT NULL,
  forecast_days INTEGER,
  pipeline_stage TEXT,
  live_status_json BLOB,
  markets_config_json BLOB,
  result_report TEXT,
  result_structured_json BLOB,
  key_insight TEXT,
  error TEXT,
  sim_data_available INTEGER NOT NULL DEFAULT 0,
  files TEXT NOT NULL DEFAULT '[]',
  retry_of INTEGER,
  superseded_by INTEGER,
  share_token TEXT UNIQUE,
  worker TEXT,
  lease_token TEXT,
  lease_until INTEGER,
  grants_until INTEGER,
  report_worker TEXT,
  report_attempts INTEGER NOT NULL DEFAULT 0,
  report_at INTEGER,
  report_lease_until INTEGER,
  completed_at INTEGER,
  deleted_at INTEGER,
  emptied INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_by_owner ON jobs (owner, created_at, id)
  WHERE superseded_by IS NULL AND deleted_at IS NULL;
CREATE INDEX jobs_waiting ON jobs (id)
  WHERE status IN ('pending', 'provisioning', 'running') AND deleted_at IS NULL;
CREATE INDEX jobs_unreported ON jobs (report_at)
  WHERE status = 'reporting' AND deleted_at IS NULL;
CREATE INDEX jobs_deleted ON jobs (id) WHERE deleted_at IS NOT NULL;

CREATE TABLE job_log (
  revision INTEGER PRIMARY KEY,
  job_id INTEGER NOT NULL
);
-- One row: the newest revision, the oldest that is forgotten, and which log this is. Empty until the
-- first entry: whoever writes that names it.
CREATE TABLE job_log_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  revision INTEGER NOT NULL,
  trimmed INTEGER NOT NULL,
  epoch TEXT NOT NULL
);
INSERT INTO job_log_head VALUES (1, 0, 0, '');
