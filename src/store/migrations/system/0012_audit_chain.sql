-- The chain of audit records: each one's hash holds the hash of the one before it; the newest is signed now and then.
ALTER TABLE audit ADD COLUMN hash BLOB;

-- The newest record, and the position before the oldest one that is kept. The first row is made with the hashes of records that
-- are there already.
CREATE TABLE audit_head (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    first    INTEGER NOT NULL
) STRICT;

CREATE TABLE audit_seal (
    sequence INTEGER PRIMARY KEY,
    time     INTEGER NOT NULL,
    jws      TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_time ON audit (time);

-- When the organization was last changed, in milliseconds: other nodes measure how late they are.
ALTER TABLE revision ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
-- Set once the organization was moved to another database: nothing is decided here any more.
ALTER TABLE revision ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;
