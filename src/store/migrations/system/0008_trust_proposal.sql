-- Changes of trust policies that wait for a second person.
CREATE TABLE trust_proposal (
    id             TEXT PRIMARY KEY,
    role_id        TEXT NOT NULL REFERENCES role (id) ON DELETE CASCADE,
    document       TEXT NOT NULL,
    base           TEXT NOT NULL,
    reason         TEXT NOT NULL,
    proposer       TEXT NOT NULL,
    directory_user TEXT,
    created        INTEGER NOT NULL
) STRICT;
