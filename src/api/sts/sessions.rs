//! Live sessions: who holds which, and ending them before their time. For pages and the command line.

use super::Sts;
use crate::{
    domain::{Arn, Error, ErrorKind, Timestamp, revocation::RevocationScope, session::Principal, time::account_of_access_key},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::evaluate::Check,
    store::AuditEvent,
};
use serde::{Deserialize, Serialize};

/// Events that issue sessions.
const ISSUING: [&str; 8] = [
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "CreateSession",
    "GetFederationToken",
    "GetRoleCredentials",
    "GetSessionToken",
];

/// No session lives longer, in seconds.
const LONGEST_SESSION_SECONDS: i64 = 129_600;
/// Most records of issued sessions that are looked at.
const MOST_LISTED: u32 = 5000;

/// Ends sessions that were issued until now (or until an instant): within a second on every node, at once on this one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RevokeSessions {
    /// Whose.
    pub who: Revoked,
    /// Sessions issued later live on; default now, and never later than that.
    pub before: Option<Timestamp>,
}

/// Whose sessions, in words people know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Revoked {
    /// One, by access key id.
    Session(String),
    /// A role's, by ARN.
    Role(Arn),
    /// A person's, as `<provider>:<subject>` or the ARN of an IAM user.
    Person(String),
    /// Those with a source identity.
    SourceIdentity(String),
    /// Those that began with a provider, by name.
    Provider(String),
    /// All.
    Everything,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevokedSessions {
    /// Whose.
    pub scope: RevocationScope,
    /// Sessions issued at or before this are over.
    pub before: Timestamp,
}

impl Operation for RevokeSessions {
    type Service = Sts;
    type Mode = Write;
    type Output = RevokedSessions;
    const NAME: &'static str = "RevokeSessions";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        if matches!(scope.principal(), Principal::Operator) {
            return Ok(Access::Operator { because: "who holds the store and its master key may end any session" });
        }
        // The management account may end anything; others what is of their own account. People and providers are the
        // organization's.
        let management = scope.snapshot.management_account();
        let owner = match &self.who {
            _ if scope.account.as_ref() == management => None,
            Revoked::Role(role) => role.account(),
            Revoked::Session(id) => account_of_access_key(id),
            Revoked::Person(_) | Revoked::SourceIdentity(_) | Revoked::Provider(_) | Revoked::Everything => management.cloned(),
        };
        let resource = match &self.who {
            Revoked::Role(role) => role.to_string(),
            _ => "*".to_owned(),
        };
        let check = Check::new("sts:RevokeSessions", resource);
        let check = owner.map_or_else(|| check.clone(), |owner| check.clone().owned_by(owner));
        Ok(Access::Signed(vec![check]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RevokedSessions, Error> {
        let now = call.caller.origin.time;
        let before = self.before.unwrap_or(now).min(now);
        let scope = match self.who {
            Revoked::Role(arn) => {
                let role = call.tx.snapshot.role_by_arn(&arn);
                let missing = || Error::new(ErrorKind::NoSuchEntity, format!("There is no role {arn}."));
                RevocationScope::Role(role.ok_or_else(missing)?.role.id.clone())
            }
            Revoked::Session(id) => RevocationScope::Session(id),
            Revoked::Person(person) => {
                let user =
                    Arn::parse(&person).ok().and_then(|arn| call.tx.snapshot.user_by_arn(&arn).map(|user| user.user.id.clone()));
                RevocationScope::Person(user.unwrap_or(person))
            }
            Revoked::SourceIdentity(identity) => RevocationScope::SourceIdentity(identity),
            Revoked::Provider(provider) => RevocationScope::Provider(provider),
            Revoked::Everything => RevocationScope::Everything,
        };
        call.tx.note("revoked", scope.to_string());
        call.tx.note("before", before.to_string());
        call.tx.put_revocation(&scope, before).await?;
        Ok(RevokedSessions { scope, before })
    }
}

/// Lists sessions that are not over, newest first, as the audit log knows them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListSessions {
    /// Of this role only.
    pub role_arn: Option<Arn>,
    /// Of this person only, as `<provider>:<subject>` or the ARN of an IAM user.
    pub person: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sessions {
    /// Newest first, of the newest 5000 that were issued.
    pub sessions: Vec<LiveSession>,
}

/// A session.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LiveSession {
    /// ARN of the session.
    pub arn: String,
    /// Its access key id.
    pub access_key_id: String,
    /// Whose chain of sessions it is of: `<provider>:<subject>`, or the ARN of an IAM user.
    pub person: String,
    /// From where.
    pub source_ip: String,
    /// With what.
    pub user_agent: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends by itself, ISO 8601.
    pub expires: String,
    /// The audit record of its issue.
    pub event_id: String,
}

impl Operation for ListSessions {
    type Service = Sts;
    type Mode = Read;
    type Output = Sessions;
    const NAME: &'static str = "ListSessions";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        if matches!(scope.principal(), Principal::Operator) {
            return Ok(Access::Operator { because: "who holds the store and its master key may read its records" });
        }
        Ok(Access::Signed(vec![Check::new("sts:ListSessions", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Sessions, Error> {
        let now = call.caller.origin.time;
        let snapshot = &call.tx.snapshot;
        // The management account sees all, the others their own.
        let account = call.scope.account.as_ref().filter(|account| Some(*account) != snapshot.management_account());
        let since = now.plus_seconds(-LONGEST_SESSION_SECONDS);
        let events = call.tx.audit_events_since(account, &ISSUING, since, MOST_LISTED).await?;
        // People know IAM users by name, sessions by the id that outlives a new name.
        let shown = |session: LiveSession| match snapshot.user_by_id(&session.person) {
            Some(user) => LiveSession { person: user.user.arn().to_string(), ..session },
            None => session,
        };
        let role = self.role_arn.as_ref().map(|arn| format!(":assumed-role/{}/", arn.resource_name()));
        let wanted = |session: &LiveSession| {
            role.as_ref().is_none_or(|role| session.arn.contains(role.as_str()))
                && self.person.as_ref().is_none_or(|person| session.person == *person)
        };
        let live = events.into_iter().filter_map(|event| live(event, now)).map(shown).filter(wanted);
        Ok(Sessions { sessions: live.collect() })
    }
}

/// The session an event issued, unless it is over.
fn live(event: AuditEvent, now: Timestamp) -> Option<LiveSession> {
    let text = |key: &str| event.detail.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let expires = text("expiration")?;
    let over = event.error_code.is_some() || Timestamp::parse(&expires).is_none_or(|end| end <= now);
    (!over).then_some(LiveSession {
        arn: text("assumedRole")?,
        access_key_id: text("accessKeyId")?,
        person: text("person").unwrap_or_else(|| event.principal.clone()),
        source_ip: event.source_ip.clone(),
        user_agent: event.user_agent.clone(),
        issued: event.time,
        expires,
        event_id: event.event_id.clone(),
    })
}
