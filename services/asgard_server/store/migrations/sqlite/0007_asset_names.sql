-- Assets of one name, newest first: a list of a name does not look at what has another.
CREATE INDEX assets_by_name ON assets (name, created_at, id) WHERE name IS NOT NULL;
