-- What is known of bytes. Times are whole microseconds since 1970, UTC; digests hexadecimal.
CREATE TABLE blobs (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('uploading', 'ready', 'abandoned', 'deleted')),
  way TEXT NOT NULL CHECK (way IN ('checked', 'parts', 'plain')),
  attempt TEXT NOT NULL,
  content_type TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  grants_until INTEGER NOT NULL,
  size_bytes INTEGER,
  sha256 TEXT,
  sha256_verified INTEGER NOT NULL DEFAULT 0,
  sha256_parts TEXT,
  part_size_bytes INTEGER,
  upload_id TEXT,
  ready_at INTEGER
) WITHOUT ROWID;
-- Of the blobs that can still be had no two share a name.
CREATE UNIQUE INDEX blobs_by_name ON blobs (name) WHERE state IN ('uploading', 'ready');
CREATE INDEX blobs_going ON blobs (expires_at) WHERE state = 'uploading';
CREATE INDEX blobs_ended ON blobs (grants_until) WHERE state IN ('abandoned', 'deleted');

CREATE TABLE blob_owners (
  owner TEXT NOT NULL,
  blob_id TEXT NOT NULL REFERENCES blobs (id),
  PRIMARY KEY (owner, blob_id)
) WITHOUT ROWID;
CREATE INDEX blob_owners_by_blob ON blob_owners (blob_id);
