//! People and groups of the built-in directory in the store. They are not in the snapshot: there may be a million.

use super::{ReadTx, Store, WriteTx, sqlite::damaged, unavailable};
use crate::domain::{
    Error, Secret,
    directory::User,
    factor,
    iam::{DIRECTORY_ISSUER, ProviderKind},
    name::{GroupName, UserName},
    revocation::RevocationScope,
};
use sqlx::Row as _;
use std::collections::BTreeMap;

/// Links to set a password, by user id: kept for some days, and gone with everything else that somebody holds.
pub const PASSWORD_LINK: &str = "password-link";

impl WriteTx<'_> {
    /// Creates a group of the built-in directory; nothing happens when it is there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_group(&mut self, group: &GroupName) -> Result<(), Error> {
        let query = sqlx::query("INSERT INTO directory_group (name) VALUES ($1) ON CONFLICT (name) DO NOTHING");
        self.execute(query.bind(group.to_string())).await
    }

    /// Deletes a group with its memberships.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_group(&mut self, group: &GroupName) -> Result<(), Error> {
        self.execute(sqlx::query("DELETE FROM directory_group WHERE name = $1").bind(group.to_string())).await
    }

    /// Creates or changes a person of the built-in directory, with group memberships.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_user(&mut self, user: &User) -> Result<(), Error> {
        let query = sqlx::query(
            "INSERT INTO directory_user (id, name, email, display_name, password_hash, disabled) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET name = $2, email = $3, display_name = $4, password_hash = $5, disabled = $6",
        );
        self.execute(
            query
                .bind(user.id.clone())
                .bind(user.name.to_string())
                .bind(user.email.clone())
                .bind(user.display_name.clone())
                .bind(user.password_hash.as_ref().map(|hash| hash.expose().clone()))
                .bind(user.disabled),
        )
        .await?;
        if user.disabled {
            self.end_person_of_directory(&user.id).await?;
        }
        self.execute(sqlx::query("DELETE FROM directory_membership WHERE user_id = $1").bind(user.id.clone())).await?;
        for group in &user.groups {
            let query = sqlx::query("INSERT INTO directory_membership (user_id, group_name) VALUES ($1, $2)");
            self.execute(query.bind(user.id.clone()).bind(group.to_string())).await?;
        }
        Ok(())
    }

    /// Deletes a person.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_user(&mut self, id: &str) -> Result<(), Error> {
        self.end_person_of_directory(id).await?;
        self.delete_factors(&factor::owner(&format!("oidc-provider/{DIRECTORY_ISSUER}"), id)).await?;
        self.execute(sqlx::query("DELETE FROM directory_user WHERE id = $1").bind(id.to_owned())).await
    }

    /// Everybody in the built-in directory.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        users_where(self.store, None).await
    }

    /// The person with this id. Nobody else holds the pen: what is read is what is there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn user_with_id(&self, id: &str) -> Result<Option<User>, Error> {
        Ok(users_where(self.store, Some(id)).await?.pop())
    }

    /// The id of the person with this name, without regard to case.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn user_named(&mut self, name: &UserName) -> Result<Option<String>, Error> {
        let query = sqlx::query("SELECT id FROM directory_user WHERE name = $1").bind(name.to_string());
        let row = query.fetch_optional(&mut *self.tx).await.map_err(unavailable)?;
        Ok(row.map(|row| row.get("id")))
    }

    /// Ends everything that somebody of the directory holds: portal sessions, what was made from them, and links to set a
    /// password.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn end_person_of_directory(&mut self, id: &str) -> Result<(), Error> {
        self.store.ephemeral.delete(PASSWORD_LINK, id).await?;
        let now = self.store.clock.now();
        let snapshot = self.snapshot.clone();
        let directories = snapshot.identity_sources().filter(|source| source.kind == ProviderKind::Directory);
        for source in directories {
            self.put_revocation(&RevocationScope::Person(format!("{}:{id}", source.name)), now, now).await?;
        }
        Ok(())
    }
}

impl ReadTx<'_> {
    /// A person of the built-in directory by sign-in name, without regard to case, or by e-mail when only one has it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn user(&self, name: &str) -> Result<Option<User>, Error> {
        // The name first: nobody's address keeps somebody else from their own name.
        let sql = "SELECT id, name = $1 COLLATE NOCASE AS named FROM directory_user
                   WHERE name = $1 COLLATE NOCASE OR email = $1 COLLATE NOCASE ORDER BY named DESC LIMIT 2";
        let rows = sqlx::query(sql).bind(name).fetch_all(&self.store.readers).await.map_err(unavailable)?;
        let row = match rows.as_slice() {
            [row] => row,
            [row, _] if row.get::<bool, _>("named") => row,
            _ => return Ok(None),
        };
        let id: String = row.get("id");
        Ok(self.users_where(Some(&id)).await?.pop())
    }

    /// A person of the built-in directory by their stable id.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn user_by_id(&self, id: &str) -> Result<Option<User>, Error> {
        Ok(self.users_where(Some(id)).await?.pop())
    }

    /// People whose name, address or display name contains a text, after a name, at most so many; by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn search_users(&self, text: &str, after: &str, most: u32) -> Result<Vec<User>, Error> {
        let sql = "SELECT id FROM directory_user WHERE name > $2 COLLATE NOCASE AND ($1 = '' OR instr(lower(name), $1) > 0
                   OR instr(lower(email), $1) > 0 OR instr(lower(display_name), $1) > 0) ORDER BY name LIMIT $3";
        let query = sqlx::query(sql).bind(text.to_lowercase()).bind(after).bind(most);
        let mut users = Vec::new();
        for row in query.fetch_all(&self.store.readers).await.map_err(unavailable)? {
            users.extend(self.users_where(Some(row.get("id"))).await?);
        }
        Ok(users)
    }

    /// Everybody in the built-in directory, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        self.users_where(None).await
    }

    async fn users_where(&self, id: Option<&str>) -> Result<Vec<User>, Error> {
        users_where(self.store, id).await
    }
}

async fn users_where(store: &Store, id: Option<&str>) -> Result<Vec<User>, Error> {
    let mut groups: BTreeMap<String, Vec<GroupName>> = BTreeMap::new();
    let memberships = "SELECT * FROM directory_membership WHERE $1 IS NULL OR user_id = $1 ORDER BY group_name";
    for row in sqlx::query(memberships).bind(id).fetch_all(&store.readers).await.map_err(unavailable)? {
        let name = GroupName::parse(row.get("group_name")).map_err(|e| damaged("directory_membership", e))?;
        groups.entry(row.get("user_id")).or_default().push(name);
    }
    let people = "SELECT * FROM directory_user WHERE $1 IS NULL OR id = $1 ORDER BY name";
    let rows = sqlx::query(people).bind(id).fetch_all(&store.readers).await.map_err(unavailable)?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("id");
            Ok(User {
                groups: groups.remove(&id).unwrap_or_default(),
                id,
                name: UserName::parse(row.get("name")).map_err(|e| damaged("directory_user", e))?,
                email: row.get("email"),
                display_name: row.get("display_name"),
                password_hash: row.get::<Option<String>, _>("password_hash").map(Secret::new),
                disabled: row.get("disabled"),
            })
        })
        .collect()
}
