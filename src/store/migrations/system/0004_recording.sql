-- The flight recorder: the checks of sign-ins and of presented assertions, with the claims. Kept for some days, apart from the
-- audit log, which is kept.
CREATE TABLE recording (
    event_id      TEXT PRIMARY KEY,
    time          INTEGER NOT NULL,
    event_name    TEXT NOT NULL,
    source        TEXT NOT NULL,
    reference     TEXT NOT NULL,
    person        TEXT NOT NULL,
    error_code    TEXT,
    error_message TEXT,
    checks        TEXT NOT NULL,
    identity      TEXT,
    test          INTEGER NOT NULL
) STRICT;
CREATE INDEX recording_time ON recording (time);
CREATE INDEX recording_reference ON recording (reference);
