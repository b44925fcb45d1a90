//! People: the person behind a bearer token or a browser session, as far as their session and their provider still stand.

use super::{Broker, Gateway, provider_logout};
use crate::store::EphemeralKind;
use crate::{
    crypto::sha256_hex,
    domain::{
        Error, Timestamp,
        iam::IdentityProvider,
        session::{IdentityAssertion, PortalSession, Principal, no_portal_session},
    },
    federation::oidc::refresh::{Refreshable, Refreshed},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tracing::Instrument as _;

/// A person's bearer token, as it is kept: under its hash, with its end.
const BEARER: EphemeralKind = EphemeralKind::passing("bearer");
/// Portal sessions that were ended before their time, by id.
pub(crate) const ENDED: EphemeralKind = EphemeralKind::lasting("ended-session");
/// Claims that are asked for anew, by session.
pub(crate) const FRESH: EphemeralKind = EphemeralKind::passing("fresh-claims");
/// When the second factor of a browser's session, and of those it lent itself to, was last given.
pub(crate) const FACTOR_GIVEN: EphemeralKind = EphemeralKind::passing("factor-given");
/// Marks a session whose claims are being asked for.
const REFRESHING: EphemeralKind = EphemeralKind::passing("refreshing");
/// How long asking may take, in seconds.
const REFRESHING_SECONDS: i64 = 30;

impl Gateway {
    /// The person behind a bearer token.
    ///
    /// # Errors
    /// `InvalidBearer`, `Unavailable`.
    pub async fn bearer(&self, token: &str) -> Result<Principal, Error> {
        let bearer = self.broker.bearer(token).await?;
        self.person(bearer.session).await
    }

    /// See [`Broker::person`].
    ///
    /// # Errors
    /// `InvalidBearer`, `Unavailable`.
    pub async fn person(&self, session: PortalSession) -> Result<Principal, Error> {
        self.broker.person(session).await.map(|session| Principal::Person(Arc::new(session)))
    }
}

/// What a bearer token stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bearer {
    /// The session.
    pub(crate) session: PortalSession,
    /// When the token ends, which may be before its session.
    pub(crate) ends: Timestamp,
}

/// What bearer tokens that called lately stand for, by the tokens' hashes. A token never stands for anything else: what ends
/// a session before its time is asked with every call.
#[derive(Debug, Default)]
pub struct KnownBearers(Mutex<HashMap<String, Arc<Bearer>>>);

impl KnownBearers {
    /// So many are kept; then all are forgotten, and read again when they call.
    const ROOM: usize = 4096;

    fn find(&self, key: &str) -> Option<Arc<Bearer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: String, bearer: Bearer) -> Arc<Bearer> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= Self::ROOM {
            kept.clear();
        }
        let bearer = Arc::new(bearer);
        kept.insert(key, bearer.clone());
        bearer
    }
}

