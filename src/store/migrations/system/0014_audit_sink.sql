-- How far the audit log was exported, and which node does it now.
CREATE TABLE audit_sink (
    name     TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    node     TEXT    NOT NULL,
    until    INTEGER NOT NULL
) STRICT;
