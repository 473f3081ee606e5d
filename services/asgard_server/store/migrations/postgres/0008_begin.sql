-- Begun writes and marked deletions of the ledger exclude each other by a lock, so that a write is
-- begun and its run looked up among deletions by one statement. Before, the look came behind the
-- commit, with a round trip of its own; releases that still do so are right, too.
-- needs: 1

-- A mark is committed under the lock that begun writes share. So either the writes are committed
-- before the mark is made, and whoever has made it finds them; or they are begun behind its commit.
CREATE FUNCTION asgard.exclude_begun_writes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(x'4173676172640003'::bigint);
  RETURN NULL;
END
$$;
CREATE TRIGGER exclude_begun_writes BEFORE INSERT ON asgard.deletions
  FOR EACH STATEMENT EXECUTE FUNCTION asgard.exclude_begun_writes();

-- Writes down writes, or that they go on; answers which of their documents and runs are being
-- deleted, or were of late. Each statement of a volatile function looks at what is committed when it
-- begins, not when its caller began: the last one sees each mark that was made before the lock.
CREATE FUNCTION asgard.begin_writes(
  for_replica text, tokens uuid[], kinds text[], ids text[], run_ids text[], file_names text[],
  are_listed boolean[]
) RETURNS TABLE (gone_kind text, gone_id text) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(x'4173676172640003'::bigint);
  -- A write that is begun again goes on; one that somebody else has ended begins anew.
  INSERT INTO asgard.writes (token, kind, id, run_id, replica, at, files, lists)
  SELECT w.token, w.kind, w.id, w.run_id, for_replica, clock_timestamp(),
    string_to_array(w.files, '/'), w.lists
    FROM unnest(tokens, kinds, ids, run_ids, file_names, are_listed)
      AS w (token, kind, id, run_id, files, lists)
  ON CONFLICT (token) DO UPDATE SET at = excluded.at, files = excluded.files;
  RETURN QUERY SELECT d.kind, d.id FROM asgard.deletions d
   WHERE d.kind = 'run' AND d.id = ANY (run_ids) OR d.kind = 'result' AND d.id = ANY (ids);
END
$$;
