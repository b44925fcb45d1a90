//! People and groups of the built-in directory in the store. They are not in the snapshot: there may be a million.

use super::{
    EphemeralKind, ReadTx, WriteTx,
    entities::damaged,
    sql::{self, Database, Dialect, Query, Row, Target},
    unavailable,
};
use crate::domain::{
    Error, Secret, Timestamp,
    directory::{Group, Named, Profile, Stamp, User},
    factor,
    iam::DIRECTORY_ISSUER,
    name::{GroupName, UserName},
    permission_set::AssignmentPrincipal,
    revocation::RevocationScope,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Links to set a password, by user id: kept for some days, and gone with everything else that somebody holds.
pub const PASSWORD_LINK: EphemeralKind = EphemeralKind::lasting("password-link");

/// Most people of one query.
const BATCH: usize = 500;

/// Part of the people, or of the groups, that an index finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// No part.
    All,
    /// With this id.
    Id(String),
    /// Whose name has this key.
    Name(String),
    /// That the SCIM client calls so.
    ExternalId(String),
    /// Groups that this person is in.
    Member(String),
}

impl Narrow {
    fn push(&self, query: &mut Query) {
        let (column, value) = match self {
            Self::All => return,
            Self::Id(value) => (" AND id = ", value),
            Self::Name(value) => (" AND name_key = ", value),
            Self::ExternalId(value) => (" AND external_id = ", value),
            Self::Member(user) => {
                query
                    .push(" AND id IN (SELECT group_id FROM directory_member WHERE user_id = ")
                    .push_bind(user.clone())
                    .push(")");
                return;
            }
        };
        query.push(column).push_bind(value.clone());
    }
}

/// A part of a list, in the order of ids.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Only what comes after this id.
    pub after: String,
    /// So many are left out first.
    pub skip: u32,
    /// At most so many.
    pub most: u32,
}

