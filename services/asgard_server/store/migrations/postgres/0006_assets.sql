-- Who there is, what they may do, assets, experiments, and the log of their changes. Times are whole
-- microseconds since 1970, UTC; no and yes are 0 and 1; JSON is text.
-- needs: 1

-- Identity ------------------------------------------------------------------------------------------
CREATE TABLE asgard.users (
  sub text COLLATE "C" NOT NULL PRIMARY KEY,
  handle text COLLATE "C" NOT NULL UNIQUE,
  name text COLLATE "C" NOT NULL,
  email text COLLATE "C",
  issuer text COLLATE "C" NOT NULL DEFAULT '',
  created_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  disabled_at bigint
);
CREATE TABLE asgard.organizations (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  slug text COLLATE "C" NOT NULL UNIQUE,
  name text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL
);
CREATE TABLE asgard.teams (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  organization_id text COLLATE "C" REFERENCES asgard.organizations (id),
  slug text COLLATE "C" NOT NULL UNIQUE,
  name text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL
);
CREATE INDEX teams_by_organization ON asgard.teams (organization_id);
-- scope_id: an organization or a team. source 'oidc': a token said so, and a later one may not.
CREATE TABLE asgard.memberships (
  scope_id text COLLATE "C" NOT NULL,
  sub text COLLATE "C" NOT NULL,
  role text COLLATE "C" NOT NULL CHECK (role IN ('admin', 'member')),
  source text COLLATE "C" NOT NULL CHECK (source IN ('asgard', 'oidc')),
  created_at bigint NOT NULL,
  PRIMARY KEY (scope_id, sub)
);
CREATE INDEX memberships_by_sub ON asgard.memberships (sub, scope_id);
-- hash: the SHA-256 of a key, hexadecimal; the key itself is nowhere.
CREATE TABLE asgard.api_keys (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  hash text COLLATE "C" NOT NULL UNIQUE,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'agent', 'worker')),
  name text COLLATE "C" NOT NULL,
  shown text COLLATE "C" NOT NULL,
  sub text COLLATE "C" NOT NULL,
  experiment_id text COLLATE "C",
  variation bigint,
  run bigint,
  created_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  expires_at bigint,
  revoked_at bigint
);
CREATE INDEX api_keys_by_sub ON asgard.api_keys (sub, created_at, id);

-- Access --------------------------------------------------------------------------------------------
-- source: 'own', 'visibility', or 'experiment:<id>' for what comes from there.
CREATE TABLE asgard.grants (
  object_kind text COLLATE "C" NOT NULL CHECK (object_kind IN ('asset', 'experiment')),
  object_id text COLLATE "C" NOT NULL,
  principal text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL CHECK (action IN ('read', 'write', 'delete', 'administer')),
  source text COLLATE "C" NOT NULL,
  granted_by text COLLATE "C" NOT NULL,
  granted_at bigint NOT NULL,
  PRIMARY KEY (object_kind, object_id, principal, action, source)
);
CREATE INDEX grants_by_source ON asgard.grants (source, object_kind, object_id);
-- Who may read an object: everybody with a grant of any action and source, written with the grants.
CREATE TABLE asgard.readers (
  object_kind text COLLATE "C" NOT NULL,
  principal text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  object_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (object_kind, principal, created_at, object_id)
);
CREATE INDEX readers_by_object ON asgard.readers (object_kind, object_id, principal);

-- Assets --------------------------------------------------------------------------------------------
-- The versions of a named asset of one owner.
CREATE TABLE asgard.asset_series (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  scope_id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  versions bigint NOT NULL DEFAULT 0,
  UNIQUE (scope_id, name)
);
CREATE TABLE asgard.assets (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  asset_type text COLLATE "C" NOT NULL,
  name text COLLATE "C",
  state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'ready', 'abandoned')),
  -- 'inline': the bytes are in asset_contents; 'components': blobs; 'reference': at uri, not ours.
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('inline', 'components', 'reference')),
  content_type text COLLATE "C" NOT NULL,
  uri text COLLATE "C",
  size_bytes bigint,
  sha256 text COLLATE "C",
  config_json text COLLATE "C",
  metadata_json text COLLATE "C",
  pending_reasons text COLLATE "C" NOT NULL DEFAULT '[]',
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  ready_at bigint,
  abandoned_at bigint,
  -- When the bytes of an abandoned one were let go.
  released_at bigint,
  created_by text COLLATE "C" NOT NULL,
  organization_id text COLLATE "C",
  team_id text COLLATE "C",
  visibility text COLLATE "C" NOT NULL CHECK (visibility IN ('private', 'org_public', 'public')),
  experiment_id text COLLATE "C",
  variation bigint,
  run bigint,
  series_id text COLLATE "C" REFERENCES asgard.asset_series (id),
  version bigint,
  deprecated_at bigint,
  deprecated_by text COLLATE "C",
  deprecated_reason text COLLATE "C",
  invalidated_at bigint,
  invalidated_by text COLLATE "C",
  invalidated_reason text COLLATE "C",
  -- Which retraction invalidated it, if one did: 'experiment:<id>' or 'variation:<id>/<number>'.
  invalidated_with text COLLATE "C",
  abandoned_reason text COLLATE "C",
  request_digest text COLLATE "C" NOT NULL,
  revision bigint NOT NULL DEFAULT 0
);
CREATE INDEX assets_by_time ON asgard.assets (created_at, id);
CREATE INDEX assets_by_name ON asgard.assets (name, created_at, id) WHERE name IS NOT NULL;
CREATE INDEX assets_by_experiment ON asgard.assets (experiment_id, variation, run, created_at, id);
CREATE INDEX assets_by_series ON asgard.assets (series_id, version);
CREATE INDEX assets_pending ON asgard.assets (created_at) WHERE state = 'pending';
CREATE INDEX assets_abandoned ON asgard.assets (abandoned_at)
  WHERE state = 'abandoned' AND released_at IS NULL;
