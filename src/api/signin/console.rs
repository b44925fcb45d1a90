//! Console sign-in: by link for whoever holds session credentials, by button for a person in the portal.

use super::Signin;
use crate::store::EphemeralKind;
use crate::{
    api::{
        sso::{GetRoleCredentials, portal},
        sts,
    },
    credentials::console::{ConsoleCredentials, open_signin_token, signin_token},
    domain::{Error, ErrorKind, Secret, Timestamp, name::AccountId, session::RoleSession},
    gateway::{Access, Call, Issue, Operation, Scope},
};
use serde::{Deserialize, Serialize};

/// `getSigninToken`: session credentials for a one-time console link.
#[derive(Debug, Serialize, Deserialize)]
pub struct GetSigninToken {
    /// The credentials.
    pub credentials: ConsoleCredentials,
    /// Length of the console session, in seconds.
    pub session_duration: Option<u32>,
}

impl Operation for GetSigninToken {
    type Service = Signin;
    type Mode = Issue;
    type Output = SigninTokenAnswer;
    const NAME: &'static str = "GetSigninToken";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the session credentials in the request are the proof" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SigninTokenAnswer, Error> {
        let broker = call.broker;
        let now = call.caller.origin.time;
        let (token, session) = signin_token(&self.credentials, self.session_duration, broker.store.ring(), &*broker.random, now)?;
        standing(&call.tx.snapshot, &session)?;
        call.tx.note("assumedRole", session.arn());
        Ok(SigninTokenAnswer { signin_token: token })
    }
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SigninTokenAnswer {
    /// Good once, for fifteen minutes.
    #[serde(rename = "SigninToken", serialize_with = "Secret::reveal")]
    pub signin_token: Secret<String>,
}

/// A session whose role has gone opens nothing.
fn standing(snapshot: &crate::store::Snapshot, session: &RoleSession) -> Result<(), Error> {
    match snapshot.role_by_id(&session.role_id) {
        Some(_) => Ok(()),
        None => Err(Error::new(ErrorKind::UnknownKey, "The role of these credentials does not exist any more")),
    }
}

/// `login`: a one-time token for a console session.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConsoleLogin {
    /// From `getSigninToken`.
    pub signin_token: Secret<String>,
}

/// A console session.
#[derive(Debug, Serialize)]
pub struct ConsoleSession {
    /// The role session whose console it is.
    pub session: RoleSession,
    /// When it ends.
    pub until: Timestamp,
}

impl Operation for ConsoleLogin {
    type Service = Signin;
    type Mode = Issue;
    type Output = ConsoleSession;
    const NAME: &'static str = "ConsoleLogin";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the sign-in token is the proof; it is good once" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ConsoleSession, Error> {
        let store = &call.broker.store;
        let token = open_signin_token(store.ring(), self.signin_token.expose(), call.caller.origin.time)?;
        if !store
            .ephemeral()
            .put_new(EphemeralKind::lasting("signin-token"), &token.id, &(), token.expires.plus_seconds(1))
            .await?
        {
            let public = "This console link was used before. Open the console again from the portal.";
            return Err(Error::new(ErrorKind::StaleStep, public).with_private("signin_token_replayed"));
        }
        standing(&call.tx.snapshot, &token.session)?;
        call.tx.note("assumedRole", token.session.arn());
        Ok(ConsoleSession { session: token.session, until: token.console_until })
    }
}

/// The portal's console button: takes the role and opens its console in one step, with no token in any address.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenConsole {
    /// The account.
    pub account_id: AccountId,
    /// The role.
    pub role_name: String,
}

impl Operation for OpenConsole {
    type Service = Signin;
    type Mode = Issue;
    type Output = ConsoleSession;
    const NAME: &'static str = "OpenConsole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(GetRoleCredentials::access_to(scope, &self.account_id, &self.role_name))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ConsoleSession, Error> {
        let request = GetRoleCredentials::request(call)?;
        let session = sts::issue(call, request)?.session;
        portal::remember(call).await?;
        Ok(ConsoleSession { until: session.expires, session })
    }
}
