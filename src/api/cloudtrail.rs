//! AWS CloudTrail: reading the audit log.

use super::epoch_seconds;
use crate::{
    domain::{Error, Timestamp},
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service, fault::json_code},
    policy::evaluate::Check,
    store::{AuditEvent, AuditFilter},
};
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct CloudTrail;

impl Service for CloudTrail {
    const EVENT_SOURCE: &'static str = "cloudtrail.amazonaws.com";
    const SIGNING_NAME: &'static str = "cloudtrail";
    const PROTOCOL: Protocol = Protocol::Json { target: "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101" };
    fn fault(error: &Error) -> Fault {
        let (status, code) = json_code(error.kind);
        Fault::new(status, code, error)
    }
}

/// What is served.
pub const TABLE: &[Entry] = &[Entry::rpc::<LookupEvents>()];

/// Looks up the newest events of the caller's account; from the management account, of every account.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LookupEvents {
    /// At most one: `EventId`, `EventName`, `EventSource` or `Username`.
    #[serde(default)]
    pub lookup_attributes: Vec<LookupAttribute>,
    /// Not before, epoch seconds.
    #[serde(default, deserialize_with = "instant")]
    pub start_time: Option<Timestamp>,
    /// Not after, epoch seconds.
    #[serde(default, deserialize_with = "instant")]
    pub end_time: Option<Timestamp>,
    /// 1 to 50.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
    /// Not on the wire: what pages ask for besides.
    #[serde(skip)]
    pub narrowed: Narrowed,
}

/// What pages ask for besides.
#[derive(Clone, Debug, Default)]
pub struct Narrowed {
    /// Part of who it was, or from where.
    pub text: String,
    /// Refusals alone.
    pub failed: bool,
}

/// Times of awsJson1.1 are epoch seconds, with a fraction.
fn instant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds of this era fit")]
    let milliseconds = |seconds: f64| Timestamp((seconds * 1000.0).round() as i64);
    Ok(Option::<f64>::deserialize(deserializer)?.map(milliseconds))
}

/// One filter.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LookupAttribute {
    /// What of an event.
    pub attribute_key: String,
    /// What it is to be.
    pub attribute_value: String,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Events {
    /// Newest first.
    pub events: Vec<Event>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// Unique.
    pub event_id: String,
    /// The operation.
    pub event_name: String,
    /// The service.
    pub event_source: String,
    /// When.
    #[serde(serialize_with = "epoch_seconds")]
    pub event_time: Timestamp,
    /// Who.
    pub username: String,
    /// The whole record, as JSON text.
    pub cloud_trail_event: String,
    /// For pages, not for the wire.
    #[serde(skip)]
    pub record: AuditEvent,
}

impl Operation for LookupEvents {
    type Service = CloudTrail;
    type Mode = Read;
    type Output = Events;
    const NAME: &'static str = "LookupEvents";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("cloudtrail:LookupEvents", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Events, Error> {
        let mut filter = AuditFilter {
            from: self.start_time,
            to: self.end_time,
            text: self.narrowed.text,
            failed: self.narrowed.failed,
            ..AuditFilter::default()
        };
        match self.lookup_attributes.as_slice() {
            [] => {}
            [LookupAttribute { attribute_key, attribute_value }] => {
                let field = match attribute_key.as_str() {
                    "EventName" => &mut filter.event_name,
                    "EventId" => &mut filter.event_id,
                    "EventSource" => &mut filter.event_source,
                    "Username" => &mut filter.principal,
                    _ => return Err(Error::invalid("events are looked up by EventId, EventName, EventSource or Username")),
                };
                *field = Some(attribute_value.clone());
            }
            _ => return Err(Error::invalid("one lookup attribute at a time")),
        }
        let before =
            self.next_token.map(|token| token.parse().map_err(|_| Error::invalid("the NextToken is not ours"))).transpose()?;
        let limit = self.max_results.unwrap_or(50).clamp(1, 50);
        let account = call.account()?;
        let scope = if call.tx.snapshot.management_account() == Some(account) { None } else { Some(account) };
        let (records, next) = call.tx.audit_events(scope, &filter, before, limit).await?;
        let next_token = next.map(|sequence| sequence.to_string());
        Ok(Events { events: records.into_iter().map(event).collect(), next_token })
    }
}

fn event(record: AuditEvent) -> Event {
    let whole = record.cloud_trail();
    Event {
        event_id: record.event_id.clone(),
        event_name: record.event_name.clone(),
        event_source: record.event_source.clone(),
        event_time: record.time,
        username: record.principal.clone(),
        cloud_trail_event: whole.to_string(),
        record,
    }
}
