-- What may be forgotten after its time: browser sessions, sign-in steps, one-time marks, codes. Values are sealed.
CREATE TABLE ephemeral (
    key     TEXT PRIMARY KEY,
    value   BLOB    NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX ephemeral_expires ON ephemeral (expires);
