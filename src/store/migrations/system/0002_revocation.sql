-- Sessions of a scope that were issued at or before an instant are over.
CREATE TABLE revocation (
    scope  TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    before INTEGER NOT NULL,
    PRIMARY KEY (scope, value)
) STRICT;
