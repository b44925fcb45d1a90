-- The tree of accounts, guardrails, and permission sets with their assignments.

-- parent: the id of another unit; empty for the root.
ALTER TABLE account ADD COLUMN parent TEXT NOT NULL DEFAULT '';

CREATE TABLE organizational_unit (
    id     TEXT PRIMARY KEY,
    name   TEXT NOT NULL,
    parent TEXT NOT NULL
) STRICT;

CREATE TABLE organization_policy (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('service_control', 'resource_control')),
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    document    TEXT NOT NULL,
    UNIQUE (kind, name)
) STRICT;

-- target: the root, a unit or an account. detached: of the policy that allows everything, which is on each target otherwise.
CREATE TABLE organization_policy_target (
    policy   TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    detached INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (policy, target)
) STRICT;

CREATE TABLE permission_set (
    id               TEXT PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    description      TEXT    NOT NULL,
    session_seconds  INTEGER NOT NULL,
    inline_policy    TEXT,
    managed_policies TEXT    NOT NULL,
    created          INTEGER NOT NULL
) STRICT;

CREATE TABLE account_assignment (
    permission_set TEXT NOT NULL REFERENCES permission_set (id) ON DELETE CASCADE,
    principal      TEXT NOT NULL,
    target         TEXT NOT NULL,
    PRIMARY KEY (permission_set, principal, target)
) STRICT;