CREATE TABLE asgard.asset_contents (
  asset_id text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES asgard.assets (id),
  body bytea NOT NULL
);
CREATE TABLE asgard.asset_components (
  asset_id text COLLATE "C" NOT NULL REFERENCES asgard.assets (id),
  name text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  blob_id text COLLATE "C",
  size_bytes bigint,
  sha256 text COLLATE "C",
  content_type text COLLATE "C" NOT NULL,
  PRIMARY KEY (asset_id, name)
);
CREATE INDEX asset_components_by_blob ON asgard.asset_components (blob_id);
CREATE TABLE asgard.asset_aliases (
  series_id text COLLATE "C" NOT NULL REFERENCES asgard.asset_series (id),
  alias text COLLATE "C" NOT NULL,
  asset_id text COLLATE "C" NOT NULL REFERENCES asgard.assets (id),
  PRIMARY KEY (series_id, alias)
);
CREATE TABLE asgard.asset_alias_history (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  series_id text COLLATE "C" NOT NULL,
  alias text COLLATE "C" NOT NULL,
  asset_id text COLLATE "C",
  set_by text COLLATE "C" NOT NULL,
  set_at bigint NOT NULL
);
CREATE INDEX asset_alias_history_by_series ON asgard.asset_alias_history (series_id, alias, number);
-- Every time a flag was set or taken back, and why.
CREATE TABLE asgard.asset_flags (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  asset_id text COLLATE "C" NOT NULL,
  flag text COLLATE "C" NOT NULL CHECK (flag IN ('deprecated', 'invalidated')),
  is_set bigint NOT NULL,
  reason text COLLATE "C" NOT NULL,
  set_by text COLLATE "C" NOT NULL,
  set_at bigint NOT NULL
);
CREATE INDEX asset_flags_by_asset ON asgard.asset_flags (asset_id, number);
-- What is searched, and its words.
CREATE TABLE asgard.asset_texts (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  asset_id text COLLATE "C" NOT NULL UNIQUE REFERENCES asgard.assets (id),
  name text COLLATE "C" NOT NULL,
  asset_type text COLLATE "C" NOT NULL,
  content text COLLATE "C" NOT NULL,
  metadata text COLLATE "C" NOT NULL,
  -- Of all of it, with the weights A to D, as whoever writes the row tells words from one another.
  words tsvector NOT NULL
);
CREATE INDEX asset_words ON asgard.asset_texts USING gin (words);

