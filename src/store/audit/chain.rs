//! The chain of audit records: each holds the SHA-256 of itself and of the one before it, and now and then the newest is signed.
//!
//! Who changes, removes or inserts a record breaks the chain at that place, and [`ReadTx::verify_audit`] names it. Who rewrites
//! everything from there on needs the signing key, which lies in the store sealed under the master key; a running broker signs nothing
//! that does not follow from what it knew before. Who takes the newest records away with the signatures over them, or rewrites them
//! while no broker runs, leaves a chain that is whole: only a head that was noted elsewhere (every export holds them) shows that, so
//! [`ReadTx::verify_audit`] takes one to look for.
//!
//! Retention removes the oldest records and signs where the chain begins from then on.

use super::AuditEvent;
use crate::{
    crypto::sha256,
    domain::{Error, ErrorKind, Timestamp},
    store::{
        ReadTx, Store,
        keys::SigningKey,
        recordings,
        sql::{self, Database, Dialect, Tx},
        unavailable,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How often the newest record is signed, in seconds, where there is a new one.
pub const SEAL_SECONDS: u64 = 60;
/// About how many records retention removes at once.
const RETENTION_STEP: i64 = 20_000;
/// Records read at once.
const BATCH: i64 = 2_000;
/// What stands before the first record.
const NOTHING: [u8; 32] = [0; 32];

/// The newest record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its position; 0 where there is none.
    pub sequence: i64,
    /// Its hash, in hexadecimal.
    #[serde(with = "hexadecimal")]
    pub hash: Vec<u8>,
}

mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// What a seal says, as the claims of a JWS (RFC 7515, ES256).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct SealClaims {
    /// Where the chain stood.
    #[serde(flatten)]
    head: Head,
    /// When, in seconds.
    iat: i64,
    /// Whether everything up to here was removed by retention.
    #[serde(default)]
    begins: bool,
}

/// The hash of a record that comes after `before`. Every column counts, each with its length.
pub(in crate::store) fn link(before: &[u8], event: &AuditEvent, detail: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512 + detail.len());
    bytes.extend(b"daypass-audit-1");
    bytes.extend(before);
    bytes.extend(event.sequence.to_be_bytes());
    bytes.extend(event.time.0.to_be_bytes());
    let required = [
        &event.event_id,
        &event.event_source,
        &event.event_name,
        &event.account,
        &event.principal,
        &event.source_ip,
        &event.user_agent,
        &event.request_id,
    ];
    let optional = [event.error_code.as_deref(), event.error_message.as_deref(), Some(detail)];
    for text in required.into_iter().map(|text| Some(text.as_str())).chain(optional) {
        let (tag, text) = text.map_or((0, ""), |text| (1, text));
        bytes.push(tag);
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    sha256(&bytes)
}

/// Takes the head, so that nobody else adds a record before this transaction ends.
pub(in crate::store) async fn take_head(tx: &mut Tx) -> Result<Head, Error> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT sequence, hash FROM audit_head",
        Dialect::Postgres => "SELECT sequence, hash FROM audit_head FOR UPDATE",
    };
    let head = sql::query(sql).fetch_one(&mut *tx).await?;
    // Asked once the head is taken: while it was waited for, the store may have been moved.
    let row = sql::query("SELECT closed FROM revision").fetch_one(&mut *tx).await?;
    // Nothing is done without a record: this is where a store that was moved away stops.
    if row.get::<bool>("closed") {
        return Err(unavailable("this organization was moved to another database"));
    }
    Ok(Head { sequence: head.get("sequence"), hash: head.get("hash") })
}

pub(super) async fn put_head(tx: &mut Tx, head: &Head) -> Result<(), Error> {
    let query = sql::query("UPDATE audit_head SET sequence = $1, hash = $2").bind(head.sequence).bind(head.hash.as_slice());
    query.execute(tx).await.map(drop)
}

