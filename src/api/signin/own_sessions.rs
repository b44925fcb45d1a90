//! Where a person is signed in: their browser sessions and the command lines that those lent themselves to.

use super::Signin;
use crate::{
    domain::{
        Error, ErrorKind, Timestamp,
        session::{PortalSession, RequestOrigin},
    },
    gateway::{Access, Call, ENDED, Issue, Operation, Read, Scope},
    store::{Ephemeral, EphemeralKind},
};
use serde::{Deserialize, Serialize};

const KIND: EphemeralKind = EphemeralKind::passing("portal-session");
/// Most sessions that are listed.
const MOST_LISTED: u32 = 200;

/// One session, as its owner sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnSession {
    /// As in audit records.
    pub id: String,
    /// The session that lent itself to this one.
    pub lent_by: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Where it was begun from.
    pub source_ip: String,
    /// Browser, or command line.
    pub user_agent: String,
    /// Name of the command line; none for a browser.
    pub client: Option<String>,
}

/// Remembers a session for its owner's list.
pub(in crate::api) async fn remember(
    ephemeral: &Ephemeral,
    session: &PortalSession,
    origin: &RequestOrigin,
    client: Option<String>,
) -> Result<(), Error> {
    let own = OwnSession {
        id: session.id.clone(),
        lent_by: session.lent_by.clone(),
        started: session.started,
        expires: session.expires,
        source_ip: origin.source_ip.to_string(),
        user_agent: origin.user_agent.clone(),
        client,
    };
    ephemeral.put_owned(KIND, &session.identity.person(), &session.id, &own, session.expires).await
}

async fn present(ephemeral: &Ephemeral, person: &str) -> Result<Vec<OwnSession>, Error> {
    let all: Vec<OwnSession> = ephemeral.owned(KIND, person, MOST_LISTED).await?;
    let mut present = Vec::with_capacity(all.len());
    for session in all {
        let mut over = false;
        for id in std::iter::once(&session.id).chain(&session.lent_by) {
            over |= ephemeral.get::<()>(ENDED, id).await?.is_some();
        }
        if !over {
            present.push(session);
        }
    }
    present.sort_by_key(|session| std::cmp::Reverse(session.started));
    Ok(present)
}

/// Where the caller is signed in.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListOwnSessions {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct OwnSessions {
    /// Newest first.
    pub sessions: Vec<OwnSession>,
    /// Id of the one that asks.
    pub current: String,
}

impl Operation for ListOwnSessions {
    type Service = Signin;
    type Mode = Read;
    type Output = OwnSessions;
    const NAME: &'static str = "ListOwnSessions";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person sees where they are signed in" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<OwnSessions, Error> {
        let session = call.caller.portal_session()?;
        let person = session.identity.person();
        let mut sessions = present(call.broker.store.ephemeral(), &person).await?;
        // Those that an administrator revoked are over, too.
        sessions.retain(|other| !call.tx.snapshot.revocations.end_sign_in(&person, other.started));
        Ok(OwnSessions { sessions, current: session.id.clone() })
    }
}

/// Ends one of the caller's sessions, or all but the one that asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndOwnSession {
    /// Its id; none for all others.
    pub id: Option<String>,
}

impl Operation for EndOwnSession {
    type Service = Signin;
    type Mode = Issue;
    type Output = ();
    const NAME: &'static str = "EndOwnSession";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person may end their own sessions" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let (ephemeral, session) = (call.broker.store.ephemeral(), call.caller.portal_session()?);
        let person = session.identity.person();
        let mut ended = Vec::new();
        match &self.id {
            Some(id) => {
                let own = present(ephemeral, &person).await?.into_iter().find(|other| other.id == *id);
                let own = own.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "That session is over already."))?;
                end(ephemeral, &own).await?;
                ended.push(own.id);
            }
            // However many there are: a list shows some at a time.
            None => loop {
                let mut others: Vec<OwnSession> = ephemeral.owned(KIND, &person, MOST_LISTED).await?;
                others.retain(|other| other.id != session.id);
                if others.is_empty() {
                    break;
                }
                for other in others {
                    end(ephemeral, &other).await?;
                    ended.push(other.id);
                }
            },
        }
        call.tx.note("count", ended.len());
        call.tx.note("sessions", ended.iter().take(100).collect::<Vec<_>>());
        Ok(())
    }
}

async fn end(ephemeral: &Ephemeral, session: &OwnSession) -> Result<(), Error> {
    ephemeral.put(ENDED, &session.id, &(), session.expires).await?;
    forget(ephemeral, &session.id).await
}

/// Takes a session that is over out of its owner's list.
pub(in crate::api) async fn forget(ephemeral: &Ephemeral, id: &str) -> Result<(), Error> {
    ephemeral.delete(KIND, id).await
}
