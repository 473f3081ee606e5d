-- How often a job has been claimed: a job that no worker survives is to end.
-- needs: 1

ALTER TABLE asgard.jobs ADD COLUMN claims integer NOT NULL DEFAULT 0;
