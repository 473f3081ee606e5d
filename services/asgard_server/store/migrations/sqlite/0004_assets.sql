-- Who there is, what they may do, assets, experiments, and the log of their changes. Times are whole
-- microseconds since 1970, UTC; no and yes are 0 and 1; JSON is text.

-- Identity ------------------------------------------------------------------------------------------
CREATE TABLE users (
  sub TEXT NOT NULL PRIMARY KEY,
  handle TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  email TEXT,
  issuer TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  disabled_at INTEGER
) WITHOUT ROWID;
CREATE TABLE organizations (
  id TEXT NOT NULL PRIMARY KEY,
  slug TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE teams (
  id TEXT NOT NULL PRIMARY KEY,
  organization_id TEXT REFERENCES organizations (id),
  slug TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX teams_by_organization ON teams (organization_id);
-- scope_id: an organization or a team. source 'oidc': a token said so, and a later one may not.
CREATE TABLE memberships (
  scope_id TEXT NOT NULL,
  sub TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('admin', 'member')),
  source TEXT NOT NULL CHECK (source IN ('asgard', 'oidc')),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (scope_id, sub)
) WITHOUT ROWID;
CREATE INDEX memberships_by_sub ON memberships (sub, scope_id);
-- hash: the SHA-256 of a key, hexadecimal; the key itself is nowhere.
CREATE TABLE api_keys (
  id TEXT NOT NULL PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('user', 'agent', 'worker')),
  name TEXT NOT NULL,
  shown TEXT NOT NULL,
  sub TEXT NOT NULL,
  experiment_id TEXT,
  variation INTEGER,
  run INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) WITHOUT ROWID;
CREATE INDEX api_keys_by_sub ON api_keys (sub, created_at, id);

-- Access --------------------------------------------------------------------------------------------
-- source: 'own', 'visibility', or 'experiment:<id>' for what comes from there.
CREATE TABLE grants (
  object_kind TEXT NOT NULL CHECK (object_kind IN ('asset', 'experiment')),
  object_id TEXT NOT NULL,
  principal TEXT NOT NULL,
  action TEXT NOT NULL CHECK (action IN ('read', 'write', 'delete', 'administer')),
  source TEXT NOT NULL,
  granted_by TEXT NOT NULL,
  granted_at INTEGER NOT NULL,
  PRIMARY KEY (object_kind, object_id, principal, action, source)
) WITHOUT ROWID;
CREATE INDEX grants_by_source ON grants (source, object_kind, object_id);
-- Who may read an object: everybody with a grant of any action and source, written with the grants.
CREATE TABLE readers (
  object_kind TEXT NOT NULL,
  principal TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  object_id TEXT NOT NULL,
  PRIMARY KEY (object_kind, principal, created_at, object_id)
) WITHOUT ROWID;
CREATE INDEX readers_by_object ON readers (object_kind, object_id, principal);

-- Assets --------------------------------------------------------------------------------------------
-- The versions of a named asset of one owner.
CREATE TABLE asset_series (
  id TEXT NOT NULL PRIMARY KEY,
  scope_id TEXT NOT NULL,
  name TEXT NOT NULL,
  versions INTEGER NOT NULL DEFAULT 0,
  UNIQUE (scope_id, name)
) WITHOUT ROWID;
CREATE TABLE assets (
  id TEXT NOT NULL PRIMARY KEY,
  asset_type TEXT NOT NULL,
  name TEXT,
  state TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'abandoned')),
  -- 'inline': the bytes are in asset_contents; 'components': blobs; 'reference': at uri, not ours.
  kind TEXT NOT NULL CHECK (kind IN ('inline', 'components', 'reference')),
  content_type TEXT NOT NULL,
  uri TEXT,
  size_bytes INTEGER,
  sha256 TEXT,
  config_json TEXT,
  metadata_json TEXT,
  pending_reasons TEXT NOT NULL DEFAULT '[]',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  ready_at INTEGER,
  abandoned_at INTEGER,
  -- When the bytes of an abandoned one were let go.
  released_at INTEGER,
  created_by TEXT NOT NULL,
  organization_id TEXT,
  team_id TEXT,
  visibility TEXT NOT NULL CHECK (visibility IN ('private', 'org_public', 'public')),
  experiment_id TEXT,
  variation INTEGER,
  run INTEGER,
  series_id TEXT REFERENCES asset_series (id),
  version INTEGER,
  deprecated_at INTEGER,
  deprecated_by TEXT,
  deprecated_reason TEXT,
  invalidated_at INTEGER,
  invalidated_by TEXT,
  invalidated_reason TEXT,
  -- Which retraction invalidated it, if one did: 'experiment:<id>' or 'variation:<id>/<number>'.
  invalidated_with TEXT,
  abandoned_reason TEXT,
  request_digest TEXT NOT NULL,
  revision INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX assets_by_time ON assets (created_at, id);
