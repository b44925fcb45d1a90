//! IAM users, access keys and MFA devices in the store.

use super::{
    ReadTx, Snapshot, Store, WriteTx,
    entities::damaged,
    sql::{self, Row, Tx},
};
use crate::{
    crypto::seal::{KeyRing, Purpose},
    domain::{
        Arn, Error, Secret, Timestamp,
        name::{AccountId, IamUserName, PolicyName},
        user::{AccessKey, LastUse, MfaDevice, User, UserSession},
    },
    policy::{CompiledUser, Library},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Last uses that are not written yet: a signed call must not wait for a disk.
#[derive(Debug, Default)]
pub(super) struct LastUses(Mutex<HashMap<String, LastUse>>, Mutex<HashMap<String, Timestamp>>);

impl Store {
    /// Remembers that an access key signed a call. It is written within a minute (AWS: within 15).
    pub fn note_use(&self, key_id: &str, time: Timestamp, service: &str, region: &str) {
        let mut uses = self.last_uses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let region: String = region.chars().take(64).collect();
        uses.insert(key_id.to_owned(), LastUse { time, service: service.to_owned(), region });
    }

    /// Remembers that a role was taken. It is written within a minute.
    pub fn note_role_use(&self, role_id: &str, time: Timestamp) {
        self.last_uses.1.lock().unwrap_or_else(PoisonError::into_inner).insert(role_id.to_owned(), time);
    }

    /// Writes the last uses of access keys and roles.
    ///
    /// # Errors
    /// `Unavailable`: then they are kept for the next time.
    pub(super) async fn write_last_uses(&self) -> Result<(), Error> {
        let uses = self.last_uses.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, used) in &uses {
            let query = sql::query(
                "INSERT INTO access_key_use (id, time, service, region) SELECT $1, $2, $3, $4
                 WHERE EXISTS (SELECT 1 FROM access_key WHERE id = $1)
                 ON CONFLICT (id) DO UPDATE SET time = $2, service = $3, region = $4",
            );
            let query = query.bind(id).bind(used.time.0).bind(&used.service).bind(&used.region);
            query.execute(&self.writer).await?;
        }
        self.last_uses.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, used| uses.get(id) != Some(used));
        let roles = self.last_uses.1.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, time) in &roles {
            let query = sql::query(
                "INSERT INTO role_last_used (role_id, time) VALUES ($1, $2) ON CONFLICT (role_id) DO UPDATE SET time = $2",
            );
            query.bind(id).bind(time.0).execute(&self.writer).await?;
        }
        self.last_uses.1.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, time| roles.get(id) != Some(time));
        Ok(())
    }
}

impl ReadTx<'_> {
    /// When each of these roles was last taken, by their ids; those that never were are not there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn role_uses(&self, roles: &[String]) -> Result<HashMap<String, Timestamp>, Error> {
        let mut found = HashMap::new();
        for batch in roles.chunks(500) {
            let mut query = sql::query("SELECT role_id, time FROM role_last_used WHERE role_id IN (");
            query.push_list(batch).push(")");
            for row in query.fetch_all(&self.store.readers).await? {
                found.insert(row.get("role_id"), Timestamp(row.get("time")));
            }
        }
        let unwritten = self.store.last_uses.1.lock().unwrap_or_else(PoisonError::into_inner);
        found.extend(roles.iter().filter_map(|id| unwritten.get(id).map(|time| (id.clone(), *time))));
        Ok(found)
    }

    /// The last use of an access key, none when it was never used.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn last_use(&self, key_id: &str) -> Result<Option<LastUse>, Error> {
        let unwritten = self.store.last_uses.0.lock().unwrap_or_else(PoisonError::into_inner).get(key_id).cloned();
        if unwritten.is_some() {
            return Ok(unwritten);
        }
        let query = sql::query("SELECT * FROM access_key_use WHERE id = $1").bind(key_id);
        let row = query.fetch_optional(&self.store.readers).await?;
        Ok(row.map(|row| LastUse { time: Timestamp(row.get("time")), service: row.get("service"), region: row.get("region") }))
    }
}