impl WriteTx<'_> {
    /// Reads what is there: nobody else holds the pen. What this transaction itself has changed is not seen.
    #[must_use]
    pub fn read(&self) -> ReadTx<'_> {
        ReadTx { store: self.store, snapshot: self.snapshot.clone() }
    }

    /// Creates or changes a group of the built-in directory. Its members stay.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn put_group(&mut self, group: &Group) -> Result<Stamp, Error> {
        let renamed = sql::query("SELECT 1 FROM directory_group WHERE id = $1 AND name <> $2");
        let renamed = renamed.bind(group.id.clone()).bind(group.name.to_string());
        if renamed.fetch_optional(&mut self.tx).await?.is_some() {
            self.touch_members(&group.id).await?;
        }
        let query = sql::query(
            "INSERT INTO directory_group (id, name, name_key, external_id, provisioned, created, modified)
             VALUES ($1, $2, $3, $4, $5, $6, $6)
             ON CONFLICT (id) DO UPDATE SET name = $2, name_key = $3, external_id = $4, provisioned = $5, modified = $6,
             version = directory_group.version + 1 RETURNING created, modified, version",
        );
        let query = query
            .bind(group.id.clone())
            .bind(group.name.to_string())
            .bind(group.name.key())
            .bind(group.external_id.clone())
            .bind(group.provisioned)
            .bind(self.store.clock.now().0);
        query.fetch_one(&mut self.tx).await.map(|row| stamp(&row))
    }

    /// Deletes a group with its memberships.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_group(&mut self, id: &str) -> Result<(), Error> {
        self.delete_assignments_of(|one| matches!(one, AssignmentPrincipal::Group(group) if group == id)).await?;
        self.touch_members(id).await?;
        self.aside(sql::query("DELETE FROM directory_group WHERE id = $1").bind(id.to_owned())).await.map(drop)
    }

    /// Puts people into a group. Those that are there already, or nowhere, change nothing.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add_members(&mut self, group: &str, users: &BTreeSet<String>) -> Result<(), Error> {
        for user in users {
            let query = sql::query(
                "INSERT INTO directory_member (user_id, group_id) SELECT id, $2 FROM directory_user WHERE id = $1
                 ON CONFLICT DO NOTHING",
            );
            if self.aside(query.bind(user.clone()).bind(group.to_owned())).await? > 0 {
                self.touch_user(user).await?;
            }
        }
        Ok(())
    }

    /// What is answered about somebody has changed: their groups.
    async fn touch_user(&mut self, id: &str) -> Result<(), Error> {
        let query = sql::query("UPDATE directory_user SET version = version + 1 WHERE id = $1");
        self.aside(query.bind(id.to_owned())).await.map(drop)
    }

    /// The same of everybody in a group.
    async fn touch_members(&mut self, group: &str) -> Result<(), Error> {
        let query = sql::query(
            "UPDATE directory_user SET version = version + 1
             WHERE id IN (SELECT user_id FROM directory_member WHERE group_id = $1)",
        );
        self.aside(query.bind(group.to_owned())).await.map(drop)
    }

    /// Takes people out of a group.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_members(&mut self, group: &str, users: &BTreeSet<String>) -> Result<(), Error> {
        for user in users {
            let query = sql::query("DELETE FROM directory_member WHERE user_id = $1 AND group_id = $2");
            if self.aside(query.bind(user.clone()).bind(group.to_owned())).await? > 0 {
                self.touch_user(user).await?;
            }
        }
        Ok(())
    }

    /// The groups that somebody is in from now on, by name. Groups that they enter or leave count as changed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_memberships(&mut self, user: &str, groups: &[GroupName]) -> Result<(), Error> {
        let old = sql::query("SELECT id, name FROM directory_group JOIN directory_member ON group_id = id WHERE user_id = $1");
        let old = old.bind(user.to_owned()).fetch_all(&mut self.tx).await?;
        let old: HashMap<String, String> = old.iter().map(|row| (row.get("name"), row.get("id"))).collect();
        let mut touched = Vec::new();
        for (name, id) in &old {
            if !groups.iter().any(|group| group.as_str() == name) {
                self.remove_members(id, &BTreeSet::from([user.to_owned()])).await?;
                touched.push(id.clone());
            }
        }
        for name in groups.iter().filter(|name| !old.contains_key(name.as_str())) {
            let id = sql::query("SELECT id FROM directory_group WHERE name = $1").bind(name.to_string());
            let Some(row) = id.fetch_optional(&mut self.tx).await? else { continue };
            let id: String = row.get("id");
            self.add_members(&id, &BTreeSet::from([user.to_owned()])).await?;
            touched.push(id);
        }
        let now = self.store.clock.now().0;
        for id in touched {
            let query = sql::query("UPDATE directory_group SET version = version + 1, modified = $2 WHERE id = $1");
            self.aside(query.bind(id).bind(now)).await?;
        }
        Ok(())
    }

    /// Ids of who is in a group, as this transaction left it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn members(&mut self, group: &str) -> Result<BTreeSet<String>, Error> {
        members(&mut self.tx, group).await
    }

    /// Creates or changes a person of the built-in directory. Group memberships stay.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_user(&mut self, user: &User) -> Result<Stamp, Error> {
        let query = sql::query(
            "INSERT INTO directory_user (id, name, name_key, email, email_key, display_name, password_hash, disabled, external_id,
             profile, provisioned, created, modified) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
             ON CONFLICT (id) DO UPDATE SET name = $2, name_key = $3, email = $4, email_key = $5, display_name = $6,
             password_hash = $7, disabled = $8, external_id = $9, profile = $10, provisioned = $11, modified = $12,
             version = directory_user.version + 1 RETURNING created, modified, version",
        );
        let query = query
            .bind(user.id.clone())
            .bind(user.name.to_string())
            .bind(user.name.key())
            .bind(user.email.clone())
            .bind(user.email.to_lowercase())
            .bind(user.display_name.clone())
            .bind(user.password_hash.as_ref().map(|hash| hash.expose().clone()))
            .bind(user.disabled)
            .bind(user.external_id.clone())
            .bind(serde_json::to_string(&user.profile).map_err(Error::internal)?)
            .bind(user.provisioned)
            .bind(self.store.clock.now().0);
        let row = query.fetch_one(&mut self.tx).await?;
        if user.disabled {
            self.end_person_of_directory(&user.id).await?;
        }
        Ok(stamp(&row))
    }

    /// Deletes a person.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_user(&mut self, id: &str) -> Result<(), Error> {
        self.delete_assignments_of(|one| matches!(one, AssignmentPrincipal::User(user) if user == id)).await?;
        self.end_person_of_directory(id).await?;
        self.delete_factors(&factor::owner(&format!("oidc-provider/{DIRECTORY_ISSUER}"), id)).await?;
        let query = sql::query(
            "UPDATE directory_group SET version = version + 1
             WHERE id IN (SELECT group_id FROM directory_member WHERE user_id = $1)",
        );
        self.aside(query.bind(id.to_owned())).await?;
        self.aside(sql::query("DELETE FROM directory_user WHERE id = $1").bind(id.to_owned())).await.map(drop)
    }

    /// Ends everything that somebody of the directory holds: portal sessions, what was made from them, and links to set a
    /// password.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn end_person_of_directory(&mut self, id: &str) -> Result<(), Error> {
        self.store.ephemeral.delete(PASSWORD_LINK, id).await?;
        let now = self.store.clock.now();
        self.put_revocation(&RevocationScope::DirectoryUser(id.to_owned()), now).await
    }
}