impl Broker {
    /// Keeps a bearer token.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn keep_bearer(&self, token: &str, bearer: &Bearer) -> Result<(), Error> {
        self.store.ephemeral().put(BEARER, token, bearer, bearer.ends).await
    }

    /// What a bearer token stands for. Whether its person still stands is another question.
    ///
    /// # Errors
    /// `InvalidBearer`, `Unavailable`.
    pub(crate) async fn bearer(&self, token: &str) -> Result<Bearer, Error> {
        let key = sha256_hex(token);
        let bearer = match self.known_bearers.find(&key) {
            Some(known) => Some(known),
            None => self.store.ephemeral().get::<Bearer>(BEARER, token).await?.map(|found| self.known_bearers.keep(key, found)),
        };
        let now = self.clock.now();
        let lives = bearer.filter(|bearer| bearer.ends > now && bearer.session.expires > now);
        lives.map(|bearer| (*bearer).clone()).ok_or_else(no_portal_session)
    }

    /// A person whose session, and the one that lent it, has not been ended or revoked, and whom their source still knows; with
    /// the claims of now.
    ///
    /// # Errors
    /// `InvalidBearer`, `Unavailable`.
    pub async fn person(&self, session: PortalSession) -> Result<PortalSession, Error> {
        if self.store.snapshot().revocations.end_portal(&session) {
            return Err(no_portal_session());
        }
        // One question for all of it: command lines call in chains of hundreds.
        let logouts = provider_logout::keys_of(&session);
        let root = session.lent_by.as_ref().unwrap_or(&session.id);
        let mut wanted = vec![(FACTOR_GIVEN, root.as_str())];
        wanted.extend(std::iter::once(&session.id).chain(&session.lent_by).map(|id| (ENDED, id.as_str())));
        let own = wanted.len();
        wanted.extend(logouts.iter().map(|key| (provider_logout::KIND, key.as_str())));
        let known = self.store.ephemeral().get_each(&wanted).await?;
        let time = |value: &Value| value.as_i64().map(Timestamp);
        let (own, logouts) = known.split_at(own);
        let ended = own.iter().skip(1).any(Option::is_some);
        // A mark that can't be read ends the session, too.
        let logged_out = logouts.iter().flatten().any(|value| time(value).is_none_or(|ended| session.vouched() <= ended));
        if ended || logged_out {
            return Err(no_portal_session());
        }
        let given = own.first().and_then(Option::as_ref).and_then(time);
        let identity = self.fresh(&session).await?.ok_or_else(no_portal_session)?;
        let identity = self.federation.current(identity).await?.ok_or_else(no_portal_session)?;
        // People of a source are found in the directory by name: who has the name of another by now is not them.
        if session.identity.directory_user().is_some_and(|was| identity.directory_user() != Some(was)) {
            return Err(no_portal_session());
        }
        let factor_given = session.factor_given.max(given);
        Ok(PortalSession { identity, factor_given, ..session })
    }

    /// What the provider says about a person now: none when it does not vouch for them any more. Sessions without a refresh
    /// token keep what was said at the sign-in.
    async fn fresh(&self, session: &PortalSession) -> Result<Option<IdentityAssertion>, Error> {
        if session.at_provider.is_none() {
            return Ok(Some(session.identity.clone()));
        }
        // A command line's session lives on the claims of the one that lent it.
        let id = session.lent_by.as_ref().unwrap_or(&session.id);
        let known: Option<Refreshable> = self.store.ephemeral().get(FRESH, id).await?;
        let Some(known) = known else { return Ok(Some(session.identity.clone())) };
        if self.due(&known).is_none() {
            return Ok(Some(known.identity));
        }
        // On a task of its own: a client that hangs up can't lose the token that the provider just gave for the old one.
        let (broker, id, keep_until) = (self.clone(), id.clone(), session.expires);
        tokio::spawn(async move { broker.refresh(&id, known, keep_until).await }.in_current_span())
            .await
            .map_err(Error::internal)?
    }

    /// The source to ask, where it is time to, and it is the one that vouched.
    fn due(&self, known: &Refreshable) -> Option<Arc<IdentityProvider>> {
        let snapshot = self.store.snapshot();
        let source = snapshot.identity_source(&known.identity.provider.name)?;
        let same = source.resource() == known.identity.provider.resource;
        (same && known.is_due(source, self.clock.now())).then(|| source.clone())
    }

    async fn refresh(&self, id: &str, known: Refreshable, until: Timestamp) -> Result<Option<IdentityAssertion>, Error> {
        let (ephemeral, now) = (self.store.ephemeral(), self.clock.now());
        let until = until.max(now.plus_seconds(86_400));
        // One asks, on one node; refresh tokens are good once. The others go on with what is known.
        if !ephemeral.put_new(REFRESHING, id, &(), now.plus_seconds(REFRESHING_SECONDS)).await? {
            return Ok(Some(known.identity));
        }
        // Another may have asked between our look and our mark.
        let Some(known) = ephemeral.get::<Refreshable>(FRESH, id).await? else { return Ok(Some(known.identity)) };
        let Some(source) = self.due(&known) else {
            ephemeral.delete(REFRESHING, id).await?;
            return Ok(Some(known.identity));
        };
        let identity = match self.federation.refresh(&source, &known).await {
            Refreshed::Unchanged(rotated) => {
                // The mark stays: a provider that is down is asked again when it has gone, and slows nobody.
                if let Some(rotated) = rotated {
                    ephemeral.put(FRESH, id, &*rotated, until).await?;
                }
                return Ok(Some(known.identity));
            }
            Refreshed::Fresh(fresh) => {
                ephemeral.put(FRESH, id, &*fresh, until).await?;
                Some(fresh.identity)
            }
            Refreshed::Over => {
                ephemeral.put(ENDED, id, &(), until).await?;
                ephemeral.delete(FRESH, id).await?;
                None
            }
        };
        ephemeral.delete(REFRESHING, id).await?;
        Ok(identity)
    }
}
