//! IAM users and root users: who holds long-term credentials, and what is made with them.

use super::{
    Arn, Secret, Timestamp,
    name::{AccountId, FederatedUserName, IamUserName, PolicyName, SourceIdentity},
    session::SessionTags,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Most access keys of a user (IAM quotas).
pub const MAX_ACCESS_KEYS: usize = 2;

/// A user of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The account it lives in.
    pub account: AccountId,
    /// Unique in the account, without regard to case.
    pub name: IamUserName,
    /// `/` or `/a/b/`.
    pub path: String,
    /// `AIDA…`: never reused.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Inline policies by name, as JSON text.
    pub inline_policies: BTreeMap<PolicyName, Arc<str>>,
    /// ARNs of attached managed policies, sorted.
    pub attached_policies: Vec<Arn>,
}

impl User {
    /// `arn:aws:iam::<account>:user<path><name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::iam(&self.account, &format!("user{}{}", self.path, self.name))
    }
}

/// A long-term access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// `AKIA…`.
    pub id: String,
    /// The account.
    pub account: AccountId,
    /// Unique id of its user; none for the account's root user.
    pub user_id: Option<String>,
    /// What signs. Sealed before it reaches the store.
    pub secret: Secret<String>,
    /// An inactive one signs nothing.
    pub active: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// When, for what and where an access key was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub time: Timestamp,
    /// Service of the credential scope, for example `sts`.
    pub service: String,
    /// Region of the credential scope.
    pub region: String,
}

/// A virtual MFA device: a shared secret for one-time codes (RFC 6238: SHA-1, six digits, 30 seconds).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MfaDevice {
    /// The account.
    pub account: AccountId,
    /// Unique in the account.
    pub name: IamUserName,
    /// The secret. Sealed before it reaches the store.
    pub seed: Secret<Vec<u8>>,
    /// Whose it is, by unique id, and since when; none before it is enabled.
    pub enabled: Option<(String, Timestamp)>,
}

impl MfaDevice {
    /// `arn:aws:iam::<account>:mfa/<name>`: what `SerialNumber` says.
    #[must_use]
    pub fn serial(&self) -> Arn {
        Arn::iam(&self.account, &format!("mfa/{}", self.name))
    }
}

/// What kind of credentials a user holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserCredentials {
    /// A long-term access key.
    #[serde(rename = "k")]
    AccessKey,
    /// From `GetSessionToken`.
    #[serde(rename = "s")]
    Session,
    /// From `GetFederationToken`: somebody the user vouches for.
    #[serde(rename = "f")]
    Federation(FederatedUserName),
    /// From `AssumeRoot`: the root user of a member account, for one task.
    #[serde(rename = "r")]
    AssumedRoot,
}

/// A user or root user who signs. Temporary ones are sealed into their session token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSession {
    /// `AKIA…` or `ASIA…`.
    #[serde(rename = "k")]
    pub access_key_id: String,
    /// The secret that signs.
    #[serde(rename = "s", serialize_with = "Secret::reveal")]
    pub secret_access_key: Secret<String>,
    /// The account.
    #[serde(rename = "a")]
    pub account: AccountId,
    /// Unique id of the user; none for the root user.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// ARN of the user or the root user.
    #[serde(rename = "n")]
    pub user: Arn,
    /// Which credentials.
    #[serde(rename = "q")]
    pub credentials: UserCredentials,
    /// When they were made.
    #[serde(rename = "t")]
    pub issued: Timestamp,
    /// When they end; none for an access key.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When the user gave a second factor.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<Timestamp>,
    /// Whose sessions these are of: the user's unique id, or whoever became root.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Who that is in the directory, by id, where they are in it.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub directory_user: Option<String>,
    /// Of the session that became root.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<SourceIdentity>,
    /// Session tags of a federated user.
    #[serde(rename = "g", default, skip_serializing_if = "SessionTags::is_empty")]
    pub tags: SessionTags,
    /// Inline session policy, as JSON text.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub session_policy: Option<String>,
    /// Managed session policies.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub session_policy_arns: Vec<Arn>,
}

impl UserSession {
    /// Who signs with an access key.
    #[must_use]
    pub fn of_key(key: &AccessKey, user: Arn) -> Self {
        Self {
            access_key_id: key.id.clone(),
            secret_access_key: key.secret.clone(),
            account: key.account.clone(),
            user_id: key.user_id.clone(),
            user,
            credentials: UserCredentials::AccessKey,
            issued: key.created,
            expires: None,
            mfa: None,
            person: key.user_id.clone(),
            directory_user: None,
            source_identity: None,
            tags: SessionTags::default(),
            session_policy: None,
            session_policy_arns: Vec::new(),
        }
    }

    /// Who this is: the user, the federated user, or the root user.
    #[must_use]
    pub fn arn(&self) -> Arn {
        match &self.credentials {
            UserCredentials::Federation(name) => Arn::federated_user(&self.account, name.as_str()),
            UserCredentials::AssumedRoot => Arn::assumed_root(&self.account),
            UserCredentials::AccessKey | UserCredentials::Session => self.user.clone(),
        }
    }

    /// What STS calls `UserId`: `AIDA…`, `<account>:<name>` of a federated user, the account for root.
    #[must_use]
    pub fn unique_id(&self) -> String {
        match (&self.credentials, &self.user_id) {
            (UserCredentials::Federation(name), _) => format!("{}:{name}", self.account),
            (_, Some(id)) => id.clone(),
            (_, None) => self.account.to_string(),
        }
    }

    /// Whether this is an account's root user.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.user_id.is_none() && !matches!(self.credentials, UserCredentials::Federation(_))
    }

    /// Whether these are temporary credentials.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        self.expires.is_some()
    }
}