impl ReadTx<'_> {
    /// Somebody of the built-in directory who can sign in with a password: by name, without regard to case, or by e-mail when
    /// only one has it.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn user(&self, name: &str) -> Result<Option<User>, Error> {
        if name.is_empty() {
            return Ok(None);
        }
        // Whoever can use it: those who come by SCIM, without a password, keep nobody from signing in by address. And the name
        // first: nobody's address keeps somebody else from their own name.
        let sql = "SELECT id, CAST(CASE WHEN name_key = $1 THEN 1 ELSE 0 END AS BIGINT) AS named FROM directory_user
                   WHERE (name_key = $1 OR email_key = $1) AND password_hash IS NOT NULL AND disabled = 0
                   ORDER BY named DESC LIMIT 2";
        let rows = sql::query(sql).bind(name.to_lowercase()).fetch_all(&self.store.readers).await?;
        let row = match rows.as_slice() {
            [row] => row,
            [row, _] if row.get::<bool>("named") => row,
            _ => return Ok(None),
        };
        self.user_by_id(row.get("id")).await
    }

    /// A person of the built-in directory by their stable id.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn user_by_id(&self, id: &str) -> Result<Option<User>, Error> {
        Ok(self.users_in(&Narrow::Id(id.to_owned()), &Slice { after: String::new(), skip: 0, most: 1 }).await?.pop())
    }

    /// The id of the person with this name, without regard to case.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn user_named(&self, name: &UserName) -> Result<Option<String>, Error> {
        let query = sql::query("SELECT id FROM directory_user WHERE name_key = $1").bind(name.key());
        let row = query.fetch_optional(&self.store.readers).await?;
        Ok(row.map(|row| row.get("id")))
    }

    /// People whose name, address or display name contains a text, without regard to case, at most so many: by name, or in the
    /// order in which they came where the text has three letters or more. With the marker of the next page.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn search_users(&self, text: &str, marker: &str, most: u32) -> Result<(Vec<User>, Option<String>), Error> {
        let text = text.to_lowercase();
        // The index of SQLite is a table of its own, with parts of three letters; PostgreSQL's stands behind LIKE.
        let indexed = text.chars().count() >= 3;
        let wanted = match self.store.readers.dialect() {
            Dialect::Sqlite if indexed => format!("\"{}\"", text.replace('"', "\"\"")),
            Dialect::Sqlite => text,
            Dialect::Postgres => format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")),
        };
        let sql = if self.store.readers.dialect() == Dialect::Postgres {
            "SELECT *, name_key AS marker FROM directory_user WHERE name_key > $2 AND (name_key LIKE $1 OR email_key LIKE $1
             OR lower(display_name) LIKE $1) ORDER BY name_key LIMIT $3"
        } else if indexed {
            "SELECT directory_user.*, CAST(directory_user.rowid AS TEXT) AS marker FROM directory_user_text
             JOIN directory_user ON directory_user.rowid = directory_user_text.rowid
             WHERE directory_user_text MATCH $1 AND directory_user_text.rowid > CAST($2 AS INTEGER)
             ORDER BY directory_user_text.rowid LIMIT $3"
        } else {
            "SELECT *, name_key AS marker FROM directory_user WHERE name_key > $2 AND ($1 = '' OR instr(name_key, $1) > 0
             OR instr(email_key, $1) > 0 OR instr(lower(display_name), $1) > 0) ORDER BY name_key LIMIT $3"
        };
        let query = sql::query(sql).bind(wanted).bind(marker.to_lowercase()).bind(most + 1);
        let mut rows = query.fetch_all(&self.store.readers).await?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        let next = rows.last().filter(|_| more).map(|row| row.get("marker"));
        Ok((self.with_groups(rows).await?, next))
    }

    /// People who are in one of these groups (keys of names), at most so many; by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn users_in_groups(&self, groups: &[String], most: u32) -> Result<Vec<User>, Error> {
        let mut query = sql::query(
            "SELECT DISTINCT directory_user.* FROM directory_group JOIN directory_member ON group_id = directory_group.id
             JOIN directory_user ON directory_user.id = user_id WHERE directory_group.name_key IN (",
        );
        query.push_list(groups.iter().take(BATCH));
        query.push(") ORDER BY directory_user.name_key LIMIT ").push_bind(most);
        self.with_groups(query.fetch_all(&self.store.readers).await?).await
    }

    /// Everybody in the built-in directory, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        let query = sql::query("SELECT * FROM directory_user ORDER BY name_key");
        self.with_groups(query.fetch_all(&self.store.readers).await?).await
    }

    /// Part of the people.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn users_in(&self, narrow: &Narrow, slice: &Slice) -> Result<Vec<User>, Error> {
        self.with_groups(self.rows("directory_user", narrow, slice).await?).await
    }

    /// Part of the groups.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn groups_in(&self, narrow: &Narrow, slice: &Slice) -> Result<Vec<Group>, Error> {
        self.rows("directory_group", narrow, slice).await?.iter().map(group).collect()
    }

    async fn rows(&self, table: &str, narrow: &Narrow, slice: &Slice) -> Result<Vec<Row>, Error> {
        let mut query = sql::query(format!("SELECT * FROM {table} WHERE id > "));
        query.push_bind(slice.after.clone());
        narrow.push(&mut query);
        query.push(" ORDER BY id LIMIT ").push_bind(slice.most).push(" OFFSET ").push_bind(slice.skip);
        query.fetch_all(&self.store.readers).await
    }

    /// How many people there are.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn count_users(&self) -> Result<i64, Error> {
        self.count("SELECT count(*) AS number FROM directory_user").await
    }

    /// How many groups there are.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn count_groups(&self) -> Result<i64, Error> {
        self.count("SELECT count(*) AS number FROM directory_group").await
    }

    async fn count(&self, sql: &'static str) -> Result<i64, Error> {
        Ok(sql::query(sql).fetch_one(&self.store.readers).await?.get("number"))
    }

    /// Every group, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn groups(&self) -> Result<Vec<Group>, Error> {
        let query = sql::query("SELECT * FROM directory_group ORDER BY name");
        query.fetch_all(&self.store.readers).await?.iter().map(group).collect()
    }

    /// People who can sign in and have no second factor here, after a name, at most so many; by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn users_without_factor(&self, after: &str, most: u32) -> Result<Vec<User>, Error> {
        let sql = "SELECT * FROM directory_user WHERE name_key > $1 AND disabled = 0
                   AND NOT EXISTS (SELECT 1 FROM factor WHERE person = $2 || directory_user.id) ORDER BY name_key LIMIT $3";
        let owner = factor::owner(&format!("oidc-provider/{DIRECTORY_ISSUER}"), "");
        let query = sql::query(sql).bind(after.to_lowercase()).bind(owner).bind(most);
        self.with_groups(query.fetch_all(&self.store.readers).await?).await
    }

    /// Groups whose name contains a text, after a name, at most so many; by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn search_groups(&self, text: &str, after: &str, most: u32) -> Result<Vec<Group>, Error> {
        let sql = "SELECT * FROM directory_group WHERE name_key > $2 AND ($1 = '' OR instr(name_key, $1) > 0)
                   ORDER BY name_key LIMIT $3";
        let query = sql::query(sql).bind(text.to_lowercase()).bind(after.to_lowercase()).bind(most);
        query.fetch_all(&self.store.readers).await?.iter().map(group).collect()
    }

    /// A group by its stable id.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn group_by_id(&self, id: &str) -> Result<Option<Group>, Error> {
        Ok(self.groups_in(&Narrow::Id(id.to_owned()), &Slice { after: String::new(), skip: 0, most: 1 }).await?.pop())
    }

    /// The id of another group than this one with the name, without regard to case.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn group_named(&self, name: &GroupName, other_than: &str) -> Result<Option<String>, Error> {
        let query =
            sql::query("SELECT id FROM directory_group WHERE name_key = $1 AND id <> $2").bind(name.key()).bind(other_than);
        let row = query.fetch_optional(&self.store.readers).await?;
        Ok(row.map(|row| row.get("id")))
    }

    /// Ids of who is in a group.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn members(&self, group: &str) -> Result<BTreeSet<String>, Error> {
        members(&self.store.readers, group).await
    }

    /// Which of these people there are, and whether a SCIM client keeps them.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn known_among(&self, users: &BTreeSet<String>) -> Result<BTreeMap<String, bool>, Error> {
        let mut found = BTreeMap::new();
        let all: Vec<&String> = users.iter().collect();
        for batch in all.chunks(BATCH) {
            let mut query = sql::query("SELECT id, provisioned FROM directory_user WHERE id IN (");
            query.push_list(batch.iter().copied()).push(")");
            let rows = query.fetch_all(&self.store.readers).await?;
            found.extend(rows.iter().map(|row| (row.get("id"), row.get("provisioned"))));
        }
        Ok(found)
    }

    /// The groups that people are in, by the people's ids; sorted by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn memberships(&self, users: &[String]) -> Result<HashMap<String, Vec<Named>>, Error> {
        let mut found: HashMap<String, Vec<Named>> = HashMap::new();
        for batch in users.chunks(BATCH) {
            let mut query = sql::query(
                "SELECT user_id, id, name FROM directory_member JOIN directory_group ON id = group_id WHERE user_id IN (",
            );
            query.push_list(batch).push(") ORDER BY name");
            for row in query.fetch_all(&self.store.readers).await? {
                let group = Named { id: row.get("id"), name: row.get("name") };
                found.entry(row.get("user_id")).or_default().push(group);
            }
        }
        Ok(found)
    }

    async fn with_groups(&self, rows: Vec<Row>) -> Result<Vec<User>, Error> {
        let ids: Vec<String> = rows.iter().map(|row| row.get("id")).collect();
        let mut groups = self.memberships(&ids).await?;
        let person = |row: &Row| {
            let mut user = user(row)?;
            for group in groups.remove(&user.id).unwrap_or_default() {
                user.groups.push(GroupName::parse(&group.name).map_err(|e| damaged("directory_group", e))?);
                user.group_ids.push(group.id);
            }
            Ok(user)
        };
        rows.iter().map(person).collect()
    }
}

