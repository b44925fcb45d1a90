//! CreateTokenWithIAM: a caller who signs exchanges a person's access token, for an application (RFC 8693).

use super::SsoOidc;
use crate::{
    domain::{Arn, Error, ErrorKind, Secret},
    gateway::{Access, Bearer, Call, Issue, Operation, Scope},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Exchanges a person's access token for another one of the same session, which ends when that one does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTokenWithIAM {
    /// `t`: tells it from `CreateToken`, which has the same path.
    #[serde(rename = "aws_iam", default)]
    pub aws_iam: String,
    /// The application: `arn:aws:sso::<account>:application/<instance>/<id>`, of the caller's account. Policies decide
    /// about `sso-oauth:CreateTokenWithIAM` on it.
    pub client_id: Arn,
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    pub grant_type: String,
    /// The person's access token.
    pub subject_token: Option<Secret<String>>,
    /// `urn:ietf:params:oauth:token-type:access_token`.
    pub subject_token_type: Option<String>,
    /// The same, or absent.
    pub requested_token_type: Option<String>,
    /// Tokens open the portal API, nothing else.
    #[serde(default)]
    pub scope: Vec<String>,
    /// Of grants that are not served.
    pub refresh_token: Option<Secret<String>>,
    /// Of grants that are not served.
    pub assertion: Option<Secret<String>>,
    /// Of grants that are not served.
    pub code: Option<Secret<String>>,
    /// Of grants that are not served.
    pub code_verifier: Option<Secret<String>>,
    /// Of grants that are not served.
    pub redirect_uri: Option<String>,
}

/// The token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenWithIAM {
    /// Opaque.
    #[serde(serialize_with = "Secret::reveal")]
    pub access_token: Secret<String>,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
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
        let (broker, now) = (call.broker, call.caller.origin.time);
        call.tx.note("clientId", &self.client_id);
        call.tx.note("grantType", &self.grant_type);
        if self.grant_type != EXCHANGE {
            let message = format!("the grant type is {EXCHANGE}: no trusted token issuers or redirect addresses are known here");
            return Err(Error::new(ErrorKind::UnsupportedGrant, message));
        }
        if [&self.subject_token_type, &self.requested_token_type].into_iter().flatten().any(|kind| kind != ACCESS_TOKEN) {
            return Err(Error::invalid(format!("tokens here are of the type {ACCESS_TOKEN}")));
        }
        let subject = self.subject_token.as_ref().ok_or_else(|| Error::invalid("subjectToken is missing"))?;
        // Only a session that still stands, and never for longer than the token that was shown.
        let Bearer { session, ends } = broker.bearer(subject.expose()).await?;
        let session = broker.person(session).await?;
        call.tx.note("session", &session.id);
        call.tx.note("subject", &session.identity.subject);
        let token = broker.random.token();
        broker.keep_bearer(&token, &Bearer { session, ends }).await?;
        Ok(TokenWithIAM {
            access_token: Secret::new(token),
            token_type: "Bearer",
            expires_in: ends.seconds_since(now),
            issued_token_type: ACCESS_TOKEN,
            scope: [super::ACCOUNT_ACCESS],
        })
    }
}
