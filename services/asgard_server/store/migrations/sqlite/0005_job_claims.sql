-- How often a job has been claimed: a job that no worker survives is to end.
ALTER TABLE jobs ADD COLUMN claims INTEGER NOT NULL DEFAULT 0;