async fn members<'t>(target: impl Into<Target<'t>>, group: &str) -> Result<BTreeSet<String>, Error> {
    let query = sql::query("SELECT user_id FROM directory_member WHERE group_id = $1").bind(group.to_owned());
    Ok(query.fetch_all(target).await?.iter().map(|row| row.get("user_id")).collect())
}

fn stamp(row: &Row) -> Stamp {
    Stamp { created: Timestamp(row.get("created")), modified: Timestamp(row.get("modified")), version: row.get("version") }
}

fn user(row: &Row) -> Result<User, Error> {
    let profile: Profile = serde_json::from_str(row.get("profile")).map_err(|e| damaged("directory_user", e))?;
    Ok(User {
        id: row.get("id"),
        name: UserName::parse(row.get("name")).map_err(|e| damaged("directory_user", e))?,
        email: row.get("email"),
        display_name: row.get("display_name"),
        password_hash: row.get::<Option<String>>("password_hash").map(Secret::new),
        groups: Vec::new(),
        group_ids: Vec::new(),
        disabled: row.get("disabled"),
        external_id: row.get("external_id"),
        profile,
        provisioned: row.get("provisioned"),
        stamp: stamp(row),
    })
}

fn group(row: &Row) -> Result<Group, Error> {
    Ok(Group {
        id: row.get("id"),
        name: GroupName::parse(row.get("name")).map_err(|e| damaged("directory_group", e))?,
        external_id: row.get("external_id"),
        provisioned: row.get("provisioned"),
        stamp: stamp(row),
    })
}

