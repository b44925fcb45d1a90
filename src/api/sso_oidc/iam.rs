//! CreateTokenWithIAM: a caller who signs exchanges a person's access token, for an application (RFC 8693).

use super::{SsoOidc, token::access_token};
use crate::{
    api::refresh,
    domain::{
        Arn, Error, ErrorKind, Secret,
        session::{PortalSession, no_portal_session},
        sso::RefreshGrant,
    },
    gateway::{Access, BEARER, Call, Issue, Operation, Scope},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";

/// Exchanges a person's access token, or renews what came of that.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTokenWithIAM {
    /// `t`: tells it from `CreateToken`, which has the same path.
    #[serde(rename = "aws_iam", default)]
    pub aws_iam: String,
    /// The application: `arn:aws:sso::<account>:application/<instance>/<id>`, of the caller's account. Policies decide
    /// about `sso-oauth:CreateTokenWithIAM` on it.
    pub client_id: Arn,
    /// `urn:ietf:params:oauth:grant-type:token-exchange` or `refresh_token`.
    pub grant_type: String,
    /// Of the exchange: the person's access token.
    pub subject_token: Option<Secret<String>>,
    /// Of the exchange: `urn:ietf:params:oauth:token-type:access_token`.
    pub subject_token_type: Option<String>,
    /// Of the exchange: an access token (when absent), or a refresh token with it.
    pub requested_token_type: Option<String>,
    /// Of the refresh grant.
    pub refresh_token: Option<Secret<String>>,
    /// Tokens open the portal API, nothing else.
    #[serde(default)]
    pub scope: Vec<String>,
    /// Of grants that are not served.
    pub assertion: Option<Secret<String>>,
    /// Of grants that are not served.
    pub code: Option<Secret<String>>,
    /// Of grants that are not served.
    pub code_verifier: Option<Secret<String>>,
    /// Of grants that are not served.
    pub redirect_uri: Option<String>,
}

/// The tokens.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenWithIAM {
    /// Opaque; another token of the same session, which ends with it.
    #[serde(serialize_with = "Secret::reveal")]
    pub access_token: Secret<String>,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    /// Where it was asked for. Good once.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "Secret::reveal_any")]
    pub refresh_token: Option<Secret<String>>,
    /// What was given.
    pub issued_token_type: &'static str,
    /// What the token is good for.
    pub scope: [&'static str; 1],
}

impl Operation for CreateTokenWithIAM {
    type Service = SsoOidc;
    type Mode = Issue;
    type Output = TokenWithIAM;
    const NAME: &'static str = "CreateTokenWithIAM";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let application = self.client_id.service() == "sso" && self.client_id.resource().starts_with("application/");
        if !application || self.client_id.account().as_ref() != Some(scope.account()?) {
            return Err(Error::invalid("clientId is the ARN of an application of your account"));
        }
        Ok(Access::Signed(vec![Check::new("sso-oauth:CreateTokenWithIAM", &self.client_id)]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<TokenWithIAM, Error> {
        let client_id = self.client_id.to_string();
        call.tx.note("clientId", &client_id);
        call.tx.note("grantType", &self.grant_type);
        let (session, refresh_token) = match self.grant_type.as_str() {
            "urn:ietf:params:oauth:grant-type:token-exchange" => {
                let session = self.subject(call).await?;
                let refreshes = match self.requested_token_type.as_deref() {
                    None | Some(ACCESS_TOKEN) => false,
                    Some(REFRESH_TOKEN) => true,
                    Some(_) => return Err(Error::invalid("the requested token type is access_token or refresh_token")),
                };
                let grant = RefreshGrant { client_id, session: session.clone(), bound: None };
                let token = if refreshes { Some(refresh::give(call.broker, &grant).await?) } else { None };
                (session, token)
            }
            "refresh_token" => {
                let token = self.refresh_token.as_ref().ok_or_else(|| Error::invalid("refreshToken is missing"))?;
                let renewed = refresh::renew(call, token, |grant| grant.client_id == client_id && grant.bound.is_none()).await?;
                (renewed.session, Some(renewed.token))
            }
            _ => {
                let message = "the grant type is urn:ietf:params:oauth:grant-type:token-exchange or refresh_token: no trusted token \
                               issuers or redirect addresses of applications are known here";
                return Err(Error::new(ErrorKind::UnsupportedGrant, message));
            }
        };
        let token = access_token(call, &session, refresh_token).await?;
        Ok(TokenWithIAM {
            issued_token_type: if token.refresh_token.is_some() { REFRESH_TOKEN } else { ACCESS_TOKEN },
            access_token: token.access_token,
            token_type: token.token_type,
            expires_in: token.expires_in,
            refresh_token: token.refresh_token,
            scope: [super::ACCOUNT_ACCESS],
        })
    }
}

impl CreateTokenWithIAM {
    /// The session of the person whose token was passed.
    async fn subject(&self, call: &Call<'_, Self>) -> Result<PortalSession, Error> {
        if self.subject_token_type.as_deref() != Some(ACCESS_TOKEN) {
            return Err(Error::invalid("subjectTokenType is urn:ietf:params:oauth:token-type:access_token"));
        }
        let token = self.subject_token.as_ref().ok_or_else(|| Error::invalid("subjectToken is missing"))?;
        let session: Option<PortalSession> = call.broker.store.ephemeral().get(BEARER, token.expose()).await?;
        call.broker.person(session.ok_or_else(no_portal_session)?).await
    }
}
