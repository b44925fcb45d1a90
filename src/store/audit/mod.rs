//! Audit records, in CloudTrail's words.

mod chain;
mod ledger;
mod sinks;

pub use chain::{BrokenLink, ChainReport, Head, SEAL_SECONDS};
pub(super) use chain::{begin as begin_chain, take_head};
pub(super) use ledger::Ledger;

use super::{
    ReadTx,
    recordings::{self, Split},
    sql::{self, Row, Tx},
};
use crate::domain::{Error, Timestamp, name::AccountId, session::Caller};
use serde_json::{Map, Value, json};
use std::sync::{Mutex, PoisonError};

/// Most refusals of anonymous callers on record in one minute. Beyond it they are in the log alone: strangers can't fill
/// the disk. What succeeds, and what known callers are refused, is always on record.
pub const STRANGER_REFUSALS_PER_MINUTE: u32 = 1000;

/// Counts refusals of strangers, minute by minute.
#[derive(Debug, Default)]
pub(super) struct RefusalBudget(Mutex<(i64, u32)>);

impl RefusalBudget {
    /// Whether this record may be written.
    pub(super) fn allows(&self, record: &AuditRecord) -> bool {
        if !record.is_stranger_refused() {
            return true;
        }
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = record.time.seconds().div_euclid(60);
        if budget.0 != minute {
            *budget = (minute, 0);
        }
        budget.1 = budget.1.saturating_add(1);
        budget.1 <= STRANGER_REFUSALS_PER_MINUTE
    }
}

/// The detail that is CloudTrail's element `userIdentity`.
pub const USER_IDENTITY: &str = "userIdentity";
/// The detail that says what is good once and came again: somebody has what is not theirs. Such a record is written whatever
/// else strangers are refused.
pub const REUSED: &str = "reused";
/// The detail that is CloudTrail's element `requestParameters`.
pub const REQUEST_PARAMETERS: &str = "requestParameters";

/// What a record will say besides who did what: details by name. Never a secret.
#[derive(Clone, Debug, Default)]
pub struct Notes(pub(super) Map<String, Value>);

impl Notes {
    /// Adds a detail.
    pub fn note(&mut self, key: &str, value: impl serde::Serialize) {
        if let Ok(value) = serde_json::to_value(value)
            && !value.is_null()
        {
            self.0.insert(key.to_owned(), value);
        }
    }
}

/// A record being written. It is opened before the work begins and closed with its outcome.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    pub(super) event_id: String,
    event_source: &'static str,
    pub(super) event_name: &'static str,
    account: String,
    principal: String,
    stranger: bool,
    source_ip: String,
    user_agent: String,
    pub(super) request_id: String,
    pub(super) time: Timestamp,
    pub(super) error: Option<(String, String)>,
    pub(super) notes: Notes,
}

impl AuditRecord {
    /// Opens a record: who calls what, from where. `account` is where the event belongs.
    #[must_use]
    pub fn open(
        event_id: String,
        event_source: &'static str,
        event_name: &'static str,
        account: String,
        caller: &Caller,
        mut notes: Notes,
    ) -> Self {
        notes.note(USER_IDENTITY, caller.user_identity());
        Self {
            event_id,
            event_source,
            event_name,
            account,
            principal: caller.describe(),
            stranger: caller.is_stranger(),
            source_ip: caller.origin.source_ip.to_string(),
            user_agent: caller.origin.user_agent.clone(),
            request_id: caller.origin.request_id.clone(),
            time: caller.origin.time,
            error: None,
            notes,
        }
    }

    /// Adds a detail. Never a secret.
    pub fn note(&mut self, key: &str, value: impl serde::Serialize) {
        self.notes.note(key, value);
    }

    /// What the permit allowed.
    pub(super) fn basis(&mut self, actions: &[String]) {
        self.note("allowed", actions);
    }

    /// Closes the record with a failure, private reason included: it is for the admin who reads it.
    pub fn fail(&mut self, error: &Error) {
        // Strangers have a say in reasons, not in their length.
        let message = error.private.as_ref().unwrap_or(&error.public).chars().take(2000).collect();
        self.error = Some((format!("{:?}", error.kind), message));
    }

