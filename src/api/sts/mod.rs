//! AWS Security Token Service (API version 2011-06-15): taking roles, and saying who one is.

pub mod identity;
pub mod outbound;
pub mod root;
pub mod sessions;
pub mod users;

pub use identity::{DecodeAuthorizationMessage, GetAccessKeyInfo, GetCallerIdentity};

use crate::{
    credentials::{self, Issued, SessionCredentials, SessionRequest},
    domain::{
        Arn, Error, ErrorKind, Secret, Timestamp,
        name::{AccountId, RoleSessionName, SourceIdentity},
        session::SessionTags,
    },
    gateway::{
        Access, Call, Entry, Fault, Issue, Operation, Proof, Protocol, Scope, Service, TrustedAccess, factor::OneTimeCode,
        fault::query_code,
    },
    policy::{aws_managed, decision::GrantBasis, evaluate::Check, role::saml_name_qualifier},
};
use base64::Engine as _;
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct Sts;

impl Service for Sts {
    const EVENT_SOURCE: &'static str = "sts.amazonaws.com";
    const SIGNING_NAME: &'static str = "sts";
    const PROTOCOL: Protocol = Protocol::Query { version: "2011-06-15" };
    fn fault(error: &Error) -> Fault {
        let (status, code) = match error.kind {
            ErrorKind::FeatureDisabled => (403, "OutboundWebIdentityFederationDisabledException"),
            kind => query_code(kind),
        };
        Fault::new(status, code, error)
    }
}

/// What is served: all of the model, and what the broker's own pages and command line ask.
pub const TABLE: &[Entry] = &[
    Entry::rpc::<AssumeRole>(),
    Entry::rpc::<AssumeRoleWithSAML>(),
    Entry::rpc::<AssumeRoleWithWebIdentity>(),
    Entry::rpc::<GetCallerIdentity>(),
    Entry::rpc::<users::GetSessionToken>(),
    Entry::rpc::<users::GetFederationToken>(),
    Entry::rpc::<root::AssumeRoot>(),
    Entry::rpc::<outbound::GetWebIdentityToken>(),
    Entry::rpc::<outbound::GetDelegatedAccessToken>(),
    Entry::rpc::<GetAccessKeyInfo>(),
    Entry::rpc::<DecodeAuthorizationMessage>(),
    Entry::inner::<sessions::ListSessions>(),
    Entry::inner::<sessions::RevokeSessions>(),
];

/// Session credentials on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Credentials {
    /// `ASIA…`.
    pub access_key_id: String,
    /// In the clear: this answer exists to hand it out.
    #[serde(serialize_with = "Secret::reveal")]
    pub secret_access_key: Secret<String>,
    /// Sealed.
    #[serde(serialize_with = "Secret::reveal")]
    pub session_token: Secret<String>,
    /// When they end.
    pub expiration: Timestamp,
}

impl From<SessionCredentials> for Credentials {
    fn from(credentials: SessionCredentials) -> Self {
        let SessionCredentials { access_key_id, secret_access_key, session_token, expiration } = credentials;
        Self { access_key_id, secret_access_key, session_token, expiration }
    }
}

/// Who the caller has become.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssumedRoleUser {
    /// `AROA…:<session>`.
    pub assumed_role_id: String,
    /// ARN of the session.
    pub arn: Arn,
}

/// The answer of [`AssumeRole`]; the federated ones add what the provider said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssumedRole {
    /// The credentials.
    pub credentials: Credentials,
    /// The session.
    pub assumed_role_user: AssumedRoleUser,
    /// Percent of the token's room that policies and tags take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed_policy_size: Option<u32>,
    /// Fixed along the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<SourceIdentity>,
    /// SAML and OIDC: NameID or `sub`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "Subject")]
    pub subject: Option<String>,
    /// SAML: `persistent`, `transient` or the format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_type: Option<String>,
    /// SAML: the entity ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// SAML: the Recipient. OIDC: the client id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// SAML: see [`saml_name_qualifier`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_qualifier: Option<String>,
    /// OIDC: `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_from_web_identity_token: Option<String>,
    /// OIDC: the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

