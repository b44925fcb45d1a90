-- The same tables as those of the embedded store, in one step; `the_schemas_are_one` compares them. What they mean is said there.
-- Text is ordered by its bytes, whatever the server's locale, so that an upgrade of the C library breaks no index.

-- What SQLite calls so.
CREATE FUNCTION instr(text, text) RETURNS BIGINT LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
    RETURN CAST(strpos($1, $2) AS BIGINT);

CREATE TABLE revision (
    only_row    BIGINT PRIMARY KEY CHECK (only_row = 1),
    number      BIGINT NOT NULL,
    revocations BIGINT NOT NULL DEFAULT 0,
    changed     BIGINT NOT NULL DEFAULT 0,
    closed      BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE ring_key (
    id      BIGINT PRIMARY KEY,
    sealed  BYTEA  NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE signing_key (
    name        TEXT COLLATE "C" PRIMARY KEY,
    sealed      BYTEA            NOT NULL,
    certificate BYTEA            NOT NULL,
    purpose     TEXT COLLATE "C" NOT NULL DEFAULT '',
    created     BIGINT           NOT NULL DEFAULT 0
);

CREATE TABLE organization (
    only_row           BIGINT           PRIMARY KEY CHECK (only_row = 1),
    id                 TEXT COLLATE "C" NOT NULL,
    name               TEXT COLLATE "C" NOT NULL,
    management_account TEXT COLLATE "C" NOT NULL
);

CREATE TABLE account (
    id     TEXT COLLATE "C" PRIMARY KEY,
    name   TEXT COLLATE "C" NOT NULL,
    email  TEXT COLLATE "C" NOT NULL,
    color  TEXT COLLATE "C" NOT NULL DEFAULT '',
    tags   TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    parent TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE role (
    id                  TEXT COLLATE "C" PRIMARY KEY,
    account             TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name                TEXT COLLATE "C" NOT NULL,
    path                TEXT COLLATE "C" NOT NULL,
    description         TEXT COLLATE "C" NOT NULL,
    trust_policy        TEXT COLLATE "C" NOT NULL,
    max_session_seconds BIGINT           NOT NULL,
    created             BIGINT           NOT NULL
);
CREATE UNIQUE INDEX role_name ON role (account, lower(name));

CREATE TABLE role_inline_policy (
    role_id  TEXT COLLATE "C" NOT NULL REFERENCES role (id) ON DELETE CASCADE,
    name     TEXT COLLATE "C" NOT NULL,
    document TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (role_id, name)
);

CREATE TABLE role_attached_policy (
    role_id    TEXT COLLATE "C" NOT NULL REFERENCES role (id) ON DELETE CASCADE,
    policy_arn TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (role_id, policy_arn)
);

CREATE TABLE managed_policy (
    id          TEXT COLLATE "C" PRIMARY KEY,
    account     TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    document    TEXT COLLATE "C" NOT NULL,
    created     BIGINT           NOT NULL
);
CREATE UNIQUE INDEX managed_policy_name ON managed_policy (account, lower(name));

CREATE TABLE identity_provider (
    owner          TEXT COLLATE "C" NOT NULL,
    name           TEXT COLLATE "C" NOT NULL,
    label          TEXT COLLATE "C" NOT NULL,
    domains        TEXT COLLATE "C" NOT NULL,
    kind           TEXT COLLATE "C" NOT NULL CHECK (kind IN ('saml', 'oidc', 'directory')),
    settings       TEXT COLLATE "C" NOT NULL,
    secret         BYTEA,
    second_factor  TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    directory_user TEXT COLLATE "C",
    PRIMARY KEY (owner, name)
);

CREATE TABLE directory_user (
    id            TEXT COLLATE "C" PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL,
    email         TEXT COLLATE "C" NOT NULL,
    display_name  TEXT             NOT NULL,
    password_hash TEXT COLLATE "C",
    disabled      BIGINT           NOT NULL,
    name_key      TEXT COLLATE "C" NOT NULL DEFAULT '',
    email_key     TEXT COLLATE "C" NOT NULL DEFAULT '',
    external_id   TEXT COLLATE "C",
    profile       TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    provisioned   BIGINT           NOT NULL DEFAULT 0,
    created       BIGINT           NOT NULL DEFAULT 0,
    modified      BIGINT           NOT NULL DEFAULT 0,
    version       BIGINT           NOT NULL DEFAULT 1
);

CREATE TABLE audit (
    sequence      BIGINT           PRIMARY KEY,
    event_id      TEXT COLLATE "C" NOT NULL,
    time          BIGINT           NOT NULL,
    event_source  TEXT COLLATE "C" NOT NULL,
    event_name    TEXT COLLATE "C" NOT NULL,
    account       TEXT COLLATE "C" NOT NULL,
    principal     TEXT COLLATE "C" NOT NULL,
    source_ip     TEXT COLLATE "C" NOT NULL,
    user_agent    TEXT COLLATE "C" NOT NULL,
    request_id    TEXT COLLATE "C" NOT NULL,
    error_code    TEXT COLLATE "C",
    error_message TEXT COLLATE "C",
    detail        TEXT COLLATE "C" NOT NULL,
    hash          BYTEA
);

CREATE TABLE revocation (
    scope    TEXT COLLATE "C" NOT NULL,
    value    TEXT COLLATE "C" NOT NULL,
    before   BIGINT           NOT NULL,
    sequence BIGINT           NOT NULL DEFAULT 1,
    PRIMARY KEY (scope, value)
);

CREATE TABLE iam_user (
    id      TEXT COLLATE "C" PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name    TEXT COLLATE "C" NOT NULL,
    path    TEXT COLLATE "C" NOT NULL,
    created BIGINT           NOT NULL
);
CREATE UNIQUE INDEX iam_user_name ON iam_user (account, lower(name));

CREATE TABLE iam_user_inline_policy (
    user_id  TEXT COLLATE "C" NOT NULL REFERENCES iam_user (id) ON DELETE CASCADE,
    name     TEXT COLLATE "C" NOT NULL,
    document TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, name)
);

CREATE TABLE iam_user_attached_policy (
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES iam_user (id) ON DELETE CASCADE,
    policy_arn TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, policy_arn)
);

CREATE TABLE access_key (
    id      TEXT COLLATE "C" PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    user_id TEXT COLLATE "C" REFERENCES iam_user (id) ON DELETE CASCADE,
    secret  BYTEA            NOT NULL,
    active  BIGINT           NOT NULL,
    created BIGINT           NOT NULL
);

CREATE TABLE access_key_use (
    id      TEXT COLLATE "C" PRIMARY KEY REFERENCES access_key (id) ON DELETE CASCADE,
    time    BIGINT           NOT NULL,
    service TEXT COLLATE "C" NOT NULL,
    region  TEXT COLLATE "C" NOT NULL
);

CREATE TABLE mfa_device (
    account TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name    TEXT COLLATE "C" NOT NULL,
    seed    BYTEA            NOT NULL,
    user_id TEXT COLLATE "C" REFERENCES iam_user (id) ON DELETE SET NULL,
    enabled BIGINT,
    PRIMARY KEY (account, name)
);

CREATE TABLE outbound_federation (
    account TEXT COLLATE "C" PRIMARY KEY REFERENCES account (id)
);

CREATE TABLE instance_profile (
    id      TEXT COLLATE "C" PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name    TEXT COLLATE "C" NOT NULL,
    path    TEXT COLLATE "C" NOT NULL,
    role_id TEXT COLLATE "C" REFERENCES role (id) ON DELETE SET NULL,
    created BIGINT           NOT NULL
);
CREATE UNIQUE INDEX instance_profile_name ON instance_profile (account, lower(name));

CREATE TABLE trust_anchor (
    id           TEXT COLLATE "C" PRIMARY KEY,
    account      TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name         TEXT COLLATE "C" NOT NULL,
    certificates TEXT COLLATE "C" NOT NULL,
    enabled      BIGINT           NOT NULL,
    created      BIGINT           NOT NULL,
    updated      BIGINT           NOT NULL
);

CREATE TABLE anywhere_profile (
    id       TEXT COLLATE "C" PRIMARY KEY,
    account  TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name     TEXT COLLATE "C" NOT NULL,
    settings TEXT COLLATE "C" NOT NULL,
    enabled  BIGINT           NOT NULL,
    created  BIGINT           NOT NULL,
    updated  BIGINT           NOT NULL
);

CREATE TABLE revocation_list (
    id           TEXT COLLATE "C" PRIMARY KEY,
    account      TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    name         TEXT COLLATE "C" NOT NULL,
    trust_anchor TEXT COLLATE "C" NOT NULL,
    list         BYTEA            NOT NULL,
    enabled      BIGINT           NOT NULL,
    created      BIGINT           NOT NULL
);

CREATE TABLE recording (
    event_id      TEXT COLLATE "C" PRIMARY KEY,
    time          BIGINT           NOT NULL,
    event_name    TEXT COLLATE "C" NOT NULL,
    source        TEXT COLLATE "C" NOT NULL,
    reference     TEXT COLLATE "C" NOT NULL,
    person        TEXT COLLATE "C" NOT NULL,
    error_code    TEXT COLLATE "C",
    error_message TEXT COLLATE "C",
    checks        TEXT COLLATE "C" NOT NULL,
    identity      TEXT COLLATE "C",
    test          BIGINT           NOT NULL
);

CREATE TABLE factor (
    id            TEXT COLLATE "C" PRIMARY KEY,
    person        TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    credential_id TEXT COLLATE "C" UNIQUE,
    kind          BYTEA            NOT NULL,
    created       BIGINT           NOT NULL,
    used          BIGINT
);

CREATE TABLE factor_grace (
    person TEXT COLLATE "C" PRIMARY KEY,
    since  BIGINT           NOT NULL
);

CREATE TABLE directory_group (
    id          TEXT COLLATE "C" PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL UNIQUE,
    name_key    TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C",
    provisioned BIGINT           NOT NULL DEFAULT 0,
    created     BIGINT           NOT NULL,
    modified    BIGINT           NOT NULL,
    version     BIGINT           NOT NULL DEFAULT 1
);

CREATE TABLE directory_member (
    user_id  TEXT COLLATE "C" NOT NULL REFERENCES directory_user (id) ON DELETE CASCADE,
    group_id TEXT COLLATE "C" NOT NULL REFERENCES directory_group (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
);

CREATE TABLE bearer_token (
    id       TEXT COLLATE "C" PRIMARY KEY,
    name     TEXT COLLATE "C" NOT NULL UNIQUE,
    hash     TEXT COLLATE "C" NOT NULL,
    scope    TEXT COLLATE "C" NOT NULL,
    takeover BIGINT           NOT NULL,
    created  BIGINT           NOT NULL,
    expires  BIGINT           NOT NULL
);

CREATE TABLE favourite_role (
    person  TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    role    TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (person, account, role)
);

CREATE TABLE trust_proposal (
    id             TEXT COLLATE "C" PRIMARY KEY,
    role_id        TEXT COLLATE "C" NOT NULL REFERENCES role (id) ON DELETE CASCADE,
    document       TEXT COLLATE "C" NOT NULL,
    base           TEXT COLLATE "C" NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL,
    proposer       TEXT COLLATE "C" NOT NULL,
    directory_user TEXT COLLATE "C",
    created        BIGINT           NOT NULL
);

CREATE TABLE organizational_unit (
    id     TEXT COLLATE "C" PRIMARY KEY,
    name   TEXT COLLATE "C" NOT NULL,
    parent TEXT COLLATE "C" NOT NULL
);

CREATE TABLE organization_policy (
    id          TEXT COLLATE "C" PRIMARY KEY,
    kind        TEXT COLLATE "C" NOT NULL CHECK (kind IN ('service_control', 'resource_control')),
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    document    TEXT COLLATE "C" NOT NULL,
    UNIQUE (kind, name)
);

CREATE TABLE organization_policy_target (
    policy   TEXT COLLATE "C" NOT NULL,
    target   TEXT COLLATE "C" NOT NULL,
    detached BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (policy, target)
);

CREATE TABLE permission_set (
    id               TEXT COLLATE "C" PRIMARY KEY,
    name             TEXT COLLATE "C" NOT NULL UNIQUE,
    description      TEXT COLLATE "C" NOT NULL,
    session_seconds  BIGINT           NOT NULL,
    inline_policy    TEXT COLLATE "C",
    managed_policies TEXT COLLATE "C" NOT NULL,
    created          BIGINT           NOT NULL
);

CREATE TABLE account_assignment (
    permission_set TEXT COLLATE "C" NOT NULL REFERENCES permission_set (id) ON DELETE CASCADE,
    principal      TEXT COLLATE "C" NOT NULL,
    target         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (permission_set, principal, target)
);

CREATE TABLE role_last_used (
    role_id TEXT COLLATE "C" PRIMARY KEY,
    time    BIGINT           NOT NULL
);

CREATE TABLE audit_head (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    sequence BIGINT NOT NULL,
    hash     BYTEA  NOT NULL,
    first    BIGINT NOT NULL
);

CREATE TABLE audit_seal (
    sequence BIGINT           PRIMARY KEY,
    time     BIGINT           NOT NULL,
    jws      TEXT COLLATE "C" NOT NULL
);

CREATE TABLE audit_sink (
    name     TEXT COLLATE "C" PRIMARY KEY,
    sequence BIGINT           NOT NULL,
    node     TEXT COLLATE "C" NOT NULL,
    until    BIGINT           NOT NULL
);

CREATE TABLE ephemeral (
    key     TEXT COLLATE "C" PRIMARY KEY,
    value   BYTEA            NOT NULL,
    expires BIGINT           NOT NULL,
    owner   TEXT COLLATE "C"
);
CREATE INDEX audit_event ON audit (event_name, sequence);
CREATE INDEX audit_event_time ON audit (event_name, time);
CREATE INDEX recording_time ON recording (time);
CREATE INDEX recording_reference ON recording (reference);
CREATE INDEX factor_person ON factor (person);
CREATE UNIQUE INDEX directory_user_name ON directory_user (name_key);
CREATE INDEX directory_user_email ON directory_user (email_key);
CREATE INDEX directory_user_external ON directory_user (external_id);
CREATE INDEX directory_group_name ON directory_group (name_key);
CREATE INDEX directory_group_external ON directory_group (external_id);
CREATE INDEX directory_member_group ON directory_member (group_id);
CREATE INDEX revocation_sequence ON revocation (sequence);
CREATE INDEX revocation_before ON revocation (before);
CREATE INDEX audit_account ON audit (account, sequence);
CREATE INDEX audit_id ON audit (event_id);
CREATE INDEX audit_time ON audit (time);
CREATE INDEX ephemeral_expires ON ephemeral (expires);
CREATE INDEX ephemeral_owner ON ephemeral (owner) WHERE owner IS NOT NULL;

INSERT INTO revision (only_row, number) VALUES (1, 0);

-- Finds people by any part of their names in a directory of a million. Without the right to create the extension a search
-- reads every row, and finds the same.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX directory_user_text ON directory_user USING gin
        (name_key gin_trgm_ops, email_key gin_trgm_ops, lower(display_name) gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE NOTICE 'no extension pg_trgm: searches for people read every row';
END
$$;
