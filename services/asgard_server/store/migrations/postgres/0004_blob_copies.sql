-- Copies of bytes that are about to be made: whatever becomes of them is known from here. Whether
-- one of them is the blob says the blob's own row.
-- needs: 1

CREATE TABLE asgard.blob_copies (
  blob_id text COLLATE "C" NOT NULL,
  attempt text COLLATE "C" NOT NULL,
  begun_at bigint NOT NULL,
  PRIMARY KEY (blob_id, attempt)
);
CREATE INDEX blob_copies_by_time ON asgard.blob_copies (begun_at);
