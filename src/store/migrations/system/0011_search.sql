-- Finds people by any part of their names in a directory of a million. Row numbers change with VACUUM, which nothing here does;
-- INSERT INTO directory_user_text (directory_user_text) VALUES ('rebuild') makes it anew.
CREATE VIRTUAL TABLE directory_user_text USING fts5 (
    name_key, email_key, display_name, content = 'directory_user', content_rowid = 'rowid', tokenize = 'trigram'
);
INSERT INTO directory_user_text (directory_user_text) VALUES ('rebuild');

CREATE TRIGGER directory_user_text_insert AFTER INSERT ON directory_user BEGIN
    INSERT INTO directory_user_text (rowid, name_key, email_key, display_name)
    VALUES (new.rowid, new.name_key, new.email_key, new.display_name);
END;
CREATE TRIGGER directory_user_text_delete AFTER DELETE ON directory_user BEGIN
    INSERT INTO directory_user_text (directory_user_text, rowid, name_key, email_key, display_name)
    VALUES ('delete', old.rowid, old.name_key, old.email_key, old.display_name);
END;
CREATE TRIGGER directory_user_text_update AFTER UPDATE OF name_key, email_key, display_name ON directory_user BEGIN
    INSERT INTO directory_user_text (directory_user_text, rowid, name_key, email_key, display_name)
    VALUES ('delete', old.rowid, old.name_key, old.email_key, old.display_name);
    INSERT INTO directory_user_text (rowid, name_key, email_key, display_name)
    VALUES (new.rowid, new.name_key, new.email_key, new.display_name);
END;
