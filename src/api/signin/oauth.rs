//! `aws login`: a person lends one role to a command line, whose key is bound to it (AWS Sign-In API, "CreateOAuth2Token").

use super::Signin;
use crate::{
    api::{
        refresh,
        sso::GetRoleCredentials,
        sso_oidc::{keep_spent, lent, redeem_code},
        sts,
    },
    domain::{
        Arn, Error, ErrorKind, Secret, Timestamp,
        session::{Caller, DpopKey, PortalSession, Principal},
        sso::{LentRole, RefreshGrant},
    },
    gateway::{Access, Call, Gateway, Issue, Operation, Scope},
    store::keys::TokenAlgorithm,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The client of a browser on the same machine.
pub const SAME_DEVICE: &str = "arn:aws:signin:::devtools/same-device";
/// The client where a person carries the code over (`aws login --remote`).
pub const CROSS_DEVICE: &str = "arn:aws:signin:::devtools/cross-device";
/// What that one gives as the address to return to: nothing is sent there, the code is shown at once.
pub const CONFIRMATION: &str = "/v1/sessions/confirmation";
/// Life of a code that is carried over by hand, in seconds.
pub(super) const CARRIED_CODE_SECONDS: i64 = 300;
/// Life of the credentials, in seconds.
const CREDENTIAL_SECONDS: u32 = 900;

/// Exchanges a code or a refresh token for credentials of the role that the person chose. A DPoP proof has to come with it
/// (RFC 9449): what is given is bound to its key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateOAuth2Token {
    /// [`SAME_DEVICE`] or [`CROSS_DEVICE`].
    pub client_id: String,
    /// `authorization_code` or `refresh_token`.
    pub grant_type: String,
    /// Of the code grant.
    pub code: Option<Secret<String>>,
    /// Of the code grant.
    pub redirect_uri: Option<String>,
    /// Of the code grant.
    pub code_verifier: Option<Secret<String>>,
    /// Of the refresh grant.
    pub refresh_token: Option<Secret<String>>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2Token {
    /// For fifteen minutes.
    pub access_token: AccessToken,
    /// `aws_sigv4`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    /// For the next ones. Good once, with the same key.
    #[serde(serialize_with = "Secret::reveal")]
    pub refresh_token: Secret<String>,
    /// Of the code grant: its subject is the ARN of the role's session.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "Secret::reveal_any")]
    pub id_token: Option<Secret<String>>,
}

/// Session credentials, in the spelling of AWS Sign-In.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// `ASIA…`.
    pub access_key_id: String,
    /// In the clear: this answer exists to hand it out.
    #[serde(serialize_with = "Secret::reveal")]
    pub secret_access_key: Secret<String>,
    /// Sealed.
    #[serde(serialize_with = "Secret::reveal")]
    pub session_token: Secret<String>,
}

impl Operation for CreateOAuth2Token {
    type Service = Signin;
    type Mode = Issue;
    type Output = OAuth2Token;
    const NAME: &'static str = "CreateOAuth2Token";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public {
            because: "the code that a signed-in person approved, or the token that followed, is the proof, with its key; the \
                      role is decided as that person's",
        })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<OAuth2Token, Error> {
        let Principal::DpopKey(key) = call.caller.principal.clone() else {
            return Err(Error::invalid("a DPoP proof is needed (RFC 9449), with ES256"));
        };
        call.tx.note("clientId", &self.client_id);
        call.tx.note("grantType", &self.grant_type);
        match self.grant_type.as_str() {
            "authorization_code" => self.by_code(call, &key).await,
            "refresh_token" => self.by_refresh_token(call, &key).await,
            _ => Err(Error::invalid("grantType is authorization_code or refresh_token")),
        }
    }
}

