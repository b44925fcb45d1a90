//! Moving a store: from one database to another, into a sealed file, and back.
//!
//! Rows are copied as they are: secrets stay sealed by the ring, and the ring by the master key. A copy is one state of the source,
//! read in one transaction, and what arrived is compared with it table by table.

use super::{
    Location, SystemLocation,
    ephemeral::{Backend as _, Kept, Redis},
    migrate,
    sql::{self, Database, Row, Tx, Value},
    unavailable,
};
use crate::{
    crypto::{sha256, sha256_hex},
    domain::{Error, ErrorKind, Timestamp},
};
use serde::Serialize;

/// Every table with its key, those that others refer to first.
pub(super) const TABLES: &[(&str, &[&str])] = &[
    ("revision", &["only_row"]),
    ("ring_key", &["id"]),
    ("signing_key", &["name"]),
    ("organization", &["only_row"]),
    ("organizational_unit", &["id"]),
    ("organization_policy", &["id"]),
    ("organization_policy_target", &["policy", "target"]),
    ("account", &["id"]),
    ("role", &["id"]),
    ("role_inline_policy", &["role_id", "name"]),
    ("role_attached_policy", &["role_id", "policy_arn"]),
    ("role_last_used", &["role_id"]),
    ("managed_policy", &["id"]),
    ("identity_provider", &["owner", "name"]),
    ("iam_user", &["id"]),
    ("iam_user_inline_policy", &["user_id", "name"]),
    ("iam_user_attached_policy", &["user_id", "policy_arn"]),
    ("access_key", &["id"]),
    ("access_key_use", &["id"]),
    ("mfa_device", &["account", "name"]),
    ("outbound_federation", &["account"]),
    ("instance_profile", &["id"]),
    ("trust_anchor", &["id"]),
    ("anywhere_profile", &["id"]),
    ("revocation_list", &["id"]),
    ("permission_set", &["id"]),
    ("account_assignment", &["permission_set", "principal", "target"]),
    ("trust_proposal", &["id"]),
    ("favourite_role", &["person", "account", "role"]),
    ("directory_user", &["id"]),
    ("directory_group", &["id"]),
    ("directory_member", &["user_id", "group_id"]),
    ("bearer_token", &["id"]),
    ("factor", &["id"]),
    ("factor_grace", &["person"]),
    ("revocation", &["scope", "value"]),
    ("recording", &["event_id"]),
    ("audit_head", &["only_row"]),
    ("audit_seal", &["sequence"]),
    ("audit_sink", &["name"]),
    ("audit", &["sequence"]),
];

/// Rows read and written at once.
const BATCH: i64 = 500;

/// A row as it is: columns and values.
pub(super) type Cells = Vec<(String, Value)>;

/// How much of a table was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopiedTable {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of all of them, in hexadecimal.
    pub digest: String,
}

/// Sums up a table: its rows in the order of their keys.
pub(super) struct Digest {
    rows: u64,
    chained: Vec<u8>,
}

impl Digest {
    pub(super) fn new() -> Self {
        Self { rows: 0, chained: Vec::new() }
    }

    pub(super) fn add(&mut self, row: &Cells) {
        let mut sorted: Vec<&(String, Value)> = row.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut bytes = std::mem::take(&mut self.chained);
        for (name, value) in sorted {
            let (tag, value) = match value {
                Value::Text(text) => (b't', text.as_ref().map(|text| text.clone().into_bytes())),
                Value::Integer(number) => (b'i', number.map(|number| number.to_be_bytes().to_vec())),
                Value::Bytes(bytes) => (b'b', bytes.clone()),
            };
            bytes.extend(name.as_bytes());
            // Absent is absent, whatever it would be.
            bytes.push(if value.is_some() { tag } else { b'0' });
            bytes.extend((value.as_ref().map_or(0, Vec::len) as u64).to_be_bytes());
            bytes.extend(value.unwrap_or_default());
        }
        self.chained = sha256(&bytes);
        self.rows += 1;
    }

    pub(super) fn of(self, table: &str) -> CopiedTable {
        CopiedTable { table: table.to_owned(), rows: self.rows, digest: sha256_hex(&self.chained) }
    }
}

