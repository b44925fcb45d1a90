-- When roles were last taken (IAM API reference, RoleLastUsed).
CREATE TABLE role_last_used (
    role_id TEXT PRIMARY KEY,
    time    INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_account ON audit (account, sequence);
CREATE INDEX audit_id ON audit (event_id);