    /// Counts it for who watches: no names of people, and nothing that strangers can make up.
    fn count(&self) {
        let outcome = if self.error.is_none() { "ok" } else { "failed" };
        metrics::counter!("daypass_audit_records_total", "outcome" => outcome).increment(1);
        if self.event_name == recordings::SIGN_IN {
            let text = |name: &str| self.notes.0.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
            let reason = self.error.as_ref().map_or_else(String::new, |(kind, message)| {
                // Refusals begin with their code.
                let code = message.split(':').next().filter(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
                code.filter(|code| code.len() < 60).map_or_else(|| kind.clone(), str::to_owned)
            });
            let labels = [("source", text("source")), ("outcome", outcome.to_owned()), ("reason", reason)];
            metrics::counter!("daypass_sign_ins_total", &labels).increment(1);
        }
    }

    /// As it will be read back, at its place; and its details as they are stored.
    fn event(&self, sequence: i64) -> (AuditEvent, String) {
        // One of the databases knows no text with this character, and the hash is over what is stored.
        let text = |text: &str| text.replace('\0', "\u{fffd}");
        let event = AuditEvent {
            sequence,
            event_id: text(&self.event_id),
            time: self.time,
            event_source: self.event_source.to_owned(),
            event_name: self.event_name.to_owned(),
            account: text(&self.account),
            principal: text(&self.principal),
            source_ip: text(&self.source_ip),
            user_agent: text(&self.user_agent),
            request_id: text(&self.request_id),
            error_code: self.error.as_ref().map(|(code, _)| text(code)),
            error_message: self.error.as_ref().map(|(_, message)| text(message)),
            detail: Value::Null,
            hash: None,
        };
        (event, serde_json::to_string(&self.notes.0).unwrap_or_default())
    }

    /// Whether nobody in particular was refused something: what strangers can cause without end.
    fn is_stranger_refused(&self) -> bool {
        self.error.is_some() && self.stranger && !self.notes.0.contains_key(REUSED)
    }
}

/// Writes records, and what they hold for the recorder.
pub(super) async fn write_all(records: &mut [AuditRecord], tx: &mut Tx) -> Result<(), Error> {
    let splits: Vec<Option<Split>> = records.iter_mut().map(Split::take).collect();
    let recorded: Vec<(&AuditRecord, Split)> =
        records.iter().zip(splits).filter_map(|(record, split)| split.map(|split| (record, split))).collect();
    // First: an audit record that speaks of a recording is not written without it.
    recordings::write_all(&recorded, tx).await?;
    let mut head = chain::take_head(tx).await?;
    let mut rows = Vec::with_capacity(records.len());
    for record in records.iter() {
        let (event, detail) = record.event(head.sequence + 1);
        let hash = chain::link(&head.hash, &event, &detail);
        rows.push(vec![
            event.sequence.into(),
            event.event_id.into(),
            event.time.0.into(),
            event.event_source.into(),
            event.event_name.into(),
            event.account.into(),
            event.principal.into(),
            event.source_ip.into(),
            event.user_agent.into(),
            event.request_id.into(),
            event.error_code.into(),
            event.error_message.into(),
            detail.into(),
            hash.as_slice().into(),
        ]);
        head = Head { sequence: event.sequence, hash };
    }
    let mut query = sql::query(
        "INSERT INTO audit (sequence, event_id, time, event_source, event_name, account, principal, source_ip, user_agent,
                            request_id, error_code, error_message, detail, hash) ",
    );
    query.push_rows(rows);
    query.execute(&mut *tx).await?;
    chain::put_head(tx, &head).await?;
    records.iter().for_each(AuditRecord::count);
    Ok(())
}

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// Position in the log.
    pub sequence: i64,
    /// Unique.
    pub event_id: String,
    /// When it happened.
    pub time: Timestamp,
    /// For example `sts`.
    pub event_source: String,
    /// The operation.
    pub event_name: String,
    /// Where it belongs.
    pub account: String,
    /// Who.
    pub principal: String,
    /// From where.
    pub source_ip: String,
    /// With what.
    pub user_agent: String,
    /// In which request.
    pub request_id: String,
    /// Class of the failure, none when it succeeded.
    pub error_code: Option<String>,
    /// Its reason.
    pub error_message: Option<String>,
    /// Everything else.
    pub detail: Value,
    /// Its place in the chain: SHA-256 in hexadecimal; none in a record that is being written.
    pub hash: Option<String>,
}

impl AuditEvent {
    /// The whole record in the words of CloudTrail (AWS CloudTrail User Guide, "CloudTrail record contents").
    #[must_use]
    pub fn cloud_trail(&self) -> Value {
        let mut detail = self.detail.clone();
        let mut take = |name: &str| detail.as_object_mut().and_then(|detail| detail.remove(name));
        let identity = take(USER_IDENTITY).unwrap_or_else(|| json!({ "principalId": self.principal }));
        let parameters = take(REQUEST_PARAMETERS);
        json!({
            "eventVersion": "1.11",
            "eventID": self.event_id,
            "eventTime": self.time.to_string(),
            "eventSource": self.event_source,
            "eventName": self.event_name,
            "eventCategory": "Management",
            "recipientAccountId": self.account,
            "userIdentity": identity,
            "sourceIPAddress": self.source_ip,
            "userAgent": self.user_agent,
            "requestID": self.request_id,
            "requestParameters": parameters,
            "errorCode": self.error_code,
            "errorMessage": self.error_message,
            "additionalEventData": detail,
        })
    }
}