/// Reads a table, some rows after others, in the order of its key.
pub(super) struct Reading {
    table: &'static str,
    key: &'static [&'static str],
    after: Option<Vec<Value>>,
}

impl Reading {
    pub(super) fn of(table: &'static str, key: &'static [&'static str]) -> Self {
        Self { table, key, after: None }
    }

    /// The next rows; none when it is over.
    pub(super) async fn next(&mut self, tx: &mut Tx) -> Result<Vec<Cells>, Error> {
        let names = self.key.join(", ");
        let mut query = sql::query(format!("SELECT * FROM {}", self.table));
        if let Some(after) = self.after.take() {
            query.push(&format!(" WHERE ({names}) > ("));
            for (number, value) in after.into_iter().enumerate() {
                query.push(if number == 0 { "" } else { ", " }).push_bind(value);
            }
            query.push(")");
        }
        query.push(&format!(" ORDER BY {names} LIMIT ")).push_bind(BATCH);
        let rows = query.fetch_all(tx).await?;
        let rows = rows.iter().map(Row::columns).collect::<Result<Vec<Cells>, Error>>()?;
        self.after = rows.last().map(|row| {
            let of = |name: &&str| row.iter().find(|(column, _)| column == name).map(|(_, value)| value.clone());
            self.key.iter().filter_map(of).collect()
        });
        Ok(rows)
    }
}

/// Writes rows that have the same columns.
pub(super) async fn write(tx: &mut Tx, table: &str, rows: Vec<Cells>) -> Result<(), Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    let columns: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    // Names of columns come from a schema of ours, or from a file that only we can have sealed.
    if !columns.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')) {
        return Err(Error::invalid(format!("the table {table} has columns of no store")));
    }
    let mut query = sql::query(format!("INSERT INTO {table} ({}) ", columns.join(", ")));
    query.push_rows(rows.into_iter().map(|row| row.into_iter().map(|(_, value)| value).collect()));
    query.execute(tx).await.map(drop)
}

/// The database of a location, with an up-to-date schema; and that of its ephemeral state, where it is another one.
pub(super) async fn open(location: &Location) -> Result<(Database, Database), Error> {
    let (system, ephemeral) = match &location.system {
        SystemLocation::Folder(folder) => {
            (Database::file(&folder.join("daypass.sqlite"), 2).await?, Database::file(&folder.join("ephemeral.sqlite"), 1).await?)
        }
        SystemLocation::Postgres(postgres) => {
            let (writer, _) = postgres.pools()?;
            (writer.clone(), writer)
        }
    };
    migrate(&system, &ephemeral).await?;
    Ok((system, ephemeral))
}

/// That nobody has begun to use a database.
///
/// # Errors
/// `InvalidInput` when somebody has.
pub(super) async fn empty(tx: &mut Tx) -> Result<(), Error> {
    for table in ["organization", "ring_key", "audit"] {
        let sql = format!("SELECT 1 AS one FROM {table} LIMIT 1");
        if sql::query(sql).fetch_optional(&mut *tx).await?.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "there is an organization in that store already: nothing was changed",
            ));
        }
    }
    // What the schema begins with comes with the copy.
    sql::query("DELETE FROM revision").execute(tx).await.map(drop)
}

