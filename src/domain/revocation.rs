//! Ending sessions before their time.

use super::{
    Timestamp,
    session::{IdentityAssertion, PortalSession, RoleSession},
    user::UserSession,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

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
    /// Everything that somebody of the directory holds, by id, whichever source vouched for them.
    DirectoryUser(String),
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
            Self::DirectoryUser(_) => "directory user",
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
            | Self::DirectoryUser(value)
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
            "directory user" => Self::DirectoryUser(value),
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
///
/// There is one for the whole life of a store, and it only grows: what was added holds for every snapshot, at once.
#[derive(Debug, Default)]
pub struct Revocations {
    ended: RwLock<HashMap<RevocationScope, Timestamp>>,
    /// How far the store's own have been taken in.
    sequence: AtomicI64,
}

impl Revocations {
    /// Adds one; of two about the same sessions the later counts.
    pub fn add(&self, scope: RevocationScope, before: Timestamp) {
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        let known = ended.entry(scope).or_insert(before);
        *known = (*known).max(before);
    }

    /// Forgets those that are older.
    pub fn forget(&self, oldest: Timestamp) {
        self.ended.write().unwrap_or_else(PoisonError::into_inner).retain(|_, before| *before >= oldest);
    }

    /// How far the store's own have been taken in.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// All of the store's own up to this one have been taken in.
    pub fn reached(&self, sequence: i64) {
        self.sequence.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Until when everything is over, where that was said.
    #[must_use]
    pub fn everything(&self) -> Option<Timestamp> {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).get(&RevocationScope::Everything).copied()
    }

    /// The store went back: all of its own are taken in anew. Those that are known stay: they only end things.
    pub fn rewind(&self) {
        self.sequence.store(0, Ordering::Release);
    }

    fn is_empty(&self) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn covers(&self, scope: RevocationScope, issued: Timestamp) -> bool {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        ended.get(&scope).is_some_and(|before| issued <= *before)
    }

    /// Whether a role session is over.
    #[must_use]
    pub fn end(&self, session: &RoleSession) -> bool {
        if self.is_empty() {
            return false;
        }
        let covers = |scope| self.covers(scope, session.issued);
        // A chained session may have been made on a node that had not heard of it yet.
        let began = session.began.unwrap_or(session.issued);
        self.covers(RevocationScope::Everything, began)
            || covers(RevocationScope::Session(session.access_key_id.clone()))
            || covers(RevocationScope::Role(session.role_id.clone()))
            || session
                .source_identity
                .as_ref()
                .is_some_and(|id| self.covers(RevocationScope::SourceIdentity(id.to_string()), began))
            || session
                .directory_user
                .as_ref()
                .is_some_and(|user| self.covers(RevocationScope::DirectoryUser(user.clone()), began))
            || session.person.as_ref().is_some_and(|person| self.end_person(person, began))
    }

    /// Whether temporary credentials of a user are over. An access key is not a session: it is made inactive instead.
    #[must_use]
    pub fn end_user(&self, user: &UserSession) -> bool {
        let covers = |scope| self.covers(scope, user.issued);
        !self.is_empty()
            && user.is_temporary()
            && (covers(RevocationScope::Everything)
                || covers(RevocationScope::Session(user.access_key_id.clone()))
                || user.directory_user.as_ref().is_some_and(|user| covers(RevocationScope::DirectoryUser(user.clone())))
                || user.person.as_ref().is_some_and(|person| self.end_person(person, user.issued))
                || user.source_identity.as_ref().is_some_and(|id| covers(RevocationScope::SourceIdentity(id.to_string()))))
    }

    /// Whether a portal session is over.
    #[must_use]
    pub fn end_portal(&self, session: &PortalSession) -> bool {
        self.end_identity(&session.identity, session.vouched())
    }

    /// Whether what a provider vouched for at this time is over.
    #[must_use]
    pub fn end_identity(&self, identity: &IdentityAssertion, vouched: Timestamp) -> bool {
        let of_directory = || identity.directory_user().map(|user| RevocationScope::DirectoryUser(user.to_owned()));
        self.end_sign_in(&identity.person(), vouched)
            || (!self.is_empty() && of_directory().is_some_and(|scope| self.covers(scope, vouched)))
    }

    /// Whether a sign-in of a person, `<provider>:<subject>`, whom their provider vouched for at this time is over.
    #[must_use]
    pub fn end_sign_in(&self, person: &str, vouched: Timestamp) -> bool {
        !self.is_empty() && (self.covers(RevocationScope::Everything, vouched) || self.end_person(person, vouched))
    }

    /// Whether a session that is known by its access key id, person and time of issue alone is over.
    #[must_use]
    pub fn end_listed(&self, (access_key_id, person, issued): (&str, &str, Timestamp)) -> bool {
        !self.is_empty()
            && (self.covers(RevocationScope::Everything, issued)
                || self.covers(RevocationScope::Session(access_key_id.to_owned()), issued)
                || self.end_person(person, issued))
    }

    fn end_person(&self, person: &str, issued: Timestamp) -> bool {
        let (provider, subject) = person.split_once(':').unwrap_or((person, ""));
        self.covers(RevocationScope::Person(person.to_owned()), issued)
            // The subject of the directory's own people is their id.
            || self.covers(RevocationScope::DirectoryUser(subject.to_owned()), issued)
            || self.covers(RevocationScope::Provider(provider.to_owned()), issued)
    }
}
