-- What replicas have begun where nothing can be committed together with a row, an object store:
-- whoever dies, the others finish it.
-- needs: 1

-- A document that is being written. It ends when the document is observed; a new result, which
-- is not named by its run's document then, ends when it is.
CREATE TABLE asgard.writes (
  token uuid PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  replica text NOT NULL,
  at timestamptz NOT NULL,
  files text[] NOT NULL,
  lists boolean NOT NULL,
  observed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX writes_by_run ON asgard.writes (run_id);

-- A delete: everything that goes, by name. It stays for a while when it is done, for a replica
-- that has not heard of it.
CREATE TABLE asgard.deletions (
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  results text[] NOT NULL,
  files text[] NOT NULL,
  at timestamptz NOT NULL,
  done boolean NOT NULL DEFAULT false,
  PRIMARY KEY (kind, id)
);