/// Begins the chain where there is none: with the records of a store that is older than it.
pub(in crate::store) async fn begin(writer: &Database) -> Result<(), Error> {
    if sql::query("SELECT sequence FROM audit_head").fetch_optional(writer).await?.is_some() {
        return Ok(());
    }
    let mut tx = writer.begin_write().await?;
    let mut head = Head { sequence: 0, hash: NOTHING.to_vec() };
    let mut first = 0;
    loop {
        let query = sql::query("SELECT * FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2").bind(head.sequence);
        let rows = query.bind(BATCH).fetch_all(&mut tx).await?;
        let Some(oldest) = rows.first() else { break };
        if head.sequence == 0 {
            first = oldest.get::<i64>("sequence") - 1;
        }
        for row in &rows {
            let event = super::event(row);
            let hash = link(&head.hash, &event, row.get("detail"));
            let query = sql::query("UPDATE audit SET hash = $2 WHERE sequence = $1").bind(event.sequence).bind(hash.as_slice());
            query.execute(&mut tx).await?;
            head = Head { sequence: event.sequence, hash };
        }
    }
    let query =
        sql::query("INSERT INTO audit_head (only_row, sequence, hash, first) VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING");
    query.bind(head.sequence).bind(head.hash.as_slice()).bind(first).execute(&mut tx).await?;
    tx.commit().await
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// How many records are as they were written.
    pub records: u64,
    /// How many signatures hold.
    pub seals: u64,
    /// The oldest record's position less one: what came before was removed by retention.
    pub begins_after: i64,
    /// The newest record. Note it elsewhere: it is what a later verification can look for.
    pub head: Head,
    /// Up to where it is signed. While a broker runs that is everything older than a minute; who took signatures away moved this back.
    pub sealed_to: i64,
    /// The first record that is wrong, where one is.
    pub broken: Option<BrokenLink>,
}

/// Where the chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenLink {
    /// The first position that is wrong.
    pub sequence: i64,
    /// The record that stands there, where one does.
    pub event_id: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl Store {
    /// Signs the newest record where it is not signed yet, and follows from what was.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn seal_audit(&self) -> Result<(), Error> {
        let mut known = self.sealed.lock().await;
        let key = self.audit_key().await?;
        let mut tx = self.readers.begin_read().await?;
        let Ends { first, head } = ends(&mut tx).await?;
        let newest = sql::query("SELECT sequence, jws FROM audit_seal ORDER BY sequence DESC LIMIT 1");
        let newest = newest.fetch_optional(&mut tx).await?.map(|row| (row.get::<i64>("sequence"), row.get::<String>("jws")));
        // What this node knew to be whole; after a start, what was signed last.
        let signed = newest.as_ref().and_then(|(_, jws)| key.verify::<SealClaims>(jws)).map(|claims| claims.head);
        let from = known.clone().or(signed).filter(|from| from.sequence > first);
        let found = match from {
            Some(from) => resume(&mut tx, from, &head).await?,
            // Where the chain begins is signed, and looked at by a verification.
            None => {
                let query = sql::query("SELECT jws FROM audit_seal WHERE sequence = $1").bind(first);
                let row = query.fetch_optional(&mut tx).await?;
                let claims = row.and_then(|row| key.verify::<SealClaims>(row.get("jws")));
                let beginning = claims.map_or(Head { sequence: first, hash: NOTHING.to_vec() }, |claims| claims.head);
                follow(&mut tx, beginning, &head, |_, _| Ok(())).await?
            }
        };
        tx.rollback().await?;
        if let Err(broken) = found {
            metrics::counter!("daypass_audit_broken_total").increment(1);
            return Err(unavailable(format!(
                "the audit log is broken at record {}, and is not signed: {}",
                broken.sequence, broken.reason
            )));
        }
        *known = Some(head.clone());
        if newest.is_some_and(|(sequence, _)| head.sequence <= sequence) || head.sequence == 0 {
            return Ok(());
        }
        let (now, sequence) = (self.clock.now(), head.sequence);
        let jws = key.sign(&SealClaims { head, iat: now.seconds(), begins: false })?;
        let query = sql::query("INSERT INTO audit_seal (sequence, time, jws) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
        query.bind(sequence).bind(now.0).bind(jws).execute(&self.writer).await.map(drop)
    }

    /// Removes records from before an instant, up to the newest signed one among them, and signs where the chain begins now; none that
    /// one of the sinks has not got.
    /// Returns how many went.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn forget_audit(&self, before: Timestamp, sinks: &[&str]) -> Result<u64, Error> {
        let query = sql::query(
            "SELECT coalesce(max(audit_seal.sequence), 0) AS last FROM audit_seal JOIN audit ON audit.sequence = audit_seal.sequence
             WHERE audit_seal.sequence <= $2
               AND (audit_seal.sequence < (SELECT coalesce(min(sequence), 0) FROM audit WHERE time >= $1)
                    OR NOT EXISTS (SELECT 1 FROM audit WHERE time >= $1))",
        );
        // What was not exported yet stays until it is.
        let exported = self.exported_to(sinks).await?;
        let last: i64 = query.bind(before.0).bind(exported).fetch_one(&self.readers).await?.get("last");
        // Step by step: a statement has its time, and others wait meanwhile.
        let step = sql::query(
            "SELECT coalesce(min(audit_seal.sequence), $1) AS step FROM audit_seal, audit_head
             WHERE audit_seal.sequence >= audit_head.first + $2 AND audit_seal.sequence < $1",
        );
        let last: i64 = step.bind(last).bind(RETENTION_STEP).fetch_one(&self.readers).await?.get("step");
        if last == 0 {
            return Ok(0);
        }
        let row = sql::query("SELECT hash FROM audit WHERE sequence = $1").bind(last).fetch_one(&self.readers).await?;
        let now = self.clock.now();
        let claims = SealClaims { head: Head { sequence: last, hash: row.get("hash") }, iat: now.seconds(), begins: true };
        let jws = self.audit_key().await?.sign(&claims)?;
        let mut tx = self.writer.begin_write().await?;
        // Of two nodes that do this one comes first; the other finds nothing left to do.
        let ahead = sql::query("UPDATE audit_head SET first = $1 WHERE first < $1").bind(last).execute(&mut tx).await?;
        if ahead == 0 {
            tx.rollback().await?;
            return Ok(0);
        }
        // The last one that goes is the new beginning: its hash stays, in the seal.
        let seal = "INSERT INTO audit_seal (sequence, time, jws) VALUES ($1, $2, $3)
                    ON CONFLICT (sequence) DO UPDATE SET time = $2, jws = $3";
        sql::query(seal).bind(last).bind(now.0).bind(jws).execute(&mut tx).await?;
        let gone = sql::query("DELETE FROM audit WHERE sequence <= $1").bind(last).execute(&mut tx).await?;
        sql::query("DELETE FROM audit_seal WHERE sequence < $1").bind(last).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

impl ReadTx<'_> {
    /// Walks the whole chain: every record's hash, every signature, the beginning and the end; and that a head which was noted
    /// before is part of it.
    ///
    /// # Errors
    /// `Unavailable`; `InvalidInput` when the noted head is none.
    pub async fn verify_audit(&self, noted: Option<&Head>) -> Result<ChainReport, Error> {
        let key = self.store.audit_key().await?;
        // One state of the store: what is added or removed while it is read is for the next time.
        let mut tx = self.store.readers.begin_read().await?;
        tx.unhurried().await?;
        let Ends { first, head } = ends(&mut tx).await?;
        let seals = sql::query("SELECT sequence, jws FROM audit_seal ORDER BY sequence").fetch_all(&mut tx).await?;
        let seals = seals.iter().map(|row| (row.get("sequence"), row.get("jws"))).collect();
        let mut report =
            ChainReport { records: 0, seals: 0, begins_after: first, head: head.clone(), sealed_to: first, broken: None };
        let mut walk = Walk { seals, key: &key, noted, report: &mut report };
        let found = walk.from(&mut tx, first, &head).await?;
        // A signature over what is not there any more.
        let left = walk.seals.back().map(|(sequence, _)| *sequence);
        tx.rollback().await?;
        let cut = || left.map(|left| broken(head.sequence + 1, None, format!("records up to {left} were removed")));
        report.broken = found.err().or_else(cut);
        Ok(report)
    }
}

