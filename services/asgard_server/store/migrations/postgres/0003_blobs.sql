-- What is known of bytes. Times are whole microseconds since 1970, UTC; digests hexadecimal.
-- needs: 1

CREATE TABLE asgard.blobs (
  id text COLLATE "C" PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL CHECK (state IN ('uploading', 'ready', 'abandoned', 'deleted')),
  way text COLLATE "C" NOT NULL CHECK (way IN ('checked', 'parts', 'plain')),
  attempt text COLLATE "C" NOT NULL,
  content_type text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  grants_until bigint NOT NULL,
  size_bytes bigint,
  sha256 text,
  sha256_verified boolean NOT NULL DEFAULT false,
  sha256_parts text,
  part_size_bytes bigint,
  upload_id text,
  ready_at bigint
) WITH (fillfactor = 80);
-- Of the blobs that can still be had no two share a name.
CREATE UNIQUE INDEX blobs_by_name ON asgard.blobs (name) WHERE state IN ('uploading', 'ready');
CREATE INDEX blobs_going ON asgard.blobs (expires_at) WHERE state = 'uploading';
CREATE INDEX blobs_ended ON asgard.blobs (grants_until) WHERE state IN ('abandoned', 'deleted');

CREATE TABLE asgard.blob_owners (
  owner text COLLATE "C" NOT NULL,
  blob_id text COLLATE "C" NOT NULL REFERENCES asgard.blobs (id) ON DELETE CASCADE,
  PRIMARY KEY (owner, blob_id)
);
CREATE INDEX blob_owners_by_blob ON asgard.blob_owners (blob_id);