impl AssumedRole {
    fn new(issued: Issued) -> Self {
        let Issued { session, credentials, packed_policy_size } = issued;
        Self {
            credentials: credentials.into(),
            assumed_role_user: AssumedRoleUser { assumed_role_id: session.user_id(), arn: session.arn() },
            packed_policy_size,
            source_identity: session.source_identity,
            subject: None,
            subject_type: None,
            issuer: None,
            audience: None,
            name_qualifier: None,
            subject_from_web_identity_token: None,
            provider: None,
        }
    }
}

/// `PolicyArns.member.N.arn`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDescriptor {
    /// ARN of a managed policy.
    pub arn: Arn,
}

/// `Tags.member.N.Key`, `.Value`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    /// 1 to 128 characters.
    pub key: String,
    /// Up to 256 characters.
    pub value: String,
}

/// Takes a role with another role's session (role chaining).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AssumeRole {
    /// The role.
    pub role_arn: Arn,
    /// Name of the new session.
    pub role_session_name: RoleSessionName,
    /// Length in seconds, 900 to 3600 (chained).
    pub duration_seconds: Option<u32>,
    /// Inline session policy.
    pub policy: Option<String>,
    /// Managed session policies.
    #[serde(default)]
    pub policy_arns: Vec<PolicyDescriptor>,
    /// Session tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Keys of tags that go along to sessions made from this one.
    #[serde(default)]
    pub transitive_tag_keys: Vec<String>,
    /// For trust policies that ask for it.
    pub external_id: Option<String>,
    /// Fixed for the rest of the chain.
    pub source_identity: Option<SourceIdentity>,
    /// The calling user's MFA device.
    pub serial_number: Option<String>,
    /// Its code, six digits.
    pub token_code: Option<Secret<String>>,
    /// What context providers say about the caller, 1 to 5.
    #[serde(default)]
    pub provided_contexts: Vec<ProvidedContext>,
}

/// `ProvidedContexts.member.N`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProvidedContext {
    /// The provider.
    pub provider_arn: Option<Arn>,
    /// What it says, 4 to 2048 characters.
    pub context_assertion: Option<Secret<String>>,
}

/// Session tags from the wire.
fn session_tags(tags: &[Tag], transitive: &[String]) -> Result<SessionTags, Error> {
    SessionTags::new(tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())), transitive)
}

/// `ExternalId` as the model has it: 2 to 1224 of `[\w+=,.@:/-]`.
fn check_external_id(id: Option<&str>) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    match id {
        Some(id) if !(2..=1224).contains(&id.len()) || !id.chars().all(allowed) => Err(Error::invalid(
            "1 validation error detected: Value at 'externalId' failed to satisfy constraint: Member must have 2 to 1224 characters and satisfy regular expression pattern: [\\w+=,.@:\\/-]*",
        )),
        _ => Ok(()),
    }
}

impl AssumeRole {
    fn session_tags(&self) -> Result<SessionTags, Error> {
        session_tags(&self.tags, &self.transitive_tag_keys)
    }
}