/// Both ends of the chain.
struct Ends {
    /// What was removed by retention.
    first: i64,
    head: Head,
}

async fn ends(tx: &mut Tx) -> Result<Ends, Error> {
    let row = sql::query("SELECT sequence, hash, first FROM audit_head").fetch_one(tx).await?;
    Ok(Ends { first: row.get("first"), head: Head { sequence: row.get("sequence"), hash: row.get("hash") } })
}

type Step = Result<(), BrokenLink>;

fn broken(sequence: i64, event_id: Option<&str>, reason: impl Into<String>) -> BrokenLink {
    BrokenLink { sequence, event_id: event_id.map(str::to_owned), reason: reason.into() }
}

/// [`follow`], from a record that is there and has to be what it was.
async fn resume(tx: &mut Tx, from: Head, to: &Head) -> Result<Step, Error> {
    let row = sql::query("SELECT hash FROM audit WHERE sequence = $1").bind(from.sequence).fetch_optional(&mut *tx).await?;
    if row.and_then(|row| row.get::<Option<Vec<u8>>>("hash")).as_ref() != Some(&from.hash) {
        return Ok(Err(broken(from.sequence, None, "the record, or one before it, is another than it was")));
    }
    follow(tx, from, to, |_, _| Ok(())).await
}

/// Reads the records after one that is known, up to another: each is in its place, linked to the one before, and has the recording
/// that was written with it, where that is still kept. `look` looks at what else there is.
async fn follow(
    tx: &mut Tx,
    mut at: Head,
    to: &Head,
    mut look: impl FnMut(&Head, &AuditEvent) -> Step + Send,
) -> Result<Step, Error> {
    while at.sequence < to.sequence {
        let query = sql::query("SELECT * FROM audit WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence LIMIT $3");
        let rows = query.bind(at.sequence).bind(to.sequence).bind(BATCH).fetch_all(&mut *tx).await?;
        if rows.is_empty() {
            return Ok(Err(broken(at.sequence + 1, None, "records up to the end were removed")));
        }
        let mut recorded = Vec::new();
        for row in &rows {
            let event = super::event(row);
            if event.sequence != at.sequence + 1 {
                return Ok(Err(broken(at.sequence + 1, None, "the record was removed")));
            }
            let hash = link(&at.hash, &event, row.get("detail"));
            if row.get::<Option<Vec<u8>>>("hash").as_ref() != Some(&hash) {
                return Ok(Err(broken(event.sequence, Some(&event.event_id), "the record was changed")));
            }
            at = Head { sequence: event.sequence, hash };
            if let Err(broken) = look(&at, &event) {
                return Ok(Err(broken));
            }
            recorded.extend(recordings::digest_of(&event.detail).map(|digest| (event.sequence, event.event_id, digest)));
        }
        if let Some((sequence, event_id)) = recordings::altered(tx, recorded).await? {
            return Ok(Err(broken(sequence, Some(&event_id), "the recording beside the record was changed")));
        }
        tokio::task::yield_now().await;
    }
    Ok(if at == *to { Ok(()) } else { Err(broken(to.sequence, None, "the end of the chain was changed")) })
}

