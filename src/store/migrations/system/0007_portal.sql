-- How accounts look in the portal, and what is known of them.
ALTER TABLE account ADD COLUMN color TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';

-- Roles that people keep at hand. No decision depends on it.
CREATE TABLE favourite_role (
    person  TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    role    TEXT NOT NULL,
    PRIMARY KEY (person, account, role)
) STRICT;
