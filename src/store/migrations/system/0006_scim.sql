-- People and groups that a SCIM client keeps (RFC 7643), and the tokens it comes with.

-- Names and addresses are compared by these: lower case, letters beyond ASCII included.
ALTER TABLE directory_user ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
ALTER TABLE directory_user ADD COLUMN email_key TEXT NOT NULL DEFAULT '';
ALTER TABLE directory_user ADD COLUMN external_id TEXT;
ALTER TABLE directory_user ADD COLUMN profile TEXT NOT NULL DEFAULT '{}';
ALTER TABLE directory_user ADD COLUMN provisioned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE directory_user ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
ALTER TABLE directory_user ADD COLUMN modified INTEGER NOT NULL DEFAULT 0;
ALTER TABLE directory_user ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
UPDATE directory_user SET name_key = lower(name), email_key = lower(email), created = 1000 * unixepoch(), modified = 1000 * unixepoch();
CREATE UNIQUE INDEX directory_user_name ON directory_user (name_key);
CREATE INDEX directory_user_email ON directory_user (email_key);
CREATE INDEX directory_user_external ON directory_user (external_id);

-- Groups have an id, which stays when they are renamed.
CREATE TABLE directory_group_with_id (
    id          TEXT PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    name_key    TEXT    NOT NULL,
    external_id TEXT,
    provisioned INTEGER NOT NULL DEFAULT 0,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    version     INTEGER NOT NULL DEFAULT 1
) STRICT;
INSERT INTO directory_group_with_id (id, name, name_key, created, modified)
    SELECT 'g-' || lower(hex(randomblob(9))), name, lower(name), 1000 * unixepoch(), 1000 * unixepoch() FROM directory_group;
CREATE TABLE directory_member (
    user_id  TEXT NOT NULL REFERENCES directory_user (id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES directory_group_with_id (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
) STRICT;
INSERT INTO directory_member
    SELECT user_id, id FROM directory_membership JOIN directory_group_with_id ON name = group_name;
DROP TABLE directory_membership;
DROP TABLE directory_group;
ALTER TABLE directory_group_with_id RENAME TO directory_group;
CREATE INDEX directory_group_name ON directory_group (name_key);
CREATE INDEX directory_group_external ON directory_group (external_id);
CREATE INDEX directory_member_group ON directory_member (group_id);

-- What SCIM clients present. Only a hash of it is kept.
CREATE TABLE bearer_token (
    id       TEXT PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    hash     TEXT    NOT NULL,
    scope    TEXT    NOT NULL,
    takeover INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL
) STRICT;

-- Sources whose people are in the directory: what names them there.
ALTER TABLE identity_provider ADD COLUMN directory_user TEXT;

-- Revocations are followed by number, as there may be many.
ALTER TABLE revision ADD COLUMN revocations INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revocation ADD COLUMN sequence INTEGER NOT NULL DEFAULT 1;
UPDATE revision SET revocations = 1;
CREATE INDEX revocation_sequence ON revocation (sequence);
CREATE INDEX revocation_before ON revocation (before);