/// What a verification looks at besides the links.
struct Walk<'w> {
    /// The oldest first.
    seals: VecDeque<(i64, String)>,
    key: &'w SigningKey,
    noted: Option<&'w Head>,
    report: &'w mut ChainReport,
}

impl Walk<'_> {
    async fn from(&mut self, tx: &mut Tx, first: i64, end: &Head) -> Result<Step, Error> {
        if let Some(noted) = self.noted {
            if noted.sequence <= first {
                let message = format!("record {} is from before the oldest one that is kept", noted.sequence);
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            if noted.sequence > end.sequence {
                return Ok(Err(broken(end.sequence + 1, None, format!("records up to {} were removed", noted.sequence))));
            }
        }
        match self.beginning(first) {
            Ok(beginning) => {
                follow(tx, beginning, end, |at, event| {
                    self.report.records += 1;
                    self.sealed(at, &event.event_id)
                })
                .await
            }
            Err(broken) => Ok(Err(broken)),
        }
    }

    /// What stands before the first record: nothing, or what retention signed.
    fn beginning(&mut self, first: i64) -> Result<Head, BrokenLink> {
        let Some((sequence, jws)) = self.seals.front().cloned() else {
            return if first == 0 {
                Ok(Head { sequence: 0, hash: NOTHING.to_vec() })
            } else {
                Err(broken(first, None, "the beginning of the chain is not signed"))
            };
        };
        if sequence > first {
            // A store that is older than its chain may begin with a later record; then the first seal covers it.
            return Ok(Head { sequence: first, hash: NOTHING.to_vec() });
        }
        let claims: Option<SealClaims> = self.key.verify(&jws);
        match claims.filter(|claims| claims.begins && claims.head.sequence == first && sequence == first) {
            Some(claims) => {
                self.seals.pop_front();
                self.report.seals += 1;
                Ok(claims.head)
            }
            None => Err(broken(first, None, "the beginning of the chain was changed")),
        }
    }

    /// Where this record was signed: by us, and as it is; and where it was noted.
    fn sealed(&mut self, at: &Head, event_id: &str) -> Step {
        if self.noted.is_some_and(|noted| noted.sequence == at.sequence && noted.hash != at.hash) {
            return Err(broken(
                at.sequence,
                Some(event_id),
                "the record, or one before it, is another than the one that was noted",
            ));
        }
        if self.seals.front().is_none_or(|(sequence, _)| *sequence != at.sequence) {
            return Ok(());
        }
        let Some((_, jws)) = self.seals.pop_front() else { return Ok(()) };
        match self.key.verify::<SealClaims>(&jws) {
            Some(claims) if claims.head == *at => {
                self.report.seals += 1;
                self.report.sealed_to = at.sequence;
                Ok(())
            }
            Some(_) => Err(broken(
                at.sequence,
                Some(event_id),
                "the record, or one before it, was changed: the signature is over another",
            )),
            None => Err(broken(at.sequence, Some(event_id), "the signature over this record is not ours")),
        }
    }
}

/// A head as people write it: `<sequence>:<hash in hexadecimal>`.
impl std::str::FromStr for Head {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (sequence, hash) = text.split_once(':')?;
            let hash = hex::decode(hash).ok().filter(|hash| hash.len() == 32)?;
            Some(Self { sequence: sequence.parse().ok()?, hash })
        };
        read().ok_or_else(|| Error::invalid(format!("`{text}` is no head of an audit log: expected NUMBER:HASH")))
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(&self.hash))
    }
}
