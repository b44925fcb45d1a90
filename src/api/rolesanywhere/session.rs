//! `CreateSession`: a role's session for whoever holds the key of a certificate. It is in no published model; the request and
//! the answer are those of the credential helper (IAM Roles Anywhere user guide, "Credential helper").

use super::RolesAnywhere;
use crate::{
    api::sts::issue,
    credentials::SessionRequest,
    crypto::sha256_hex,
    domain::{
        Arn, Error, Secret, Timestamp,
        name::{RoleSessionName, SourceIdentity},
    },
    gateway::{Access, Call, CertifiedAccess, Issue, Operation, Proof, Scope, TrustedAccess},
    policy::decision::GrantBasis,
};
use serde::{Deserialize, Serialize};

/// Takes a role. The parameters come in the query, in the body, or in both.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSession {
    /// The role.
    pub role_arn: Arn,
    /// The profile that lists it.
    pub profile_arn: Arn,
    /// The authority that vouches for the certificate.
    pub trust_anchor_arn: Arn,
    /// 900 to 43200 seconds; default, and at most, the profile's.
    #[serde(default, deserialize_with = "number")]
    pub duration_seconds: Option<u32>,
    /// Where the profile allows it; default: the certificate's serial number.
    #[serde(alias = "sessionName")]
    pub role_session_name: Option<RoleSessionName>,
    /// What the machine says about itself. Nothing here asks for it.
    pub instance_properties: Option<serde_json::Value>,
}

/// A number, or its text as it stands in a query.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(u32),
        Text(String),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Number(number)) => Ok(Some(number)),
        Some(Number::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// One.
    pub credential_set: [CredentialSet; 1],
    /// Names the workload.
    pub subject_arn: Arn,
}

/// A session and its credentials.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSet {
    /// Who the workload has become.
    pub assumed_role_user: AssumedRoleUser,
    /// The credentials.
    pub credentials: Credentials,
    /// Percent of the token's room that policies and tags take.
    pub packed_policy_size: u32,
    /// The role.
    pub role_arn: Arn,
    /// From the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<SourceIdentity>,
}

/// Who the workload has become.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AssumedRoleUser {
    /// ARN of the session.
    pub arn: Arn,
    /// `AROA…:<session>`.
    pub assumed_role_id: String,
}

/// The credentials.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
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
    #[serde(serialize_with = "super::iso8601")]
    pub expiration: Timestamp,
}

impl Operation for CreateSession {
    type Service = RolesAnywhere;
    type Mode = Issue;
    type Output = Session;
    const NAME: &'static str = "CreateSession";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        let certified = CertifiedAccess { trust_anchor: self.trust_anchor_arn.clone(), profile: self.profile_arn.clone() };
        Ok(Access::Trusted(Box::new(TrustedAccess {
            role: self.role_arn.clone(),
            proof: Proof::Certificate(certified),
            session_name: self.role_session_name.clone(),
        })))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Session, Error> {
        let Some((GrantBasis::Certified(identity), role)) = call.permit.grant().map(|grant| (&grant.basis, &grant.role)) else {
            return Err(Error::internal("a certified call without a certificate"));
        };
        let profile = call.scope.snapshot.anywhere_profile(&self.profile_arn).cloned();
        let profile = profile.ok_or_else(|| Error::internal("a certified call without a profile"))?;
        let name = match self.role_session_name {
            Some(_) if !profile.accept_role_session_name => {
                return Err(Error::invalid("the profile does not accept a roleSessionName"));
            }
            Some(name) => name,
            None => RoleSessionName::nearest(&identity.serial),
        };
        let longest = profile.duration_seconds.min(role.role.max_session_seconds);
        let seconds = self.duration_seconds.map_or(longest, |asked| asked.min(profile.duration_seconds));
        let request = SessionRequest {
            seconds: Some(seconds),
            policy: profile.session_policy.clone(),
            policy_arns: profile.managed_policy_arns.clone(),
            ..SessionRequest::named(name)
        };
        let subject = sha256_hex(format!("{} {}", self.trust_anchor_arn, identity.serial));
        let part = |range: std::ops::Range<usize>| subject.get(range).unwrap_or_default();
        let uuid = format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32));
        let subject_arn = Arn::rolesanywhere(&profile.account, "subject", &uuid);
        let issued = issue(call, request)?;
        let credentials = issued.credentials;
        Ok(Session {
            credential_set: [CredentialSet {
                assumed_role_user: AssumedRoleUser { arn: issued.session.arn(), assumed_role_id: issued.session.user_id() },
                credentials: Credentials {
                    access_key_id: credentials.access_key_id,
                    secret_access_key: credentials.secret_access_key,
                    session_token: credentials.session_token,
                    expiration: credentials.expiration,
                },
                packed_policy_size: issued.packed_policy_size.unwrap_or(0),
                role_arn: self.role_arn,
                source_identity: issued.session.source_identity,
            }],
            subject_arn,
        })
    }
}