impl CreateOAuth2Token {
    async fn by_code(self, call: &mut Call<'_, Self>, key: &DpopKey) -> Result<OAuth2Token, Error> {
        let broker = call.broker;
        let (Some(code), Some(redirect), Some(verifier)) = (&self.code, &self.redirect_uri, &self.code_verifier) else {
            return Err(Error::invalid("code, redirectUri and codeVerifier are needed"));
        };
        let expired = |error: Error| match error.kind {
            ErrorKind::InvalidGrant => Error { kind: ErrorKind::ExpiredCode, ..error },
            _ => error,
        };
        let code = redeem_code(call, &self.client_id, code, redirect, verifier).await.map_err(expired)?;
        let wrong = || Error::new(ErrorKind::ExpiredCode, "The code is for another endpoint");
        let role = code.grant.role.clone().ok_or_else(wrong)?;
        broker.use_up(key, call.caller.origin.time).await?;
        let session = lent(call, code.grant.session.clone()).await.map_err(expired)?;
        keep_spent(broker, &code, &session).await?;
        call.tx.note("session", &session.id);
        call.tx.note("subject", &session.identity.subject);
        // First the role is decided: what is refused leaves no session behind.
        let issued = as_person(call, session.clone(), IssueLoginCredentials(role.clone())).await?;
        let (name, origin) = (client_name(&role), call.caller.origin.clone());
        super::own_sessions::remember(broker.store.ephemeral(), &session, &origin, Some(name)).await?;
        let grant = RefreshGrant { client_id: self.client_id.clone(), session, bound: Some((role, key.thumbprint.clone())) };
        let refresh_token = refresh::give(broker, &grant).await?;
        let claims = json!({
            "iss": broker.federation.addresses.at(""),
            "aud": self.client_id,
            "sub": issued.arn,
            "iat": origin.time.seconds(),
            "exp": issued.expires.seconds(),
            "jti": broker.random.token(),
        });
        let id_token = broker.store.token_keys().sign(TokenAlgorithm::ES384, &claims)?;
        Ok(issued.answer(origin.time, refresh_token, Some(id_token)))
    }

    async fn by_refresh_token(self, call: &mut Call<'_, Self>, key: &DpopKey) -> Result<OAuth2Token, Error> {
        let token = self.refresh_token.as_ref().ok_or_else(|| Error::invalid("refreshToken is missing"))?;
        let belongs = |grant: &RefreshGrant| {
            grant.client_id == self.client_id && grant.bound.as_ref().is_some_and(|(_, bound)| *bound == key.thumbprint)
        };
        let found = refresh::find(call, token, belongs).await?;
        call.broker.use_up(key, call.caller.origin.time).await?;
        let role = found.role.clone().ok_or_else(|| Error::internal("a bound token without a role"))?;
        // First the role is decided: whoever has to give a second factor for it comes back with the same token.
        let issued = as_person(call, found.session.clone(), IssueLoginCredentials(role)).await?;
        let next = found.renew(call).await?;
        Ok(issued.answer(call.caller.origin.time, next, None))
    }
}

/// How the person's list of sessions names the command line.
fn client_name(role: &LentRole) -> String {
    format!("aws login as {} in {}", role.name, role.account)
}

/// Calls an operation as the person who lent their session: decided and recorded as theirs.
async fn as_person<O: Operation, N: Operation>(
    call: &Call<'_, O>,
    session: PortalSession,
    operation: N,
) -> Result<N::Output, Error> {
    let caller = Caller { principal: Principal::Person(Arc::new(session)), origin: call.caller.origin.clone() };
    Gateway { broker: call.broker.clone() }.call(&caller, operation).await
}

/// Credentials of a role for the command line it was lent to.
#[derive(Debug, Serialize, Deserialize)]
pub struct IssueLoginCredentials(pub LentRole);

/// The answer.
#[derive(Debug, Serialize)]
pub struct LoginCredentials {
    /// Whose they are: the ARN of the role's session.
    pub arn: Arn,
    /// The credentials.
    pub token: AccessToken,
    /// When they end.
    pub expires: Timestamp,
}

impl LoginCredentials {
    fn answer(self, now: Timestamp, refresh_token: Secret<String>, id_token: Option<Secret<String>>) -> OAuth2Token {
        let expires_in = self.expires.seconds_since(now);
        OAuth2Token { access_token: self.token, token_type: "aws_sigv4", expires_in, refresh_token, id_token }
    }
}

impl Operation for IssueLoginCredentials {
    type Service = Signin;
    type Mode = Issue;
    type Output = LoginCredentials;
    const NAME: &'static str = "IssueLoginCredentials";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(GetRoleCredentials::access_to(scope, &self.0.account, self.0.name.as_str()))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<LoginCredentials, Error> {
        let request = GetRoleCredentials::request(call)?;
        let issued = sts::issue(call, crate::credentials::SessionRequest { seconds: Some(CREDENTIAL_SECONDS), ..request })?;
        Ok(LoginCredentials {
            arn: issued.session.arn(),
            expires: issued.session.expires,
            token: AccessToken {
                access_key_id: issued.credentials.access_key_id,
                secret_access_key: issued.credentials.secret_access_key,
                session_token: issued.credentials.session_token,
            },
        })
    }
}