impl Operation for AssumeRole {
    type Service = Sts;
    type Mode = Issue;
    type Output = AssumedRole;
    const NAME: &'static str = "AssumeRole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let tags = self.session_tags()?;
        check_external_id(self.external_id.as_deref())?;
        let factor = OneTimeCode::of(self.serial_number.as_deref(), self.token_code.as_ref())?;
        // No context provider stands here, so no assertion of one can be genuine. Ignoring it would widen what was asked.
        if !self.provided_contexts.is_empty() {
            return Err(Error::new(ErrorKind::InvalidParameterValue, "The context assertion is not valid for this provider."));
        }
        let inherits = scope.principal().tags().is_some_and(|tags| tags.transitive().next().is_some());
        let role = scope.snapshot.role_by_arn(&self.role_arn);
        let mut actions = vec!["sts:AssumeRole"];
        // Tags that go along need the permission at every step, like tags that are passed here.
        if !tags.is_empty() || inherits {
            actions.push("sts:TagSession");
        }
        // A source identity that the chain carries needs the permission at every step, like one that is set here.
        if self.source_identity.is_some() || scope.context().values("aws:SourceIdentity").is_some() {
            actions.push("sts:SetSourceIdentity");
        }
        let check = |action: &str| {
            let mut check = Check::new(action, &self.role_arn)
                .with_key("sts:RoleSessionName", vec![self.role_session_name.to_string()])
                .with_key("sts:ExternalId", self.external_id.clone().into_iter().collect())
                .with_key("sts:SourceIdentity", self.source_identity.iter().map(ToString::to_string).collect())
                .with_key("aws:TagKeys", tags.iter().map(|(key, _)| key.to_owned()).collect())
                .with_key("sts:TransitiveTagKeys", tags.transitive().map(|(key, _)| key.to_owned()).collect());
            for (key, value) in tags.iter() {
                check = check.with_key(&format!("aws:RequestTag/{key}"), vec![value.to_owned()]);
            }
            match (role, self.role_arn.account()) {
                (Some(role), _) => check.trusted_by(role.clone()),
                (None, Some(account)) => check.owned_by(account),
                (None, None) => check,
            }
        };
        Ok(Access::Signed(actions.into_iter().map(check).collect()).with_factor(factor))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AssumedRole, Error> {
        if call.permit.grant().is_none() {
            let who = call.caller.describe();
            let message = format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {}", self.role_arn);
            return Err(Error::new(ErrorKind::AccessDenied, message));
        }
        let tags = self.session_tags()?;
        let request = SessionRequest {
            name: self.role_session_name,
            seconds: self.duration_seconds,
            policy: self.policy,
            policy_arns: session_policy_arns(call.scope, self.role_arn.account().as_ref(), self.policy_arns)?,
            source_identity: self.source_identity,
            tags,
        };
        issue(call, request).map(AssumedRole::new)
    }
}

/// Takes a role with a SAML assertion. Unsigned: the assertion is the proof.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AssumeRoleWithSAML {
    /// The role.
    pub role_arn: Arn,
    /// The SAML provider, in the role's account.
    pub principal_arn: Arn,
    /// A SAML response, base64, 4 to 100,000 characters.
    #[serde(rename = "SAMLAssertion")]
    pub saml_assertion: Secret<String>,
    /// Length in seconds.
    pub duration_seconds: Option<u32>,
    /// Inline session policy.
    pub policy: Option<String>,
    /// Managed session policies.
    #[serde(default)]
    pub policy_arns: Vec<PolicyDescriptor>,
}

impl Operation for AssumeRoleWithSAML {
    type Service = Sts;
    type Mode = Issue;
    type Output = AssumedRole;
    const NAME: &'static str = "AssumeRoleWithSAML";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        let text = self.saml_assertion.expose();
        if !(4..=100_000).contains(&text.len()) {
            return Err(Error::invalid(
                "1 validation error detected: Value at 'sAMLAssertion' failed to satisfy constraint: Member must have length between 4 and 100000",
            ));
        }
        let compact: String = text.split_whitespace().collect();
        let response = base64::engine::general_purpose::STANDARD
            .decode(compact)
            .map_err(|_| Error::new(ErrorKind::InvalidIdentityToken, "Invalid base64 SAMLResponse"))?;
        Ok(Access::Trusted(Box::new(TrustedAccess {
            role: self.role_arn.clone(),
            proof: Proof::Saml { provider: self.principal_arn.clone(), response },
            session_name: None,
        })))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AssumedRole, Error> {
        let Some(GrantBasis::Federated(assertion)) = call.permit.grant().map(|grant| &grant.basis) else {
            return Err(Error::internal("a SAML call without an assertion"));
        };
        let request = SessionRequest {
            seconds: self.duration_seconds.or(assertion.session_seconds),
            policy: self.policy,
            policy_arns: session_policy_arns(call.scope, self.role_arn.account().as_ref(), self.policy_arns)?,
            tags: assertion.tags.clone(),
            ..SessionRequest::named(assertion.session_name())
        };
        let issued = issue(call, request)?;
        let qualifier = saml_name_qualifier(&assertion.issuer, issued.session.account.as_str(), &assertion.provider.name);
        Ok(AssumedRole {
            subject: Some(assertion.subject.clone()),
            subject_type: assertion.subject_type.clone(),
            issuer: Some(assertion.issuer.clone()),
            audience: Some(assertion.audience.clone()),
            name_qualifier: Some(qualifier),
            ..AssumedRole::new(issued)
        })
    }
}

