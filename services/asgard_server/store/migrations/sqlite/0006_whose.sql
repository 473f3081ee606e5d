-- Whose a blob is, and what is known of tokens' users and of words that nobody will ever take.

-- Who asked for the upload; '' for the services, the local user, and what is from before. Names are
-- each maker's own. `lent_to`: those who may bring its parts beside the maker, each as the
-- beginning of a line and a JSON string.
ALTER TABLE blobs ADD COLUMN maker TEXT NOT NULL DEFAULT '';
ALTER TABLE blobs ADD COLUMN lent_to TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX blobs_by_maker ON blobs (maker, name) WHERE state IN ('uploading', 'ready');
DROP INDEX blobs_by_name;

-- What was refused for good is set aside then, and kept with its problem.
ALTER TABLE outbox ADD COLUMN aside_at INTEGER;
CREATE INDEX outbox_aside ON outbox (number) WHERE aside_at IS NOT NULL;

-- When the newest token was issued that the row and its memberships follow, in microseconds.
ALTER TABLE users ADD COLUMN token_at INTEGER;
