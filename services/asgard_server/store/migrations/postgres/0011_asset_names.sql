-- Assets of one name, newest first: a list of a name does not look at what has another. Releases
-- before do without it. Assets wait to be written while it is made.
-- needs: 1
CREATE INDEX assets_by_name ON asgard.assets (name, created_at, id) WHERE name IS NOT NULL;
