//! Signing out: a person's own, told to their provider; and a provider's, told to us (SAML profiles 4.4).

use super::{signin::Signin, sso::end_session};
use crate::{
    domain::{Error, ErrorKind, Secret, Timestamp},
    federation::{
        Departure, Recording,
        saml::logout::{Inbound, LogoutMessage, respond},
    },
    gateway::{Access, Broker, Call, Entry, Issue, Operation, Scope, provider_logout},
};
use serde::{Deserialize, Serialize};

/// What pages call.
pub const TABLE: &[Entry] = &[Entry::inner::<SignOut>(), Entry::inner::<ProviderLogout>(), Entry::inner::<BackChannelLogout>()];

/// A person signs out here, and at their provider where it takes that.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignOut {}

/// Where the browser goes next.
#[derive(Debug, Serialize)]
pub struct SignedOut {
    /// To the provider; none when there is nothing to tell it.
    #[serde(skip)]
    pub departure: Option<Departure>,
}

impl Operation for SignOut {
    type Service = Signin;
    type Mode = Issue;
    type Output = SignedOut;
    const NAME: &'static str = "SignOut";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person may end their own session" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SignedOut, Error> {
        let session = end_session(call).await?;
        Ok(SignedOut { departure: call.broker.federation.sign_out(&session).await })
    }
}

/// A provider's logout message, brought by a browser.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProviderLogout {
    /// As it came.
    pub message: Inbound,
}

/// What followed.
#[derive(Debug, Serialize)]
pub struct ProviderLoggedOut {
    /// Our answer to the provider's request.
    #[serde(skip)]
    pub departure: Option<Departure>,
    /// Whether the provider, answering our request, says that its session has ended.
    pub confirmed: bool,
}

/// How long the sessions that a provider ended are remembered, in seconds: the longest a portal session can be.
const REMEMBERED_SECONDS: i64 = 86_400;

/// Ends what these keys name.
async fn remember(broker: &Broker, keys: Vec<String>, now: Timestamp) -> Result<(), Error> {
    for key in keys {
        broker.store.ephemeral().put(provider_logout::KIND, &key, &now, now.plus_seconds(REMEMBERED_SECONDS)).await?;
    }
    Ok(())
}

impl Operation for ProviderLogout {
    type Service = Signin;
    type Mode = Issue;
    type Output = ProviderLoggedOut;
    const NAME: &'static str = "ProviderLogout";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the provider's signature is the proof; it ends sessions and grants nothing" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ProviderLoggedOut, Error> {
        let (broker, now) = (call.broker, call.caller.origin.time);
        let mut recording = Recording::default();
        let message = crate::federation::saml::logout::read(&broker.federation, self.message, &mut recording).await;
        call.tx.note("checks", &recording);
        match message? {
            LogoutMessage::Response(confirmed) => Ok(ProviderLoggedOut { departure: None, confirmed }),
            LogoutMessage::Request(request) => {
                let source = request.source.name.to_string();
                call.tx.note("source", &source);
                call.tx.note("subject", &request.subject);
                remember(broker, provider_logout::keys(&source, Some(&request.subject), &request.indexes), now).await?;
                Ok(ProviderLoggedOut { departure: respond(&broker.federation, &request)?, confirmed: true })
            }
        }
    }
}

/// A provider's logout token, sent by its server (OpenID Connect Back-Channel Logout 1.0).
#[derive(Debug, Serialize, Deserialize)]
pub struct BackChannelLogout {
    /// Name of the source it came for.
    pub source: String,
    /// The token.
    pub logout_token: Secret<String>,
}

impl Operation for BackChannelLogout {
    type Service = Signin;
    type Mode = Issue;
    type Output = ();
    const NAME: &'static str = "BackChannelLogout";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the provider's signature is the proof; it ends sessions and grants nothing" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let (broker, now) = (call.broker, call.caller.origin.time);
        let source = call.tx.snapshot.identity_source(&self.source).cloned();
        let source = source.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "There is no such way to sign in."))?;
        call.tx.note("source", &self.source);
        let mut recording = Recording::default();
        let outcome = broker.federation.read_logout_token(&source, self.logout_token.expose(), &mut recording).await;
        call.tx.note("checks", &recording);
        let ended = outcome?;
        call.tx.note("subject", &ended.subject);
        let sessions: Vec<String> = ended.sid.into_iter().collect();
        remember(broker, provider_logout::keys(&self.source, ended.subject.as_deref(), &sessions), now).await
    }
}
