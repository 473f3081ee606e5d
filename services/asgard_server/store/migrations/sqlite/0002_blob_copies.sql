-- Copies of bytes that are about to be made: whatever becomes of them is known from here. Whether
-- one of them is the blob says the blob's own row.
CREATE TABLE blob_copies (
  blob_id TEXT NOT NULL,
  attempt TEXT NOT NULL,
  begun_at INTEGER NOT NULL,
  PRIMARY KEY (blob_id, attempt)
) WITHOUT ROWID;
CREATE INDEX blob_copies_by_time ON blob_copies (begun_at);
