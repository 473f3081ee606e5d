-- Whose a blob is, and what is known of tokens' users and of words that nobody will ever take.
-- needs: 1

-- Who asked for the upload; '' for the services, the local user, and what is from before. Names are
-- each maker's own. `lent_to`: those who may bring its parts beside the maker, each as the
-- beginning of a line and a JSON string.
ALTER TABLE asgard.blobs
  ADD COLUMN maker text COLLATE "C" NOT NULL DEFAULT '',
  ADD COLUMN lent_to text COLLATE "C" NOT NULL DEFAULT '';
CREATE UNIQUE INDEX blobs_by_maker ON asgard.blobs (maker, name)
  WHERE state IN ('uploading', 'ready');
-- The release before, which may still run, looks names up without a maker. For equality alone, so
-- that no list is read by it; the next release needs it no more.
DROP INDEX asgard.blobs_by_name;
CREATE INDEX blobs_by_name ON asgard.blobs USING hash (name)
  WHERE state IN ('uploading', 'ready');

-- What was refused for good is set aside then, and kept with its problem.
ALTER TABLE asgard.outbox ADD COLUMN aside_at bigint;
CREATE INDEX outbox_aside ON asgard.outbox (number) WHERE aside_at IS NOT NULL;

-- When the newest token was issued that the row and its memberships follow, in microseconds.
ALTER TABLE asgard.users ADD COLUMN token_at bigint;