/// Moves a live organization to another database. While it is read nobody can change it; once everything has arrived the source
/// is closed for good: a broker that still runs on it refuses everything that leaves a record.
///
/// # Errors
/// `InvalidInput` when there is an organization at the other place; `Unavailable` when a database can't be reached, or what arrived
/// is not what was read: then the source is as it was.
pub async fn move_store(from: &Location, to: &Location, now: Timestamp) -> Result<Vec<CopiedTable>, Error> {
    let (source, source_ephemeral) = open(from).await?;
    let (target, target_ephemeral) = open(to).await?;
    let mut reading = source.begin_write().await?;
    reading.unhurried().await?;
    let lock = source.pick("SELECT closed FROM revision", "SELECT closed FROM revision FOR UPDATE");
    if sql::query(lock).fetch_one(&mut reading).await?.get::<bool>("closed") {
        return Err(Error::new(ErrorKind::InvalidInput, "this store was moved already"));
    }
    // Audit records of nodes that hold no pen wait, too.
    super::audit::take_head(&mut reading).await?;
    let mut writing = target.begin_write().await?;
    writing.unhurried().await?;
    empty(&mut writing).await?;
    let mut copied = Vec::new();
    for (table, key) in TABLES {
        let (mut rows, mut digest) = (Reading::of(table, key), Digest::new());
        loop {
            let some = rows.next(&mut reading).await?;
            if some.is_empty() {
                break;
            }
            some.iter().for_each(|row| digest.add(row));
            write(&mut writing, table, some).await?;
        }
        copied.push(digest.of(table));
    }
    for (expected, (table, key)) in copied.iter().zip(TABLES) {
        let (mut rows, mut digest) = (Reading::of(table, key), Digest::new());
        loop {
            let some = rows.next(&mut writing).await?;
            if some.is_empty() {
                break;
            }
            some.iter().for_each(|row| digest.add(row));
        }
        let arrived = digest.of(table);
        if arrived != *expected {
            let message = format!("{table}: {} rows were read and {} arrived, or they differ", expected.rows, arrived.rows);
            return Err(unavailable(message));
        }
    }
    copied.push(move_ephemeral(&source_ephemeral, &target_ephemeral, to, (&mut reading, &mut writing), now).await?);
    writing.commit().await?;
    sql::query("UPDATE revision SET closed = 1").execute(&mut reading).await?;
    reading.commit().await?;
    for database in [source, source_ephemeral, target, target_ephemeral] {
        database.close().await;
    }
    Ok(copied)
}

/// Sessions, steps and one-time marks. Nobody has to sign in again.
async fn move_ephemeral(
    source: &Database,
    target: &Database,
    to: &Location,
    (reading, writing): (&mut Tx, &mut Tx),
    now: Timestamp,
) -> Result<CopiedTable, Error> {
    let redis = to.redis.clone().map(Redis::new);
    let (mut rows, mut digest) = (Reading::of("ephemeral", &["key"]), Digest::new());
    // Where they are in the same database, they are in the same transaction.
    let (mut own_reading, mut own_writing) = (None, None);
    let reading = match source {
        Database::Sqlite(_) => own_reading.insert(source.begin_read().await?),
        Database::Postgres(_) => reading,
    };
    let writing = match target {
        Database::Sqlite(_) => own_writing.insert(target.begin_write().await?),
        Database::Postgres(_) => writing,
    };
    loop {
        let some = rows.next(&mut *reading).await?;
        if some.is_empty() {
            break;
        }
        let live: Vec<Cells> = some.into_iter().filter(|row| expires(row) > now.0).collect();
        live.iter().for_each(|row| digest.add(row));
        for row in redis.iter().flat_map(|_| &live) {
            let (Some(redis), Some((kept, owner))) = (&redis, kept(row)) else { continue };
            redis.put(kept, owner.as_deref(), now).await?;
        }
        write(&mut *writing, "ephemeral", live).await?;
    }
    if let Some(tx) = own_writing {
        tx.commit().await?;
    }
    if let Some(tx) = own_reading {
        tx.rollback().await?;
    }
    Ok(digest.of("ephemeral"))
}

fn expires(row: &Cells) -> i64 {
    row.iter().find_map(|(name, value)| matches!(value, Value::Integer(_) if name == "expires").then_some(value)).map_or(
        0,
        |value| match value {
            Value::Integer(Some(number)) => *number,
            Value::Integer(None) | Value::Text(_) | Value::Bytes(_) => 0,
        },
    )
}

fn kept(row: &Cells) -> Option<(Kept, Option<String>)> {
    let of = |wanted: &str| row.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let (Some(Value::Text(Some(key))), Some(Value::Bytes(Some(sealed)))) = (of("key"), of("value")) else { return None };
    let owner = match of("owner") {
        Some(Value::Text(owner)) => owner,
        _ => None,
    };
    Some((Kept { key, sealed, expires: Timestamp(expires(row)) }, owner))
}
