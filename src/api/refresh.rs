//! Refresh tokens: each is good once, and the next one follows from it. One that comes back later was taken by somebody, and
//! ends the session (RFC 9700 section 4.14.2).

use crate::{
    domain::{
        Error, ErrorKind, Secret,
        session::PortalSession,
        sso::{LentRole, RefreshGrant, RefreshSuccessor},
    },
    gateway::{Broker, Call, ENDED, Issue, Operation},
};

const TOKEN: &str = "refresh-token";
const SUCCESSOR: &str = "refresh-successor";
/// How long a used token still leads to the one that followed it, in seconds: processes that share a cache renew at once, and
/// an answer may be lost on its way.
const GRACE_SECONDS: i64 = 60;

/// What a refresh token was good for.
pub(super) struct Renewed {
    /// The session, as far as its person still stands; with the claims of now.
    pub(super) session: PortalSession,
    /// The one role it is for.
    pub(super) role: Option<LentRole>,
    /// The token that follows.
    pub(super) token: Secret<String>,
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

/// The next refresh token, for whoever the last one belongs to.
///
/// # Errors
/// `InvalidGrant`, `Unavailable`.
pub(super) async fn renew<O: Operation<Mode = Issue>>(
    call: &mut Call<'_, O>,
    token: &Secret<String>,
    belongs: impl Fn(&RefreshGrant) -> bool + Send,
) -> Result<Renewed, Error> {
    let (ephemeral, now) = (call.broker.store.ephemeral(), call.caller.origin.time);
    let wrong = |why: &str| Error::new(ErrorKind::InvalidGrant, "The session has ended. Sign in again.").with_private(why);
    let grant: Option<RefreshGrant> = ephemeral.get(TOKEN, token.expose()).await?;
    let grant = grant.ok_or_else(|| wrong("refresh_token_unknown: never given out, or its session has ended"))?;
    if !belongs(&grant) {
        return Err(wrong("refresh_token_other_client: it was given to another client, or is bound to another key"));
    }
    call.tx.note("session", &grant.session.id);
    let session = match call.broker.person(grant.session.clone()).await {
        Err(error) if error.kind == ErrorKind::InvalidBearer => {
            return Err(wrong("session_ended: it, or the one that lent it, was ended or revoked"));
        }
        session => session?,
    };
    let mut successor: Option<RefreshSuccessor> = ephemeral.get(SUCCESSOR, token.expose()).await?;
    if successor.is_none() {
        let next = RefreshSuccessor { token: Secret::new(call.broker.random.token()), at: now };
        ephemeral.put(TOKEN, next.token.expose(), &grant, session.expires).await?;
        if ephemeral.put_new(SUCCESSOR, token.expose(), &next, session.expires).await? {
            successor = Some(next);
        } else {
            // Another process was first: both go on with its token.
            ephemeral.delete(TOKEN, next.token.expose()).await?;
            successor = ephemeral.get(SUCCESSOR, token.expose()).await?;
        }
    }
    let successor = successor.ok_or_else(|| wrong("session_ended: meanwhile"))?;
    if now.seconds_since(successor.at) > GRACE_SECONDS {
        call.tx.note("refreshTokenReused", true);
        ephemeral.put(ENDED, &session.id, &(), session.expires).await?;
        return Err(wrong(
            "refresh_token_reused: it was renewed before; the session is ended, since one of two is not its owner",
        ));
    }
    Ok(Renewed { session, role: grant.bound.map(|(role, _)| role), token: successor.token.clone() })
}