/// How many records a text is looked for in, in one call.
pub const SEARCHED_AT_ONCE: i64 = 20_000;

/// Which records are looked for; what is empty does not matter.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// The operation.
    pub event_name: Option<String>,
    /// The record.
    pub event_id: Option<String>,
    /// The service.
    pub event_source: Option<String>,
    /// Who, whole.
    pub principal: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Not after.
    pub to: Option<Timestamp>,
    /// Part of who it was, from where, or of the details.
    pub text: String,
    /// Failures alone.
    pub failed: bool,
}

impl ReadTx<'_> {
    /// The newest records of these events since an instant, of an account (none: of every account).
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn audit_events_since(
        &self,
        account: Option<&AccountId>,
        names: &[&str],
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, Error> {
        let mut query = sql::query("SELECT * FROM audit WHERE event_name IN (");
        query.push_list(names.iter().copied()).push(") AND time >= ").push_bind(since.0);
        if let Some(account) = account {
            query.push(" AND account = ").push_bind(account.as_str());
        }
        query.push(" ORDER BY time DESC, sequence DESC LIMIT ").push_bind(limit);
        let rows = query.fetch_all(&self.store.readers).await?;
        Ok(rows.iter().map(event).collect())
    }

    /// The newest records of an account (none: of every account) that fit, before a sequence number; and the one before which to
    /// go on, where there may be more. A text is looked for in [`SEARCHED_AT_ONCE`] records at a time: the page may be short.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn audit_events(
        &self,
        account: Option<&AccountId>,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<AuditEvent>, Option<i64>), Error> {
        let mut searched_to = 1;
        if !filter.text.is_empty() {
            let newest = sql::query("SELECT sequence + 1 AS next FROM audit_head");
            let newest: i64 = newest.fetch_one(&self.store.readers).await?.get("next");
            searched_to = (before.unwrap_or(newest).min(newest) - SEARCHED_AT_ONCE).max(1);
        }
        let mut query = sql::query("SELECT * FROM audit WHERE 1 = 1");
        let texts = [
            (" AND account = ", account.map(ToString::to_string)),
            (" AND event_name = ", filter.event_name.clone()),
            (" AND event_id = ", filter.event_id.clone()),
            (" AND event_source = ", filter.event_source.clone()),
            (" AND principal = ", filter.principal.clone()),
        ];
        for (column, value) in texts {
            if let Some(value) = value {
                query.push(column).push_bind(value);
            }
        }
        if let Some(before) = before {
            query.push(" AND sequence < ").push_bind(before);
        }
        if searched_to > 1 {
            query.push(" AND sequence >= ").push_bind(searched_to);
        }
        if let Some(from) = filter.from {
            query.push(" AND time >= ").push_bind(from.0);
        }
        if let Some(to) = filter.to {
            query.push(" AND time <= ").push_bind(to.0);
        }
        if filter.failed {
            query.push(" AND error_code IS NOT NULL");
        }
        if !filter.text.is_empty() {
            let text = filter.text.to_lowercase();
            query.push(" AND (instr(lower(principal), ").push_bind(text.clone()).push(") > 0 OR instr(source_ip, ");
            query.push_bind(text.clone()).push(") > 0 OR instr(lower(detail), ").push_bind(text).push(") > 0)");
        }
        query.push(" ORDER BY sequence DESC LIMIT ").push_bind(limit);
        let rows = query.fetch_all(&self.store.readers).await?;
        let found: Vec<AuditEvent> = rows.iter().map(event).collect();
        let full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = match found.last().filter(|_| full) {
            Some(last) => Some(last.sequence),
            None => (searched_to > 1).then_some(searched_to),
        };
        Ok((found, next))
    }
}

fn event(row: &Row) -> AuditEvent {
    AuditEvent {
        sequence: row.get("sequence"),
        event_id: row.get("event_id"),
        time: Timestamp(row.get("time")),
        event_source: row.get("event_source"),
        event_name: row.get("event_name"),
        account: row.get("account"),
        principal: row.get("principal"),
        source_ip: row.get("source_ip"),
        user_agent: row.get("user_agent"),
        request_id: row.get("request_id"),
        error_code: row.get("error_code"),
        error_message: row.get("error_message"),
        detail: serde_json::from_str(&row.get::<String>("detail")).unwrap_or_default(),
        hash: row.get::<Option<Vec<u8>>>("hash").map(hex::encode),
    }
}