CREATE INDEX assets_by_name ON assets (name, created_at, id) WHERE name IS NOT NULL;
CREATE INDEX assets_by_experiment ON assets (experiment_id, variation, run, created_at, id);
CREATE INDEX assets_by_series ON assets (series_id, version);
CREATE INDEX assets_pending ON assets (created_at) WHERE state = 'pending';
CREATE INDEX assets_abandoned ON assets (abandoned_at)
  WHERE state = 'abandoned' AND released_at IS NULL;
CREATE TABLE asset_contents (
  asset_id TEXT NOT NULL PRIMARY KEY REFERENCES assets (id),
  body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE asset_components (
  asset_id TEXT NOT NULL REFERENCES assets (id),
  name TEXT NOT NULL,
  position INTEGER NOT NULL,
  blob_id TEXT,
  size_bytes INTEGER,
  sha256 TEXT,
  content_type TEXT NOT NULL,
  PRIMARY KEY (asset_id, name)
) WITHOUT ROWID;
CREATE INDEX asset_components_by_blob ON asset_components (blob_id);
CREATE TABLE asset_aliases (
  series_id TEXT NOT NULL REFERENCES asset_series (id),
  alias TEXT NOT NULL,
  asset_id TEXT NOT NULL REFERENCES assets (id),
  PRIMARY KEY (series_id, alias)
) WITHOUT ROWID;
CREATE TABLE asset_alias_history (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  series_id TEXT NOT NULL,
  alias TEXT NOT NULL,
  asset_id TEXT,
  set_by TEXT NOT NULL,
  set_at INTEGER NOT NULL
);
CREATE INDEX asset_alias_history_by_series ON asset_alias_history (series_id, alias, number);
-- Every time a flag was set or taken back, and why.
CREATE TABLE asset_flags (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  asset_id TEXT NOT NULL,
  flag TEXT NOT NULL CHECK (flag IN ('deprecated', 'invalidated')),
  is_set INTEGER NOT NULL,
  reason TEXT NOT NULL,
  set_by TEXT NOT NULL,
  set_at INTEGER NOT NULL
);
CREATE INDEX asset_flags_by_asset ON asset_flags (asset_id, number);
-- What is searched: rowid is number, so that the index of words can name it.
CREATE TABLE asset_texts (
  number INTEGER PRIMARY KEY,
  asset_id TEXT NOT NULL UNIQUE REFERENCES assets (id),
  name TEXT NOT NULL,
  asset_type TEXT NOT NULL,
  content TEXT NOT NULL,
  metadata TEXT NOT NULL
);
CREATE VIRTUAL TABLE asset_words USING fts5 (
  name, asset_type, content, metadata,
  content = 'asset_texts', content_rowid = 'number', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER asset_texts_made AFTER INSERT ON asset_texts BEGIN
  INSERT INTO asset_words (rowid, name, asset_type, content, metadata)
    VALUES (new.number, new.name, new.asset_type, new.content, new.metadata);
END;
CREATE TRIGGER asset_texts_gone AFTER DELETE ON asset_texts BEGIN
  INSERT INTO asset_words (asset_words, rowid, name, asset_type, content, metadata)
    VALUES ('delete', old.number, old.name, old.asset_type, old.content, old.metadata);
END;
CREATE TRIGGER asset_texts_changed AFTER UPDATE ON asset_texts BEGIN
  INSERT INTO asset_words (asset_words, rowid, name, asset_type, content, metadata)
    VALUES ('delete', old.number, old.name, old.asset_type, old.content, old.metadata);
  INSERT INTO asset_words (rowid, name, asset_type, content, metadata)
    VALUES (new.number, new.name, new.asset_type, new.content, new.metadata);
END;

-- Experiments ---------------------------------------------------------------------------------------
CREATE TABLE experiments (
  id TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('open', 'committed', 'concluded')),
  title TEXT NOT NULL,
  hypothesis_summary TEXT NOT NULL,
  rationale TEXT NOT NULL,
  description TEXT NOT NULL,
  config_yaml TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  organization_id TEXT,
  team_id TEXT,
  visibility TEXT NOT NULL CHECK (visibility IN ('private', 'org_public', 'public')),
  committed_at INTEGER,
  concluded_at INTEGER,
  retracted_at INTEGER,
  retracted_by TEXT,
  retraction_reason TEXT,
  retraction_document_id TEXT,
  -- The takeaways_report that concluded it.
  takeaways_id TEXT,
  variations INTEGER NOT NULL DEFAULT 0,
  request_digest TEXT NOT NULL,
  revision INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX experiments_by_time ON experiments (created_at, id);
CREATE TABLE experiment_parents (
  experiment_id TEXT NOT NULL REFERENCES experiments (id),
  parent_id TEXT NOT NULL REFERENCES experiments (id),
  tentative INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (experiment_id, parent_id)
) WITHOUT ROWID;
CREATE INDEX experiment_parents_by_parent ON experiment_parents (parent_id);
CREATE TABLE findings (
  id TEXT NOT NULL PRIMARY KEY,
  experiment_id TEXT NOT NULL REFERENCES experiments (id),
  status TEXT NOT NULL CHECK (status IN ('working', 'partial', 'not_working')),
  summary TEXT NOT NULL,
  variation INTEGER,
  source_asset_id TEXT,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX findings_by_experiment ON findings (experiment_id, created_at, id);
CREATE TABLE variations (
  experiment_id TEXT NOT NULL REFERENCES experiments (id),
  number INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'committed')),
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  hypothesis TEXT NOT NULL,
  git_ref TEXT NOT NULL,
  config_yaml TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  committed_at INTEGER,
  retracted_at INTEGER,
  retracted_by TEXT,
  retraction_reason TEXT,
  runs INTEGER NOT NULL DEFAULT 0,
  request_digest TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (experiment_id, number)
) WITHOUT ROWID;
-- A run of a variation is a run of RunService, whose id is run_id. fence rises with every start: what
-- comes with an older one is late.
CREATE TABLE variation_runs (
  experiment_id TEXT NOT NULL,
  variation INTEGER NOT NULL,
  number INTEGER NOT NULL,
  run_id TEXT NOT NULL UNIQUE,
  status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed_crash',
    'failed_abandoned', 'failed_lost')),
  fence INTEGER NOT NULL DEFAULT 0,
  worker TEXT,
  lease_token TEXT,
  lease_until INTEGER,
  heartbeat_at INTEGER,
  lease_seconds INTEGER NOT NULL DEFAULT 300,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  reason TEXT,
  wandb_json TEXT,
  PRIMARY KEY (experiment_id, variation, number),
  FOREIGN KEY (experiment_id, variation) REFERENCES variations (experiment_id, number)
) WITHOUT ROWID;
CREATE INDEX variation_runs_leased ON variation_runs (lease_until) WHERE status = 'running';