-- Experiments ---------------------------------------------------------------------------------------
CREATE TABLE asgard.experiments (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  state text COLLATE "C" NOT NULL CHECK (state IN ('open', 'committed', 'concluded')),
  title text COLLATE "C" NOT NULL,
  hypothesis_summary text COLLATE "C" NOT NULL,
  rationale text COLLATE "C" NOT NULL,
  description text COLLATE "C" NOT NULL,
  config_yaml text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  organization_id text COLLATE "C",
  team_id text COLLATE "C",
  visibility text COLLATE "C" NOT NULL CHECK (visibility IN ('private', 'org_public', 'public')),
  committed_at bigint,
  concluded_at bigint,
  retracted_at bigint,
  retracted_by text COLLATE "C",
  retraction_reason text COLLATE "C",
  retraction_document_id text COLLATE "C",
  -- The takeaways_report that concluded it.
  takeaways_id text COLLATE "C",
  variations bigint NOT NULL DEFAULT 0,
  request_digest text COLLATE "C" NOT NULL,
  revision bigint NOT NULL DEFAULT 0
);
CREATE INDEX experiments_by_time ON asgard.experiments (created_at, id);
CREATE TABLE asgard.experiment_parents (
  experiment_id text COLLATE "C" NOT NULL REFERENCES asgard.experiments (id),
  parent_id text COLLATE "C" NOT NULL REFERENCES asgard.experiments (id),
  tentative bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (experiment_id, parent_id)
);
CREATE INDEX experiment_parents_by_parent ON asgard.experiment_parents (parent_id);
CREATE TABLE asgard.findings (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  experiment_id text COLLATE "C" NOT NULL REFERENCES asgard.experiments (id),
  status text COLLATE "C" NOT NULL CHECK (status IN ('working', 'partial', 'not_working')),
  summary text COLLATE "C" NOT NULL,
  variation bigint,
  source_asset_id text COLLATE "C",
  created_by text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL
);
CREATE INDEX findings_by_experiment ON asgard.findings (experiment_id, created_at, id);
CREATE TABLE asgard.variations (
  experiment_id text COLLATE "C" NOT NULL REFERENCES asgard.experiments (id),
  number bigint NOT NULL,
  state text COLLATE "C" NOT NULL CHECK (state IN ('open', 'committed')),
  name text COLLATE "C" NOT NULL,
  description text COLLATE "C" NOT NULL,
  hypothesis text COLLATE "C" NOT NULL,
  git_ref text COLLATE "C" NOT NULL,
  config_yaml text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  committed_at bigint,
  retracted_at bigint,
  retracted_by text COLLATE "C",
  retraction_reason text COLLATE "C",
  runs bigint NOT NULL DEFAULT 0,
  request_digest text COLLATE "C" NOT NULL DEFAULT '',
  PRIMARY KEY (experiment_id, number)
);
-- A run of a variation is a run of RunService, whose id is run_id. fence rises with every start: what
-- comes with an older one is late.
CREATE TABLE asgard.variation_runs (
  experiment_id text COLLATE "C" NOT NULL,
  variation bigint NOT NULL,
  number bigint NOT NULL,
  run_id text COLLATE "C" NOT NULL UNIQUE,
  status text COLLATE "C" NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed_crash',
    'failed_abandoned', 'failed_lost')),
  fence bigint NOT NULL DEFAULT 0,
  worker text COLLATE "C",
  lease_token text COLLATE "C",
  lease_until bigint,
  heartbeat_at bigint,
  lease_seconds bigint NOT NULL DEFAULT 300,
  created_at bigint NOT NULL,
  started_at bigint,
  finished_at bigint,
  reason text COLLATE "C",
  wandb_json text COLLATE "C",
  PRIMARY KEY (experiment_id, variation, number),
  FOREIGN KEY (experiment_id, variation) REFERENCES asgard.variations (experiment_id, number)
);
CREATE INDEX variation_runs_leased ON asgard.variation_runs (lease_until) WHERE status = 'running';

-- Links ---------------------------------------------------------------------------------------------
-- variation -1: of the experiment itself.
CREATE TABLE asgard.asset_links (
  asset_id text COLLATE "C" NOT NULL REFERENCES asgard.assets (id),
  direction text COLLATE "C" NOT NULL CHECK (direction IN ('input', 'output')),
  experiment_id text COLLATE "C" NOT NULL REFERENCES asgard.experiments (id),
  variation bigint NOT NULL DEFAULT -1,
  run bigint,
  allow_invalid bigint NOT NULL DEFAULT 0,
  propagate_acl bigint NOT NULL DEFAULT 0,
  linked_by text COLLATE "C" NOT NULL,
  linked_at bigint NOT NULL,
  PRIMARY KEY (asset_id, direction, experiment_id, variation)
);
CREATE INDEX asset_links_by_experiment ON asgard.asset_links (experiment_id, variation, direction, asset_id);

-- What is to be told, and to whom -------------------------------------------------------------------
-- What must be done in other services: delivered once at least, in the order of a key's numbers.
CREATE TABLE asgard.outbox (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  body text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  due_at bigint NOT NULL,
  attempts bigint NOT NULL DEFAULT 0,
  problem text COLLATE "C"
);
CREATE INDEX outbox_due ON asgard.outbox (due_at, number);
CREATE INDEX outbox_by_key ON asgard.outbox (key, number);
-- Who did what when to which. Nothing is ever changed or removed here.
CREATE TABLE asgard.audit (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at bigint NOT NULL,
  principal text COLLATE "C" NOT NULL,
  principal_kind text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  object_kind text COLLATE "C" NOT NULL,
  object_id text COLLATE "C" NOT NULL,
  organization_id text COLLATE "C",
  details_json text COLLATE "C" NOT NULL,
  request_id text COLLATE "C" NOT NULL
);
CREATE INDEX audit_by_object ON asgard.audit (object_kind, object_id, number);
CREATE INDEX audit_by_organization ON asgard.audit (organization_id, number);
CREATE INDEX audit_by_principal ON asgard.audit (principal, number);
-- Readers are JSON lists of principals, as they were before and are after the change.
CREATE TABLE asgard.asset_log (
  revision bigint PRIMARY KEY,
  object_kind text COLLATE "C" NOT NULL,
  object_id text COLLATE "C" NOT NULL,
  readers_before text COLLATE "C" NOT NULL,
  readers_after text COLLATE "C" NOT NULL
);
CREATE TABLE asgard.asset_log_head (
  one bigint PRIMARY KEY CHECK (one = 1),
  epoch text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  trimmed bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO asgard.asset_log_head VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0, 0);
-- Ids that were deleted, for as long as a late repeat may ask for them again.
CREATE TABLE asgard.deleted_ids (
  object_kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  deleted_at bigint NOT NULL,
  PRIMARY KEY (object_kind, id)
);
