-- Keys that sign have generations.
ALTER TABLE signing_key ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
ALTER TABLE signing_key ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
UPDATE signing_key SET purpose = name, created = 1000 * unixepoch();
