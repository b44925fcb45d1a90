//! People: the person behind a bearer token or a browser session, as far as their session and their provider still stand.

use super::{Gateway, provider_logout};
use crate::{
    domain::{
        Error, ErrorKind, Timestamp,
        session::{IdentityAssertion, PortalSession, Principal},
    },
    federation::oidc::refresh::{Refreshable, Refreshed},
};
use std::sync::Arc;

/// A person's bearer token, as it is kept: under its hash, with its end.
pub(crate) const BEARER: &str = "bearer";
/// Portal sessions that were ended before their time, by id.
pub(crate) const ENDED: &str = "ended-session";
/// Claims that are asked for anew, by session.
pub(crate) const FRESH: &str = "fresh-claims";
/// Marks a session whose claims are being asked for.
const REFRESHING: &str = "refreshing";
/// How long asking may take, in seconds.
const REFRESHING_SECONDS: i64 = 30;

impl Gateway {
    /// The person behind a bearer token.
    ///
    /// # Errors
    /// `InvalidBearer`, `Unavailable`.
    pub async fn bearer(&self, token: &str) -> Result<Principal, Error> {
        let session: Option<PortalSession> = self.broker.store.ephemeral().get(BEARER, token).await?;
        let now: Timestamp = self.broker.clock.now();
        match session.filter(|session| session.expires > now) {
            Some(session) => self.person(session).await,
            None => Err(Error::new(ErrorKind::InvalidBearer, "Session token not found or invalid")),
        }
    }

    /// A person whose session, and the one that lent it, has not been ended, and whom their source still knows.
    ///
    /// # Errors
    /// `InvalidBearer`, `Unavailable`.
    pub async fn person(&self, session: PortalSession) -> Result<Principal, Error> {
        let over = || Error::new(ErrorKind::InvalidBearer, "Session token not found or invalid");
        for id in std::iter::once(&session.id).chain(&session.lent_by) {
            if self.broker.store.ephemeral().get::<()>(ENDED, id).await?.is_some() {
                return Err(over());
            }
        }
        for key in provider_logout::keys_of(&session) {
            let ended: Option<Timestamp> = self.broker.store.ephemeral().get(provider_logout::KIND, &key).await?;
            if ended.is_some_and(|ended| session.started <= ended) {
                return Err(over());
            }
        }
        let identity = self.fresh(&session).await?.ok_or_else(over)?;
        let identity = self.broker.federation.current(identity).await?.ok_or_else(over)?;
        Ok(Principal::Person(Arc::new(PortalSession { identity, ..session })))
    }

    /// What the provider says about a person now: none when it does not vouch for them any more. Sessions without a refresh
    /// token keep what was said at the sign-in.
    async fn fresh(&self, session: &PortalSession) -> Result<Option<IdentityAssertion>, Error> {
        if session.at_provider.is_none() {
            return Ok(Some(session.identity.clone()));
        }
        let (ephemeral, now) = (self.broker.store.ephemeral(), self.broker.clock.now());
        // A command line's session lives on the claims of the one that lent it.
        let id = session.lent_by.as_ref().unwrap_or(&session.id);
        let Some(known) = ephemeral.get::<Refreshable>(FRESH, id).await? else { return Ok(Some(session.identity.clone())) };
        let snapshot = self.snapshot();
        let source = snapshot.identity_source(&known.identity.provider.name).filter(|source| known.is_due(source, now));
        let Some(source) = source else { return Ok(Some(known.identity)) };
        // One asks, on one node; refresh tokens are good once. The others go on with what is known.
        if !ephemeral.put_new(REFRESHING, id, &(), now.plus_seconds(REFRESHING_SECONDS)).await? {
            return Ok(Some(known.identity));
        }
        let outcome = self.broker.federation.refresh(source, &known).await;
        let identity = match outcome {
            // Asked again when the mark is gone: a provider that is down slows nobody.
            Refreshed::Unchanged => return Ok(Some(known.identity)),
            Refreshed::Fresh(fresh) => {
                ephemeral.put(FRESH, id, &*fresh, session.expires.max(now.plus_seconds(86_400))).await?;
                Some(fresh.identity)
            }
            Refreshed::Over => {
                ephemeral.put(ENDED, id, &(), session.expires.max(now.plus_seconds(86_400))).await?;
                None
            }
        };
        ephemeral.delete(REFRESHING, id).await?;
        Ok(identity)
    }
}
