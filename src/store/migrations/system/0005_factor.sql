-- Second factors of people, whichever source they come from. They are read person by person, never all together.
CREATE TABLE factor (
    id            TEXT PRIMARY KEY,
    person        TEXT NOT NULL,
    name          TEXT NOT NULL,
    -- For passkeys that sign in by themselves.
    credential_id TEXT UNIQUE,
    kind          BLOB NOT NULL,
    created       INTEGER NOT NULL,
    used          INTEGER
) STRICT;
CREATE INDEX factor_person ON factor (person);

-- Since when somebody may put their first factor off.
CREATE TABLE factor_grace (
    person TEXT PRIMARY KEY,
    since  INTEGER NOT NULL
) STRICT;

ALTER TABLE identity_provider ADD COLUMN second_factor TEXT NOT NULL DEFAULT '{}';
