-- Values that belong together, such as the sessions of one person: a hash, as keys are.
ALTER TABLE ephemeral ADD COLUMN owner TEXT;
CREATE INDEX ephemeral_owner ON ephemeral (owner) WHERE owner IS NOT NULL;