/// Adds users, their keys and devices to a snapshot.
pub(super) async fn load(tx: &mut Tx, ring: &KeyRing, snapshot: &mut Snapshot, library: &mut Library) -> Result<(), Error> {
    let mut users: BTreeMap<String, User> = BTreeMap::new();
    for row in sql::query("SELECT * FROM iam_user").fetch_all(&mut *tx).await? {
        let user = user(&row)?;
        users.insert(user.id.clone(), user);
    }
    for row in sql::query("SELECT * FROM iam_user_inline_policy").fetch_all(&mut *tx).await? {
        if let Some(user) = users.get_mut(row.get::<&str>("user_id")) {
            let name = PolicyName::parse(row.get("name")).map_err(|e| damaged("iam_user_inline_policy", e))?;
            user.inline_policies.insert(name, row.get::<&str>("document").into());
        }
    }
    let attached = "SELECT * FROM iam_user_attached_policy ORDER BY policy_arn";
    for row in sql::query(attached).fetch_all(&mut *tx).await? {
        if let Some(user) = users.get_mut(row.get::<&str>("user_id")) {
            let arn = Arn::parse(row.get("policy_arn")).map_err(|e| damaged("iam_user_attached_policy", e))?;
            user.attached_policies.push(arn);
        }
    }
    for user in users.into_values() {
        let key = (user.account.clone(), user.name.as_str().to_lowercase());
        let id = user.id.clone();
        let compiled = CompiledUser::compile(user.clone(), library, |arn| snapshot.policy(arn));
        let compiled = compiled.unwrap_or_else(|error| {
            tracing::error!(user = id, %error, "a user's policies in the store can't be read: it may nothing");
            CompiledUser::closed(user)
        });
        snapshot.users.insert(key, Arc::new(compiled));
    }
    snapshot.index_users();
    for row in sql::query("SELECT * FROM access_key ORDER BY id").fetch_all(&mut *tx).await? {
        let key = access_key(&row, ring)?;
        let user = match &key.user_id {
            None => Some(Arn::iam(&key.account, "root")),
            Some(id) => snapshot.user_by_id(id).map(|user| user.user.arn()),
        };
        let signer = user.map(|user| Arc::new(UserSession::of_key(&key, user)));
        let signer = signer.ok_or_else(|| damaged("access_key", "it belongs to nobody"))?;
        snapshot.access_keys.insert(key.id.clone(), (key, signer));
    }
    for row in sql::query("SELECT * FROM mfa_device ORDER BY name").fetch_all(&mut *tx).await? {
        let device = mfa_device(&row, ring)?;
        snapshot.mfa_devices.insert(device.serial(), Arc::new(device));
    }
    for row in sql::query("SELECT account FROM outbound_federation").fetch_all(&mut *tx).await? {
        snapshot.outbound_federation.insert(account(&row, "outbound_federation")?);
    }
    Ok(())
}

fn account(row: &Row, table: &str) -> Result<AccountId, Error> {
    AccountId::parse(row.get("account")).map_err(|e| damaged(table, e))
}

fn user(row: &Row) -> Result<User, Error> {
    Ok(User {
        account: account(row, "iam_user")?,
        name: IamUserName::parse(row.get("name")).map_err(|e| damaged("iam_user", e))?,
        path: row.get("path"),
        id: row.get("id"),
        created: Timestamp(row.get("created")),
        inline_policies: BTreeMap::new(),
        attached_policies: Vec::new(),
    })
}

fn access_key(row: &Row, ring: &KeyRing) -> Result<AccessKey, Error> {
    let id: String = row.get("id");
    let opened = ring.open(Purpose::StoredSecret, &format!("access_key/{id}"), row.get("secret"));
    let secret = opened.and_then(|secret| String::from_utf8(secret).ok());
    Ok(AccessKey {
        account: account(row, "access_key")?,
        user_id: row.get("user_id"),
        secret: Secret::new(secret.ok_or_else(|| damaged("access_key", "its secret can't be opened"))?),
        active: row.get("active"),
        created: Timestamp(row.get("created")),
        id,
    })
}

