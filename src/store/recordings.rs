//! The flight recorder's store: every check of a sign-in, by name, with what was expected and received, and the claims.
//!
//! A recording is written in the same transaction as its audit record, which keeps no claim but who it was. Recordings go after
//! some days; the audit log stays.

use super::{
    AuditRecord, ReadTx, Store,
    sql::{self, Row, Tx, Value as SqlValue},
};
use crate::{
    crypto::sha256_hex,
    domain::{Error, Timestamp, session::IdentityAssertion},
};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The note of an audit record that becomes a recording.
const CHECKS: &str = "checks";
/// The note with the assertion.
const IDENTITY: &str = "identity";
/// The note of an audit record that has a recording: its [`digest`], so that the chain covers it.
const RECORDED: &str = "recorded";
/// Recorded even where it got to no check.
pub(super) const SIGN_IN: &str = "CompleteSignIn";

/// What a person reads out to their administrator: the beginning of the request's id.
#[must_use]
pub fn reference(request_id: &str) -> String {
    request_id.chars().take(8).collect::<String>().to_uppercase()
}

/// One recorded attempt.
#[derive(Clone, Debug)]
pub struct RecordedAttempt {
    /// Its audit record.
    pub event_id: String,
    /// When.
    pub time: Timestamp,
    /// `CompleteSignIn`, or the operation that an assertion was presented to.
    pub event_name: String,
    /// Name of the source; empty where it is not known.
    pub source: String,
    /// See [`reference`].
    pub reference: String,
    /// Class and reason of the failure; none when it succeeded.
    pub error: Option<(String, String)>,
    /// The checks, as they were recorded.
    pub checks: Value,
    /// Who it was, with every claim; none where nobody was identified.
    pub identity: Option<IdentityAssertion>,
    /// Whether an administrator tried a source: no session came of it.
    pub test: bool,
}

/// Which attempts are looked for; empty fields don't matter.
#[derive(Clone, Debug, Default)]
pub struct RecordingFilter {
    /// Part of a subject, name or e-mail address.
    pub person: String,
    /// Name of a source.
    pub source: String,
    /// The beginning of a reference.
    pub reference: String,
    /// Failures alone.
    pub failed: bool,
}

/// Whether a record holds something for the recorder.
pub(super) fn is_recorded(record: &AuditRecord) -> bool {
    record.notes.0.contains_key(CHECKS) || record.event_name == SIGN_IN
}

/// What of an audit record goes into the recorder instead.
pub(super) struct Split {
    checks: Value,
    identity: Option<Value>,
}

impl Split {
    /// Takes checks and claims out of a record's details.
    pub(super) fn take(record: &mut AuditRecord) -> Option<Self> {
        let recorded = is_recorded(record);
        let (checks, identity) = (record.notes.0.remove(CHECKS), record.notes.0.remove(IDENTITY));
        if let Some(identity) = &identity {
            let of = |name: &str| identity.get(name).cloned().unwrap_or_default();
            record.note(IDENTITY, json!({ "provider": identity.get("provider"), "subject": of("subject"), "name": of("name") }));
        }
        if !recorded {
            return None;
        }
        let split = Self { checks: checks.unwrap_or_else(|| json!([])), identity };
        record.note(RECORDED, digest(&split.columns(record)));
        Some(split)
    }

    /// The recording, as it is stored: [`TEXTS`], whether it was a test, and when.
    fn columns(&self, record: &AuditRecord) -> [Option<String>; 10] {
        // One of the databases knows no text with this character.
        let text = |text: &str| Some(text.replace('\0', "\u{fffd}"));
        let (code, message) = record.error.as_ref().map(|(code, message)| (code.as_str(), message.as_str())).unzip();
        [
            text(record.event_name),
            text(record.notes.0.get("source").and_then(Value::as_str).unwrap_or_default()),
            text(&reference(&record.request_id)),
            text(&self.person()),
            code.and_then(text),
            message.and_then(text),
            Some(self.checks.to_string()),
            self.identity.as_ref().map(ToString::to_string),
            Some(i64::from(record.notes.0.contains_key("test")).to_string()),
            Some(record.time.0.to_string()),
        ]
    }

    /// Text that a search for a person goes through, in lower case.
    fn person(&self) -> String {
        let words = |value: &Value| value.as_str().map(str::to_lowercase);
        let of = |name: &str| self.identity.as_ref().and_then(|identity| identity.get(name)).and_then(words);
        let mut found: Vec<String> = ["subject", "name", "email"].into_iter().filter_map(of).collect();
        // Somebody whose sign-in failed is known by what the check of the subject received.
        let checks = self.checks.as_array().into_iter().flatten();
        found.extend(checks.filter(|check| check["check"] == "subject").filter_map(|check| words(&check["received"])));
        found.join(" ")
    }
}

/// Columns of text.
const TEXTS: [&str; 8] = ["event_name", "source", "reference", "person", "error_code", "error_message", "checks", "identity"];

