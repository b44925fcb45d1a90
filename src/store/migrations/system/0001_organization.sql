-- The system of record. Every row's secret columns are sealed by the key ring before they arrive here.

CREATE TABLE revision (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    number   INTEGER NOT NULL
) STRICT;
INSERT INTO revision VALUES (1, 0);

CREATE TABLE ring_key (
    id      INTEGER PRIMARY KEY,
    sealed  BLOB    NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE signing_key (
    name        TEXT PRIMARY KEY,
    sealed      BLOB NOT NULL,
    certificate BLOB NOT NULL
) STRICT;

CREATE TABLE organization (
    only_row           INTEGER PRIMARY KEY CHECK (only_row = 1),
    id                 TEXT NOT NULL,
    name               TEXT NOT NULL,
    management_account TEXT NOT NULL
) STRICT;

CREATE TABLE account (
    id    TEXT PRIMARY KEY,
    name  TEXT NOT NULL,
    email TEXT NOT NULL
) STRICT;

CREATE TABLE role (
    id                  TEXT PRIMARY KEY,
    account             TEXT    NOT NULL REFERENCES account (id),
    name                TEXT    NOT NULL COLLATE NOCASE,
    path                TEXT    NOT NULL,
    description         TEXT    NOT NULL,
    trust_policy        TEXT    NOT NULL,
    max_session_seconds INTEGER NOT NULL,
    created             INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT;

CREATE TABLE role_inline_policy (
    role_id  TEXT NOT NULL REFERENCES role (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (role_id, name)
) STRICT;

CREATE TABLE role_attached_policy (
    role_id    TEXT NOT NULL REFERENCES role (id) ON DELETE CASCADE,
    policy_arn TEXT NOT NULL,
    PRIMARY KEY (role_id, policy_arn)
) STRICT;

CREATE TABLE managed_policy (
    id          TEXT PRIMARY KEY,
    account     TEXT    NOT NULL REFERENCES account (id),
    name        TEXT    NOT NULL COLLATE NOCASE,
    description TEXT    NOT NULL,
    document    TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT;

-- owner is an account id, or empty for the organization (an identity source).
CREATE TABLE identity_provider (
    owner    TEXT NOT NULL,
    name     TEXT NOT NULL,
    label    TEXT NOT NULL,
    domains  TEXT NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('saml', 'oidc', 'directory')),
    settings TEXT NOT NULL,
    secret   BLOB,
    PRIMARY KEY (owner, name)
) STRICT;

CREATE TABLE directory_user (
    id            TEXT PRIMARY KEY,
    name          TEXT    NOT NULL COLLATE NOCASE UNIQUE,
    email         TEXT    NOT NULL,
    display_name  TEXT    NOT NULL,
    password_hash TEXT,
    disabled      INTEGER NOT NULL
) STRICT;

CREATE TABLE directory_group (
    name TEXT PRIMARY KEY
) STRICT;

CREATE TABLE directory_membership (
    user_id    TEXT NOT NULL REFERENCES directory_user (id) ON DELETE CASCADE,
    group_name TEXT NOT NULL REFERENCES directory_group (name) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_name)
) STRICT;

CREATE TABLE audit (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id      TEXT    NOT NULL,
    time          INTEGER NOT NULL,
    event_source  TEXT    NOT NULL,
    event_name    TEXT    NOT NULL,
    account       TEXT    NOT NULL,
    principal     TEXT    NOT NULL,
    source_ip     TEXT    NOT NULL,
    user_agent    TEXT    NOT NULL,
    request_id    TEXT    NOT NULL,
    error_code    TEXT,
    error_message TEXT,
    detail        TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_event ON audit (event_name, sequence);