/// Takes a role with an ID token of an OIDC provider. Unsigned: the token is the proof.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AssumeRoleWithWebIdentity {
    /// The role.
    pub role_arn: Arn,
    /// Chosen by the caller.
    pub role_session_name: RoleSessionName,
    /// A JWT, 4 to 20,000 characters.
    pub web_identity_token: Secret<String>,
    /// Length in seconds.
    pub duration_seconds: Option<u32>,
    /// Inline session policy.
    pub policy: Option<String>,
    /// Managed session policies.
    #[serde(default)]
    pub policy_arns: Vec<PolicyDescriptor>,
}

impl Operation for AssumeRoleWithWebIdentity {
    type Service = Sts;
    type Mode = Issue;
    type Output = AssumedRole;
    const NAME: &'static str = "AssumeRoleWithWebIdentity";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        if !(4..=20_000).contains(&self.web_identity_token.expose().len()) {
            return Err(Error::invalid(
                "1 validation error detected: Value at 'webIdentityToken' failed to satisfy constraint: Member must have length between 4 and 20000",
            ));
        }
        Ok(Access::Trusted(Box::new(TrustedAccess {
            role: self.role_arn.clone(),
            proof: Proof::WebIdentity(self.web_identity_token.clone()),
            session_name: Some(self.role_session_name.clone()),
        })))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AssumedRole, Error> {
        let Some(GrantBasis::Federated(assertion)) = call.permit.grant().map(|grant| &grant.basis) else {
            return Err(Error::internal("a web identity call without a token"));
        };
        let request = SessionRequest {
            seconds: self.duration_seconds,
            policy: self.policy,
            policy_arns: session_policy_arns(call.scope, self.role_arn.account().as_ref(), self.policy_arns)?,
            tags: assertion.tags.clone(),
            ..SessionRequest::named(self.role_session_name)
        };
        let issued = issue(call, request)?;
        Ok(AssumedRole {
            subject_from_web_identity_token: Some(assertion.subject.clone()),
            audience: Some(assertion.audience.clone()),
            provider: assertion.provider.arn_in(&issued.session.account).map(|arn| arn.to_string()),
            ..AssumedRole::new(issued)
        })
    }
}

/// Issues against the call's permit and leaves its traces in the audit record.
pub(super) fn issue<O: Operation<Mode = Issue>>(call: &mut Call<'_, O>, request: SessionRequest) -> Result<Issued, Error> {
    let broker = call.broker;
    let issued = {
        let (limit, now) = (broker.limits.chained_seconds, call.caller.origin.time);
        credentials::issue(call.permit, request, limit, broker.store.ring(), &*broker.random, now)?
    };
    broker.store.note_role_use(&issued.session.role_id, call.caller.origin.time);
    call.tx.note("person", &issued.session.person);
    call.tx.note("assumedRole", issued.session.arn());
    call.tx.note("accessKeyId", &issued.session.access_key_id);
    call.tx.note("expiration", issued.session.expires.to_string());
    Ok(issued)
}

/// Managed session policies must exist in the role's account, or be AWS's.
fn session_policy_arns(scope: &Scope, account: Option<&AccountId>, policies: Vec<PolicyDescriptor>) -> Result<Vec<Arn>, Error> {
    for policy in &policies {
        let owner = policy.arn.account();
        let task = aws_managed::is_root_task(&policy.arn);
        let known = (owner.is_none() || owner.as_ref() == account) && !task && scope.snapshot.policy(&policy.arn).is_some();
        if !known {
            return Err(Error::invalid(format!(
                "The session policy {} is not a managed policy of the role's account",
                policy.arn
            )));
        }
    }
    Ok(policies.into_iter().map(|policy| policy.arn).collect())
}