fn mfa_device(row: &Row, ring: &KeyRing) -> Result<MfaDevice, Error> {
    let (account, name) = (account(row, "mfa_device")?, row.get::<&str>("name"));
    let opened = ring.open(Purpose::StoredSecret, &format!("mfa_device/{account}/{name}"), row.get("seed"));
    let owner: Option<String> = row.get("user_id");
    Ok(MfaDevice {
        name: IamUserName::parse(name).map_err(|e| damaged("mfa_device", e))?,
        account,
        seed: Secret::new(opened.ok_or_else(|| damaged("mfa_device", "its seed can't be opened"))?),
        enabled: owner.zip(row.get::<Option<i64>>("enabled").map(Timestamp)),
    })
}

impl WriteTx<'_> {
    /// Creates or changes a user with its policies.
    ///
    /// # Errors
    /// `Unavailable`, as for every write below.
    pub async fn put_iam_user(&mut self, user: &User) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO iam_user (id, account, name, path, created) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET name = $3, path = $4",
        );
        let query = query.bind(user.id.clone()).bind(user.account.to_string()).bind(user.name.to_string());
        self.execute(query.bind(user.path.clone()).bind(user.created.0)).await?;
        self.execute(sql::query("DELETE FROM iam_user_inline_policy WHERE user_id = $1").bind(user.id.clone())).await?;
        for (name, document) in &user.inline_policies {
            let query = sql::query("INSERT INTO iam_user_inline_policy (user_id, name, document) VALUES ($1, $2, $3)");
            self.execute(query.bind(user.id.clone()).bind(name.to_string()).bind(document.clone())).await?;
        }
        self.execute(sql::query("DELETE FROM iam_user_attached_policy WHERE user_id = $1").bind(user.id.clone())).await?;
        for arn in &user.attached_policies {
            let query = sql::query("INSERT INTO iam_user_attached_policy (user_id, policy_arn) VALUES ($1, $2)");
            self.execute(query.bind(user.id.clone()).bind(arn.to_string())).await?;
        }
        Ok(())
    }

    /// Deletes a user with its policies.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_iam_user(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM iam_user WHERE id = $1").bind(id.to_owned())).await
    }

    /// Creates an access key, or changes whether it is active; its secret is sealed on the way.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_access_key(&mut self, key: &AccessKey) -> Result<(), Error> {
        let context = format!("access_key/{}", key.id);
        let sealed = self.store.ring.seal(Purpose::StoredSecret, &context, key.secret.expose().as_bytes());
        let query = sql::query(
            "INSERT INTO access_key (id, account, user_id, secret, active, created) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET active = $5",
        );
        let query = query.bind(key.id.clone()).bind(key.account.to_string()).bind(key.user_id.clone());
        self.execute(query.bind(sealed.map_err(Error::internal)?).bind(key.active).bind(key.created.0)).await
    }

    /// Deletes an access key.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_access_key(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM access_key WHERE id = $1").bind(id.to_owned())).await
    }

    /// Creates a device, or gives it to a user or takes it away; its seed is sealed on the way.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_mfa_device(&mut self, device: &MfaDevice) -> Result<(), Error> {
        let context = format!("mfa_device/{}/{}", device.account, device.name);
        let sealed = self.store.ring.seal(Purpose::StoredSecret, &context, device.seed.expose());
        let (user_id, enabled) = device.enabled.clone().unzip();
        let query = sql::query(
            "INSERT INTO mfa_device (account, name, seed, user_id, enabled) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (account, name) DO UPDATE SET user_id = $4, enabled = $5",
        );
        let query = query.bind(device.account.to_string()).bind(device.name.to_string()).bind(sealed.map_err(Error::internal)?);
        self.execute(query.bind(user_id).bind(enabled.map(|time| time.0))).await
    }

    /// Deletes a device.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_mfa_device(&mut self, device: &MfaDevice) -> Result<(), Error> {
        let query = sql::query("DELETE FROM mfa_device WHERE account = $1 AND name = $2");
        self.execute(query.bind(device.account.to_string()).bind(device.name.to_string())).await
    }

    /// Lets the principals of an account ask for web identity tokens, or no more.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_outbound_federation(&mut self, account: &AccountId, enabled: bool) -> Result<(), Error> {
        let sql = if enabled {
            "INSERT INTO outbound_federation (account) VALUES ($1) ON CONFLICT (account) DO NOTHING"
        } else {
            "DELETE FROM outbound_federation WHERE account = $1"
        };
        self.execute(sql::query(sql).bind(account.to_string())).await
    }
}
