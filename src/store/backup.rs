//! Backups: one state of the store as a stream, sealed under a passphrase, with the master key in it.
//!
//! The file is a line (`daypass-backup 1`, salt and id in hexadecimal), then sealed parts: four bytes of length, and AES-256-GCM over a
//! piece of a gzip stream. Each part is bound to the backup's id, its number, and whether it is the last: parts can't be swapped,
//! mixed or cut off. Inside are lines of JSON: a header with the master key, then each table's name and its rows, then the digest of
//! every table.
//!
//! Sessions, steps and one-time marks are not in it: after a restore everybody signs in anew, and nothing that was used up can be
//! used again.

use super::{
    Location, Store,
    copy::{self, Cells, CopiedTable, Digest, Reading, TABLES},
    sql::{self, Value},
    unavailable,
};
use crate::{
    crypto::seal::{self, KeyRing, Purpose, RingKey},
    domain::{Error, ErrorKind, Random, Secret, Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use std::{
    io::{BufRead as _, BufReader, Error as IoError, Read, Write},
    sync::Arc,
};

const MAGIC: &str = "daypass-backup 1";
/// Bytes of a part before it is sealed.
const PART: usize = 256 * 1024;
/// Longest sealed part that is read.
const MAX_PART: usize = PART + 1024;
/// Rows written at once.
const BATCH: usize = 500;

#[derive(Serialize, Deserialize)]
struct Header {
    created: Timestamp,
    #[serde(serialize_with = "Secret::reveal")]
    master_key: Secret<String>,
}

#[derive(Serialize, Deserialize)]
struct TableHead {
    table: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: Vec<(String, u64, String)>,
}

fn no_backup(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("this is no backup that can be restored: {why}"))
}

fn ring(passphrase: &Secret<String>, salt: &[u8], random: Arc<dyn Random>) -> Result<KeyRing, Error> {
    let key = seal::key_of_passphrase(passphrase, salt).map_err(Error::internal)?;
    KeyRing::new(&[RingKey { id: 1, key, seals: true }], random).map_err(Error::internal)
}

fn context(id: &str, number: u64, last: bool) -> String {
    format!("{id}/{number}/{}", if last { "last" } else { "more" })
}

/// Seals what is written to it, part by part.
struct Sealing<W> {
    to: W,
    ring: KeyRing,
    id: String,
    number: u64,
    part: Vec<u8>,
}

impl<W: Write> Sealing<W> {
    fn seal(&mut self, last: bool) -> std::io::Result<()> {
        let sealed = self.ring.seal(Purpose::Backup, &context(&self.id, self.number, last), &self.part);
        let sealed = sealed.map_err(|_| IoError::other("it can't be sealed"))?;
        self.to.write_all(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        self.to.write_all(&sealed)?;
        self.number += 1;
        self.part.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.part.len() >= PART {
            self.seal(false)?;
        }
        let some = bytes.get(..bytes.len().min(PART - self.part.len())).unwrap_or_default();
        self.part.extend_from_slice(some);
        Ok(some.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Opens what [`Sealing`] sealed. Bytes are given out once their part was opened, and the end only after the last part.
struct Opening<R> {
    from: R,
    ring: KeyRing,
    id: String,
    number: u64,
    part: std::io::Cursor<Vec<u8>>,
    over: bool,
}

impl<R: Read> Opening<R> {
    fn open(&mut self) -> std::io::Result<()> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_PART {
            return Err(IoError::other("a part is too long"));
        }
        let mut sealed = vec![0; length];
        self.from.read_exact(&mut sealed)?;
        for last in [false, true] {
            if let Some(part) = self.ring.open(Purpose::Backup, &context(&self.id, self.number, last), &sealed) {
                self.number += 1;
                self.over = last;
                self.part = std::io::Cursor::new(part);
                return Ok(());
            }
        }
        let why = if self.number == 0 { "the passphrase is another one, or it was altered" } else { "it was altered" };
        Err(IoError::other(why))
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.part.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.over {
                return Ok(read);
            }
            self.open()?;
        }
    }
}

fn line(to: &mut impl Write, value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec(value).map_err(Error::internal)?;
    text.push(b'\n');
    to.write_all(&text).map_err(unavailable)
}

fn plain(row: Cells) -> Map<String, serde_json::Value> {
    let cell = |(name, value)| {
        let value = match value {
            Value::Text(text) => json!({ "t": text }),
            Value::Integer(number) => json!({ "i": number }),
            Value::Bytes(bytes) => json!({ "b": bytes.map(|bytes| STANDARD.encode(bytes)) }),
        };
        (name, value)
    };
    row.into_iter().map(cell).collect()
}

#[derive(Deserialize)]
enum Cell {
    #[serde(rename = "t")]
    Text(Option<String>),
    #[serde(rename = "i")]
    Integer(Option<i64>),
    #[serde(rename = "b")]
    Bytes(Option<String>),
}

fn cells(text: &str) -> Option<Cells> {
    // Columns stay in the order in which they were written.
    let row: Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let read = |(name, value): (String, serde_json::Value)| {
        let value = match serde_json::from_value(value).ok()? {
            Cell::Text(text) => Value::Text(text),
            Cell::Integer(number) => Value::Integer(number),
            Cell::Bytes(None) => Value::Bytes(None),
            Cell::Bytes(Some(bytes)) => Value::Bytes(Some(STANDARD.decode(bytes).ok()?)),
        };
        Some((name, value))
    };
    row.into_iter().map(read).collect()
}

impl Store {
    /// Writes a backup: one state, whatever is changed meanwhile.
    ///
    /// # Errors
    /// `Unavailable` when the store can't be read or the backup not written: then what was written is no backup.
    pub async fn back_up(
        &self,
        to: impl Write + Send,
        passphrase: &Secret<String>,
        master_key: &Secret<[u8; 32]>,
    ) -> Result<Vec<CopiedTable>, Error> {
        let (salt, id): ([u8; 16], [u8; 16]) = (self.random.bytes(), self.random.bytes());
        let ring = ring(passphrase, &salt, self.random.clone())?;
        let mut to = to;
        writeln!(to, "{MAGIC} {} {}", hex::encode(salt), hex::encode(id)).map_err(unavailable)?;
        let sealing = Sealing { to, ring, id: hex::encode(id), number: 0, part: Vec::with_capacity(PART) };
        let mut zipped = GzEncoder::new(sealing, Compression::fast());
        let master_key = Secret::new(STANDARD.encode(master_key.expose()));
        line(&mut zipped, &Header { created: self.clock.now(), master_key })?;
        let mut tx = self.readers.begin_read().await?;
        tx.unhurried().await?;
        let mut copied = Vec::new();
        for (table, key) in TABLES {
            line(&mut zipped, &TableHead { table: (*table).to_owned() })?;
            let (mut rows, mut digest) = (Reading::of(table, key), Digest::new());
            loop {
                let some = rows.next(&mut tx).await?;
                if some.is_empty() {
                    break;
                }
                for row in some {
                    digest.add(&row);
                    line(&mut zipped, &plain(row))?;
                }
            }
            copied.push(digest.of(table));
        }
        tx.rollback().await?;
        let end = copied.iter().map(|table| (table.table.clone(), table.rows, table.digest.clone())).collect();
        line(&mut zipped, &End { end })?;
        let mut sealing = zipped.finish().map_err(unavailable)?;
        sealing.seal(true).map_err(unavailable)?;
        sealing.to.flush().map_err(unavailable)?;
        Ok(copied)
    }
}

/// What a restore brought back.
#[derive(Debug)]
pub struct Restored {
    /// When the backup was made.
    pub created: Timestamp,
    /// Its tables.
    pub tables: Vec<CopiedTable>,
}

/// Restores a backup into an empty store. `keep` puts the master key into its place, before anything else. Every session from before
/// `now` is over.
///
/// # Errors
/// `InvalidInput` when the passphrase is another one, the file was altered or cut off, or there is an organization already;
/// nothing was changed then but that
/// the master key may be in its place. `Unavailable` when the database can't be reached.
pub async fn restore(
    location: &Location,
    from: impl Read + Send,
    passphrase: &Secret<String>,
    random: Arc<dyn Random>,
    now: Timestamp,
    keep: impl FnOnce(&Secret<[u8; 32]>) -> Result<(), Error>,
) -> Result<Restored, Error> {
    let mut from = BufReader::new(from);
    let mut first = Vec::new();
    from.by_ref().take(200).read_until(b'\n', &mut first).map_err(no_backup)?;
    let first = String::from_utf8(first).map_err(|_| no_backup("it does not begin like one"))?;
    let rest = first.trim_end().strip_prefix(MAGIC).ok_or_else(|| no_backup("it does not begin like one"))?;
    let (salt, id) = rest.trim_start().split_once(' ').ok_or_else(|| no_backup("it does not begin like one"))?;
    let salt = hex::decode(salt).map_err(no_backup)?;
    let ring = ring(passphrase, &salt, random)?;
    let opening = Opening { from, ring, id: id.to_owned(), number: 0, part: std::io::Cursor::default(), over: false };
    let mut lines = BufReader::new(GzDecoder::new(opening)).lines();
    let mut next = || lines.next().transpose().map_err(no_backup)?.ok_or_else(|| no_backup("it ends too early"));
    let header: Header = serde_json::from_str(&next()?).map_err(no_backup)?;
    let master_key = STANDARD.decode(header.master_key.expose()).ok().and_then(|key| key.try_into().ok());
    let master_key = Secret::new(master_key.ok_or_else(|| no_backup("its master key is none"))?);
    let (database, ephemeral) = copy::open(location).await?;
    let mut tx = database.begin_write().await?;
    tx.unhurried().await?;
    copy::empty(&mut tx).await?;
    keep(&master_key)?;
    let mut tables: Vec<CopiedTable> = Vec::new();
    let mut table: Option<(&'static str, Digest, Vec<Cells>)> = None;
    let end = loop {
        let text = next()?;
        if let (Some((name, digest, rows)), Some(row)) = (&mut table, cells(&text)) {
            digest.add(&row);
            rows.push(row);
            if rows.len() >= BATCH {
                copy::write(&mut tx, name, std::mem::take(rows)).await?;
            }
            continue;
        }
        if let Some((name, digest, rows)) = table.take() {
            copy::write(&mut tx, name, rows).await?;
            tables.push(digest.of(name));
        }
        if let Ok(head) = serde_json::from_str::<TableHead>(&text) {
            let known = TABLES.iter().find(|(name, _)| *name == head.table);
            let (name, _) = known.ok_or_else(|| no_backup(format!("it has the unknown table {}", head.table)))?;
            table = Some((name, Digest::new(), Vec::new()));
            continue;
        }
        break serde_json::from_str::<End>(&text).map_err(no_backup)?;
    };
    let arrived = tables.iter().map(|table| (table.table.clone(), table.rows, table.digest.clone())).collect::<Vec<_>>();
    if arrived != end.end || lines.next().is_some() {
        return Err(no_backup("its tables are not what was written"));
    }
    // What ended after the backup was made does not come back, and nothing from then is accepted anew: with the rows, or not at all.
    sql::query("UPDATE revision SET revocations = revocations + 1").execute(&mut tx).await?;
    let everything =
        "INSERT INTO revocation (scope, value, before, sequence) SELECT 'everything', '', $1, revocations FROM revision
                      WHERE 1 = 1 ON CONFLICT (scope, value) DO UPDATE SET before = $1, sequence = excluded.sequence";
    sql::query(everything).bind(now.0).execute(&mut tx).await?;
    tx.commit().await?;
    database.close().await;
    ephemeral.close().await;
    Ok(Restored { created: header.created, tables })
}
