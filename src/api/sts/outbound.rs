//! Web identity tokens of this broker: a caller's identity, signed for services elsewhere (IAM user guide, "Federate AWS
//! identities to external services").

use super::{Sts, Tag, session_tags};
use crate::{
    domain::{Arn, Error, ErrorKind, Secret, Timestamp, session::SessionTags},
    gateway::{Access, Call, Issue, Operation, Read, Scope},
    policy::evaluate::Check,
    store::keys::TokenAlgorithm,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a token lives when nobody asks, in seconds.
const USUAL_SECONDS: u32 = 300;
/// Largest payload of a token, in bytes.
const MAX_PAYLOAD: usize = 8192;

/// Signs a token that says who the caller is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetWebIdentityToken {
    /// For whom, 1 to 10, each 1 to 1000 characters.
    pub audience: Vec<String>,
    /// `RS256` or `ES384`.
    pub signing_algorithm: TokenAlgorithm,
    /// 60 to 3600 seconds, default 300.
    pub duration_seconds: Option<u32>,
    /// Goes into the token as `request_tags`.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WebIdentityToken {
    /// A compact JWS.
    #[serde(serialize_with = "Secret::reveal")]
    pub web_identity_token: Secret<String>,
    /// When it ends.
    pub expiration: Timestamp,
}

impl GetWebIdentityToken {
    fn seconds(&self) -> Result<u32, Error> {
        let seconds = self.duration_seconds.unwrap_or(USUAL_SECONDS);
        if (60..=3600).contains(&seconds) {
            return Ok(seconds);
        }
        Err(Error::invalid(format!(
            "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value between 60 and 3600"
        )))
    }
}

impl Operation for GetWebIdentityToken {
    type Service = Sts;
    type Mode = Issue;
    type Output = WebIdentityToken;
    const NAME: &'static str = "GetWebIdentityToken";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let seconds = self.seconds()?;
        let well_formed = |audience: &String| (1..=1000).contains(&audience.chars().count());
        if !(1..=10).contains(&self.audience.len()) || !self.audience.iter().all(well_formed) {
            return Err(Error::invalid("Audience must have 1 to 10 members of 1 to 1000 characters"));
        }
        let tags = session_tags(&self.tags, &[])?;
        let mut check = Check::new("sts:GetWebIdentityToken", "*")
            .with_key("sts:IdentityTokenAudience", self.audience.clone())
            .with_key("sts:SigningAlgorithm", vec![self.signing_algorithm.to_string()])
            .with_key("sts:DurationSeconds", vec![seconds.to_string()])
            .with_key("aws:TagKeys", tags.iter().map(|(key, _)| key.to_owned()).collect());
        for (key, value) in tags.iter() {
            check = check.with_key(&format!("aws:RequestTag/{key}"), vec![value.to_owned()]);
        }
        let mut checks = vec![check.clone()];
        if !tags.is_empty() {
            checks.push(Check { action: "sts:TagGetWebIdentityToken".to_owned(), ..check });
        }
        scope.account()?;
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<WebIdentityToken, Error> {
        let account = call.account()?.clone();
        let snapshot = call.tx.snapshot.clone();
        if !snapshot.outbound_federation.contains(&account) {
            let message = "Outbound web identity federation is not enabled for this account.";
            return Err(Error::new(ErrorKind::FeatureDisabled, message));
        }
        let now = call.caller.origin.time;
        let expiration = now.plus_seconds(i64::from(self.seconds()?));
        let end = call.scope.principal().expires();
        if end.is_some_and(|end| expiration > end) {
            let message = "The token would outlive the credentials that ask for it. Ask for a shorter DurationSeconds.";
            return Err(Error::new(ErrorKind::SessionDurationEscalation, message));
        }
        let mut about = json!({ "aws_account": account, "source_region": "us-east-1" });
        let mut add = |key: &str, value: Value| {
            if let Some(members) = about.as_object_mut() {
                members.insert(key.to_owned(), value);
            }
        };
        if let Some(organization) = &snapshot.organization {
            add("org_id", organization.id.clone().into());
        }
        if let Some(end) = end {
            add("original_session_exp", end.to_string().into());
        }
        let principal = call.scope.context().values("aws:PrincipalArn").and_then(|values| values.first());
        let subject = principal.cloned().ok_or_else(|| Error::internal("a caller without an ARN"))?;
        add("principal_id", subject.clone().into());
        let principal_tags = call.scope.principal().tags().into_iter().flat_map(SessionTags::iter);
        let principal_tags: Map<String, Value> = principal_tags.map(|(key, value)| (key.to_owned(), value.into())).collect();
        if !principal_tags.is_empty() {
            add("principal_tags", principal_tags.into());
        }
        let tags: Map<String, Value> = self.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone().into())).collect();
        if !tags.is_empty() {
            add("request_tags", tags.into());
        }
        let id = call.broker.random.token();
        let audience = match self.audience.as_slice() {
            [only] => json!(only),
            several => json!(several),
        };
        let mut claims = json!({
            "iss": call.broker.federation.addresses.token_issuer(&account),
            "aud": audience,
            "sub": subject,
            "iat": now.seconds(),
            "exp": expiration.seconds(),
            "jti": id,
            "https://sts.amazonaws.com/": about,
        });
        if let (Some(identity), Some(members)) = (call.scope.principal().source_identity(), claims.as_object_mut()) {
            members.insert("https://aws.amazon.com/source_identity".to_owned(), identity.to_string().into());
        }
        if claims.to_string().len() > MAX_PAYLOAD {
            let message =
                format!("The token's payload has more than {MAX_PAYLOAD} bytes. Pass fewer or shorter tags or audiences.");
            return Err(Error::new(ErrorKind::TokenTooLarge, message));
        }
        call.tx.note("audience", &self.audience);
        call.tx.note("subject", &subject);
        call.tx.note("jti", &id);
        let token = call.broker.store.token_keys().sign(self.signing_algorithm, &claims)?;
        Ok(WebIdentityToken { web_identity_token: token, expiration })
    }
}

/// Trades a token of a delegation request in. There are no delegation requests here: no token is one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetDelegatedAccessToken {
    /// The token.
    pub trade_in_token: Secret<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DelegatedAccessToken {
    /// Who the credentials are of.
    pub assumed_principal: Arn,
}

impl Operation for GetDelegatedAccessToken {
    type Service = Sts;
    type Mode = Read;
    type Output = DelegatedAccessToken;
    const NAME: &'static str = "GetDelegatedAccessToken";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("sts:GetDelegatedAccessToken", "*")]))
    }

    async fn run(self, _call: &mut Call<'_, Self>) -> Result<DelegatedAccessToken, Error> {
        Err(Error::new(ErrorKind::ExpiredTradeInToken, "The trade-in token is not valid or has expired."))
    }
}
