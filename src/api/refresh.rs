//! Refresh tokens: each is good once, and the next one follows from it. One that comes back later was taken by somebody, and
//! ends the session (RFC 9700 section 4.14.2).

use crate::store::{EphemeralKind, audit::REUSED};
use crate::{
    domain::{
        Error, ErrorKind, Secret,
        session::PortalSession,
        sso::{LentRole, RefreshGrant, RefreshSuccessor},
    },
    gateway::{Broker, Call, ENDED, Issue, Operation},
};

const TOKEN: EphemeralKind = EphemeralKind::passing("refresh-token");
const SUCCESSOR: EphemeralKind = EphemeralKind::lasting("refresh-successor");
/// How long a used token still leads to the one that followed it, in seconds: processes that share a cache renew at once, and
/// an answer may be lost on its way.
const GRACE_SECONDS: i64 = 60;

/// What a refresh token is good for. It is not used up yet.
pub(super) struct Found {
    /// The session, as far as its person still stands; with the claims of now.
    pub(super) session: PortalSession,
    /// The one role it is for.
    pub(super) role: Option<LentRole>,
    grant: RefreshGrant,
    token: Secret<String>,
    successor: Option<RefreshSuccessor>,
}

/// A first refresh token. It ends with its session.
///
/// # Errors
/// `Unavailable`.
pub(super) async fn give(broker: &Broker, grant: &RefreshGrant) -> Result<Secret<String>, Error> {
    let token = broker.random.token();
    broker.store.ephemeral().put(TOKEN, &token, grant, grant.session.expires).await?;
    Ok(Secret::new(token))
}

/// Finds what a refresh token is good for, for whoever it belongs to.
///
/// # Errors
/// `InvalidGrant`, `Unavailable`.
pub(super) async fn find<O: Operation<Mode = Issue>>(
    call: &mut Call<'_, O>,
    token: &Secret<String>,
    belongs: impl Fn(&RefreshGrant) -> bool + Send,
) -> Result<Found, Error> {
    let (ephemeral, now) = (call.broker.store.ephemeral(), call.caller.origin.time);
    let grant: Option<RefreshGrant> = ephemeral.get(TOKEN, token.expose()).await?;
    let grant = grant.ok_or_else(|| over("refresh_token_unknown: never given out, or its session has ended"))?;
    if !belongs(&grant) {
        return Err(over("refresh_token_other_client: it was given to another client, or is bound to another key"));
    }
    call.tx.note("session", &grant.session.id);
    call.tx.note("subject", &grant.session.identity.subject);
    let session = match call.broker.person(grant.session.clone()).await {
        Err(error) if error.kind == ErrorKind::InvalidBearer => {
            return Err(over("session_ended: it, or the one that lent it, was ended or revoked"));
        }
        session => session?,
    };
    let successor: Option<RefreshSuccessor> = ephemeral.get(SUCCESSOR, token.expose()).await?;
    if successor.as_ref().is_some_and(|next| now.seconds_since(next.at) > GRACE_SECONDS) {
        if ephemeral.put_new(ENDED, &session.id, &(), session.expires).await? {
            call.tx.note(REUSED, "refresh token");
        }
        return Err(over("refresh_token_reused: it was renewed before; the session is ended, since one of two is not its owner"));
    }
    let role = grant.bound.as_ref().map(|(role, _)| role.clone());
    Ok(Found { session, role, grant, token: token.clone(), successor })
}

impl Found {
    /// Uses the token up, for the one that follows.
    ///
    /// # Errors
    /// `InvalidGrant`, `Unavailable`.
    pub(super) async fn renew<O: Operation<Mode = Issue>>(&self, call: &Call<'_, O>) -> Result<Secret<String>, Error> {
        if let Some(successor) = &self.successor {
            return Ok(successor.token.clone());
        }
        let (ephemeral, expires) = (call.broker.store.ephemeral(), self.session.expires);
        let next = RefreshSuccessor { token: Secret::new(call.broker.random.token()), at: call.caller.origin.time };
        ephemeral.put(TOKEN, next.token.expose(), &self.grant, expires).await?;
        if ephemeral.put_new(SUCCESSOR, self.token.expose(), &next, expires).await? {
            return Ok(next.token);
        }
        // Another process was first: both go on with its token.
        ephemeral.delete(TOKEN, next.token.expose()).await?;
        let first: Option<RefreshSuccessor> = ephemeral.get(SUCCESSOR, self.token.expose()).await?;
        first.map(|first| first.token).ok_or_else(|| over("session_ended: meanwhile"))
    }
}

fn over(why: &str) -> Error {
    Error::new(ErrorKind::InvalidGrant, "The session has ended. Sign in again.").with_private(why)
}
