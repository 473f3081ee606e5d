-- Who may read a run, so that lists, counts and watches tell each caller of what is theirs. A run
-- without an owner is everybody's, and costs a row nothing more.
-- needs: 1

-- Keys of principals; NULL where that is whoever is identified.
ALTER TABLE asgard.runs ADD COLUMN readers text[] COLLATE "C";

-- The runs of each who may read some.
CREATE TABLE asgard.run_readers (
  principal text COLLATE "C" NOT NULL,
  sorted_at bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  PRIMARY KEY (principal, sorted_at, id)
);

-- Who could read a run before a change and behind it, as JSON lists; NULL where that is everybody.
ALTER TABLE asgard.run_log ADD COLUMN readers_before text COLLATE "C";
ALTER TABLE asgard.run_log ADD COLUMN readers_after text COLLATE "C";

-- Those of documents that are there. What the release before writes has no readers: it is nobody's
-- to list while its document says the word, and is told of when it is next observed.
CREATE FUNCTION asgard.told_readers(document bytea) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  told json;
  found text[];
BEGIN
  told := convert_from(document, 'UTF8')::json;
  IF coalesce(told->>'owner', '') = '' THEN
    -- The word stands elsewhere in it.
    RETURN ARRAY['everyone'];
  END IF;
  found := ARRAY[told->>'owner'];
  IF told->>'visibility' = 'public' THEN
    found := found || 'everyone'::text;
  ELSIF told->>'visibility' = 'org_public' AND coalesce(told->>'organization_id', '') <> '' THEN
    found := found || (told->>'organization_id');
  END IF;
  RETURN found;
EXCEPTION WHEN others THEN
  RETURN ARRAY[]::text[];
END
$$;
UPDATE asgard.runs SET readers = asgard.told_readers(document)
 WHERE position('"owner"'::bytea IN document) > 0;
INSERT INTO asgard.run_readers
SELECT DISTINCT principal, sorted_at, id FROM asgard.runs, unnest(readers) AS principal;
DROP FUNCTION asgard.told_readers(bytea);

CREATE INDEX runs_of_everybody ON asgard.runs (sorted_at, id)
 WHERE readers IS NULL AND position('"owner"'::bytea IN document) = 0;