/// Names are compared by keys that SQL can't make, where letters go beyond ASCII: those that a migration made are made anew,
/// once.
pub(super) async fn renew_keys(pool: &Database) -> Result<(), Error> {
    const RENEWED: i64 = 6;
    let version: i64 = sql::query("SELECT user_version AS number FROM pragma_user_version").fetch_one(pool).await?.get("number");
    if version >= RENEWED {
        return Ok(());
    }
    let mut tx = pool.begin_write().await?;
    let people = "SELECT id, name, name_key, email FROM directory_user";
    for row in sql::query(people).fetch_all(&mut tx).await? {
        let (name, email): (&str, &str) = (row.get("name"), row.get("email"));
        if name.is_ascii() && email.is_ascii() {
            continue;
        }
        let query = sql::query("UPDATE directory_user SET name_key = $2, email_key = $3 WHERE id = $1");
        let query = query.bind(row.get::<&str>("id")).bind(name.to_lowercase()).bind(email.to_lowercase());
        let twins = |error: Error| {
            unavailable(format!(
                "two people of the directory have names that differ in letter case alone: {name}: {:?}",
                error.private
            ))
        };
        query.execute(&mut tx).await.map_err(twins)?;
    }
    for row in sql::query("SELECT id, name FROM directory_group").fetch_all(&mut tx).await? {
        let query = sql::query("UPDATE directory_group SET name_key = $2 WHERE id = $1");
        let query = query.bind(row.get::<&str>("id")).bind(row.get::<&str>("name").to_lowercase());
        query.execute(&mut tx).await?;
    }
    sql::query("PRAGMA user_version = 6").execute(&mut tx).await?;
    tx.commit().await
}
