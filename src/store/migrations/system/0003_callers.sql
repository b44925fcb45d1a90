-- Long-term and machine callers: IAM users, access keys, MFA devices, instance profiles, certificates. Secrets are sealed by
-- the key ring.
CREATE TABLE iam_user (
    id      TEXT PRIMARY KEY,
    account TEXT    NOT NULL REFERENCES account (id),
    name    TEXT    NOT NULL COLLATE NOCASE,
    path    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT;

CREATE TABLE iam_user_inline_policy (
    user_id  TEXT NOT NULL REFERENCES iam_user (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (user_id, name)
) STRICT;

CREATE TABLE iam_user_attached_policy (
    user_id    TEXT NOT NULL REFERENCES iam_user (id) ON DELETE CASCADE,
    policy_arn TEXT NOT NULL,
    PRIMARY KEY (user_id, policy_arn)
) STRICT;

-- user_id is empty for the account's root user.
CREATE TABLE access_key (
    id      TEXT PRIMARY KEY,
    account TEXT    NOT NULL REFERENCES account (id),
    user_id TEXT    REFERENCES iam_user (id) ON DELETE CASCADE,
    secret  BLOB    NOT NULL,
    active  INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;

-- Written now and then, not with each call; no revision of the organization.
CREATE TABLE access_key_use (
    id      TEXT PRIMARY KEY REFERENCES access_key (id) ON DELETE CASCADE,
    time    INTEGER NOT NULL,
    service TEXT    NOT NULL,
    region  TEXT    NOT NULL
) STRICT;

CREATE TABLE mfa_device (
    account TEXT NOT NULL REFERENCES account (id),
    name    TEXT NOT NULL,
    seed    BLOB NOT NULL,
    user_id TEXT REFERENCES iam_user (id) ON DELETE SET NULL,
    enabled INTEGER,
    PRIMARY KEY (account, name)
) STRICT;

-- Accounts whose principals may ask for web identity tokens of this broker.
CREATE TABLE outbound_federation (
    account TEXT PRIMARY KEY REFERENCES account (id)
) STRICT;

CREATE TABLE instance_profile (
    id      TEXT PRIMARY KEY,
    account TEXT    NOT NULL REFERENCES account (id),
    name    TEXT    NOT NULL COLLATE NOCASE,
    path    TEXT    NOT NULL,
    role_id TEXT    REFERENCES role (id) ON DELETE SET NULL,
    created INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT;

-- IAM Roles Anywhere.
CREATE TABLE trust_anchor (
    id           TEXT PRIMARY KEY,
    account      TEXT    NOT NULL REFERENCES account (id),
    name         TEXT    NOT NULL,
    certificates TEXT    NOT NULL,
    enabled      INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL
) STRICT;

CREATE TABLE anywhere_profile (
    id       TEXT PRIMARY KEY,
    account  TEXT    NOT NULL REFERENCES account (id),
    name     TEXT    NOT NULL,
    settings TEXT    NOT NULL,
    enabled  INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL
) STRICT;

CREATE TABLE revocation_list (
    id           TEXT PRIMARY KEY,
    account      TEXT    NOT NULL REFERENCES account (id),
    name         TEXT    NOT NULL,
    trust_anchor TEXT    NOT NULL,
    list         BLOB    NOT NULL,
    enabled      INTEGER NOT NULL,
    created      INTEGER NOT NULL
) STRICT;

CREATE INDEX audit_event_time ON audit (event_name, time);