-- Links ---------------------------------------------------------------------------------------------
-- variation -1: of the experiment itself.
CREATE TABLE asset_links (
  asset_id TEXT NOT NULL REFERENCES assets (id),
  direction TEXT NOT NULL CHECK (direction IN ('input', 'output')),
  experiment_id TEXT NOT NULL REFERENCES experiments (id),
  variation INTEGER NOT NULL DEFAULT -1,
  run INTEGER,
  allow_invalid INTEGER NOT NULL DEFAULT 0,
  propagate_acl INTEGER NOT NULL DEFAULT 0,
  linked_by TEXT NOT NULL,
  linked_at INTEGER NOT NULL,
  PRIMARY KEY (asset_id, direction, experiment_id, variation)
) WITHOUT ROWID;
CREATE INDEX asset_links_by_experiment ON asset_links (experiment_id, variation, direction, asset_id);

-- What is to be told, and to whom -------------------------------------------------------------------
-- What must be done in other services: delivered once at least, in the order of a key's numbers.
CREATE TABLE outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  problem TEXT
);
CREATE INDEX outbox_due ON outbox (due_at, number);
CREATE INDEX outbox_by_key ON outbox (key, number);
-- Who did what when to which. Nothing is ever changed or removed here.
CREATE TABLE audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  principal TEXT NOT NULL,
  principal_kind TEXT NOT NULL,
  action TEXT NOT NULL,
  object_kind TEXT NOT NULL,
  object_id TEXT NOT NULL,
  organization_id TEXT,
  details_json TEXT NOT NULL,
  request_id TEXT NOT NULL
);
CREATE INDEX audit_by_object ON audit (object_kind, object_id, number);
CREATE INDEX audit_by_organization ON audit (organization_id, number);
CREATE INDEX audit_by_principal ON audit (principal, number);
-- Readers are JSON lists of principals, as they were before and are after the change.
CREATE TABLE asset_log (
  revision INTEGER PRIMARY KEY,
  object_kind TEXT NOT NULL,
  object_id TEXT NOT NULL,
  readers_before TEXT NOT NULL,
  readers_after TEXT NOT NULL
);
CREATE TABLE asset_log_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  epoch TEXT NOT NULL,
  revision INTEGER NOT NULL,
  trimmed INTEGER NOT NULL
);
INSERT INTO asset_log_head VALUES (1, '', 0, 0);
-- Ids that were deleted, for as long as a late repeat may ask for them again.
CREATE TABLE deleted_ids (
  object_kind TEXT NOT NULL,
  id TEXT NOT NULL,
  deleted_at INTEGER NOT NULL,
  PRIMARY KEY (object_kind, id)
) WITHOUT ROWID;
