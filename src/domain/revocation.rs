//! Ending sessions before their time.

use super::{
    Timestamp,
    session::{PortalSession, RoleSession},
    user::UserSession,
};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt};

/// Whose sessions end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "Scope", content = "Value", rename_all = "PascalCase")]
pub enum RevocationScope {
    /// One session, by access key id; sessions that were made from it live on.
    Session(String),
    /// Sessions of a role, by unique id.
    Role(String),
    /// Everything a person holds, as `<provider>:<subject>` or the unique id of an IAM user; sessions made from others
    /// included.
    Person(String),
    /// Everything with this source identity.
    SourceIdentity(String),
    /// Everything that began with this provider, by name.
    Provider(String),
    /// Every session of the broker.
    Everything,
}

impl RevocationScope {
    /// The word it is kept under.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Role(_) => "role",
            Self::Person(_) => "person",
            Self::SourceIdentity(_) => "source identity",
            Self::Provider(_) => "provider",
            Self::Everything => "everything",
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Session(value)
            | Self::Role(value)
            | Self::Person(value)
            | Self::SourceIdentity(value)
            | Self::Provider(value) => value,
            Self::Everything => "",
        }
    }

    /// From the word and the value.
    #[must_use]
    pub fn read(word: &str, value: &str) -> Option<Self> {
        let value = value.to_owned();
        Some(match word {
            "session" => Self::Session(value),
            "role" => Self::Role(value),
            "person" => Self::Person(value),
            "source identity" => Self::SourceIdentity(value),
            "provider" => Self::Provider(value),
            "everything" => Self::Everything,
            _ => return None,
        })
    }
}

impl fmt::Display for RevocationScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            other => write!(f, "{} {}", other.word(), other.value()),
        }
    }
}

/// All revocations: sessions issued at or before the instant are over. Held in memory, so that a signed call costs a few
/// look-ups and no store.
#[derive(Clone, Debug, Default)]
pub struct Revocations(HashMap<RevocationScope, Timestamp>);

impl Revocations {
    /// Adds one; of two about the same sessions the later counts.
    pub fn add(&mut self, scope: RevocationScope, before: Timestamp) {
        let known = self.0.entry(scope).or_insert(before);
        *known = (*known).max(before);
    }

    fn covers(&self, scope: RevocationScope, issued: Timestamp) -> bool {
        self.0.get(&scope).is_some_and(|before| issued <= *before)
    }

    /// Whether a role session is over.
    #[must_use]
    pub fn end(&self, session: &RoleSession) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let covers = |scope| self.covers(scope, session.issued);
        covers(RevocationScope::Everything)
            || covers(RevocationScope::Session(session.access_key_id.clone()))
            || covers(RevocationScope::Role(session.role_id.clone()))
            || session.source_identity.as_ref().is_some_and(|id| covers(RevocationScope::SourceIdentity(id.to_string())))
            || session.person.as_ref().is_some_and(|person| self.end_person(person, session.issued))
    }

    /// Whether temporary credentials of a user are over. An access key is not a session: it is made inactive instead.
    #[must_use]
    pub fn end_user(&self, user: &UserSession) -> bool {
        let covers = |scope| self.covers(scope, user.issued);
        !self.0.is_empty()
            && user.is_temporary()
            && (covers(RevocationScope::Everything)
                || covers(RevocationScope::Session(user.access_key_id.clone()))
                || user.person.as_ref().is_some_and(|person| self.end_person(person, user.issued))
                || user.source_identity.as_ref().is_some_and(|id| covers(RevocationScope::SourceIdentity(id.to_string()))))
    }

    /// Whether a portal session is over.
    #[must_use]
    pub fn end_portal(&self, session: &PortalSession) -> bool {
        self.end_sign_in(&session.identity.person(), session.vouched())
    }

    /// Whether a sign-in of a person, `<provider>:<subject>`, whom their provider vouched for at this time is over.
    #[must_use]
    pub fn end_sign_in(&self, person: &str, vouched: Timestamp) -> bool {
        !self.0.is_empty() && (self.covers(RevocationScope::Everything, vouched) || self.end_person(person, vouched))
    }

    /// Whether a session that is known by its access key id, person and time of issue alone is over.
    #[must_use]
    pub fn end_listed(&self, (access_key_id, person, issued): (&str, &str, Timestamp)) -> bool {
        !self.0.is_empty()
            && (self.covers(RevocationScope::Everything, issued)
                || self.covers(RevocationScope::Session(access_key_id.to_owned()), issued)
                || self.end_person(person, issued))
    }

    fn end_person(&self, person: &str, issued: Timestamp) -> bool {
        let provider = person.split_once(':').map_or(person, |(provider, _)| provider);
        self.covers(RevocationScope::Person(person.to_owned()), issued)
            || self.covers(RevocationScope::Provider(provider.to_owned()), issued)
    }
}