/// SHA-256 of a recording, in hexadecimal.
fn digest(columns: &[Option<String>; 10]) -> String {
    sha256_hex(json!(columns).to_string())
}

/// The same of what is stored.
fn digest_of_row(row: &Row) -> String {
    let [name, source, reference, person, code, message, checks, identity] = TEXTS.map(|column| row.get(column));
    let (test, time) = (i64::from(row.get::<bool>("test")), row.get::<i64>("time"));
    let numbers = [test, time].map(|number| Some(number.to_string()));
    let [test, time] = numbers;
    digest(&[name, source, reference, person, code, message, checks, identity, test, time])
}

/// The digest that an audit record holds; none where it has no recording.
pub(super) fn digest_of(detail: &Value) -> Option<String> {
    detail.get(RECORDED)?.as_str().map(str::to_owned)
}

/// The first of these records, given with position and digest, whose recording is another than it was. One that is gone was removed
/// after its days.
pub(super) async fn altered(tx: &mut Tx, records: Vec<(i64, String, String)>) -> Result<Option<(i64, String)>, Error> {
    if records.is_empty() {
        return Ok(None);
    }
    let mut query = sql::query("SELECT * FROM recording WHERE event_id IN (");
    query.push_list(records.iter().map(|(_, event_id, _)| event_id)).push(")");
    let rows = query.fetch_all(tx).await?;
    let kept: HashMap<String, String> = rows.iter().map(|row| (row.get("event_id"), digest_of_row(row))).collect();
    let other = |(_, event_id, digest): &(i64, String, String)| kept.get(event_id).is_some_and(|kept| kept != digest);
    Ok(records.into_iter().find(other).map(|(sequence, event_id, _)| (sequence, event_id)))
}

/// Writes recordings beside their audit records.
pub(super) async fn write_all(recorded: &[(&AuditRecord, Split)], tx: &mut Tx) -> Result<(), Error> {
    if recorded.is_empty() {
        return Ok(());
    }
    let mut query = sql::query(
        "INSERT INTO recording (event_id, time, test, event_name, source, reference, person, error_code, error_message,
                                checks, identity) ",
    );
    let row = |(record, split): &(&AuditRecord, Split)| -> Vec<SqlValue> {
        let [name, source, reference, person, code, message, checks, identity, ..] = split.columns(record);
        let test = record.notes.0.contains_key("test");
        let texts = [name, source, reference, person, code, message, checks, identity].map(SqlValue::from);
        [(&record.event_id).into(), record.time.0.into(), test.into()].into_iter().chain(texts).collect()
    };
    query.push_rows(recorded.iter().map(row));
    query.execute(tx).await.map(drop)
}

impl ReadTx<'_> {
    /// The newest attempts that fit.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn recordings(&self, filter: &RecordingFilter, limit: u32) -> Result<Vec<RecordedAttempt>, Error> {
        let mut query = sql::query("SELECT * FROM recording WHERE 1 = 1");
        if !filter.person.is_empty() {
            query.push(" AND instr(person, ").push_bind(filter.person.to_lowercase()).push(") > 0");
        }
        if !filter.source.is_empty() {
            query.push(" AND source = ").push_bind(filter.source.clone());
        }
        if !filter.reference.is_empty() {
            query.push(" AND instr(reference, ").push_bind(filter.reference.to_uppercase()).push(") = 1");
        }
        if filter.failed {
            query.push(" AND error_code IS NOT NULL");
        }
        query.push(" ORDER BY time DESC LIMIT ").push_bind(limit);
        let rows = query.fetch_all(&self.store.readers).await?;
        Ok(rows.iter().map(attempt).collect())
    }

    /// One attempt.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn recording(&self, event_id: &str) -> Result<Option<RecordedAttempt>, Error> {
        let query = sql::query("SELECT * FROM recording WHERE event_id = $1").bind(event_id);
        Ok(query.fetch_optional(&self.store.readers).await?.as_ref().map(attempt))
    }
}

impl Store {
    /// Removes recordings from before an instant.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn forget_recordings(&self, before: Timestamp) -> Result<(), Error> {
        let delete = sql::query("DELETE FROM recording WHERE time < $1").bind(before.0);
        delete.execute(&self.writer).await.map(drop)
    }
}

fn attempt(row: &Row) -> RecordedAttempt {
    let code: Option<String> = row.get("error_code");
    let message: Option<String> = row.get("error_message");
    let identity: Option<String> = row.get("identity");
    RecordedAttempt {
        event_id: row.get("event_id"),
        time: Timestamp(row.get("time")),
        event_name: row.get("event_name"),
        source: row.get("source"),
        reference: row.get("reference"),
        error: code.map(|code| (code, message.unwrap_or_default())),
        checks: serde_json::from_str(&row.get::<String>("checks")).unwrap_or_default(),
        identity: identity.and_then(|text| serde_json::from_str(&text).ok()),
        test: row.get("test"),
    }
}
