//! Amazon Resource Names: `arn:partition:service:region:account:resource` (AWS General Reference, "ARNs").

use super::{Error, name::AccountId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An ARN, kept as its text with the account field checked for form.
///
/// The resource part keeps any further colons, as in `arn:aws:sts::111122223333:assumed-role/r/s`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Arn(String);

impl Arn {
    /// Parses an ARN: six colon-separated fields, the first `arn`, none of partition, service and resource empty.
    ///
    /// # Errors
    /// `InvalidInput` with AWS's wording ("… is invalid").
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut fields = text.splitn(6, ':');
        let well_formed = fields.next() == Some("arn")
            && fields.next().is_some_and(|partition| !partition.is_empty())
            && fields.next().is_some_and(|service| !service.is_empty())
            && fields.next().is_some()
            && fields.next().is_some_and(|account| account.is_empty() || account == "aws" || AccountId::parse(account).is_ok())
            && fields.next().is_some_and(|resource| !resource.is_empty());
        if well_formed && text.len() <= 2048 {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!("`{text}` is invalid: an ARN looks like arn:aws:iam::111122223333:role/Name")))
        }
    }

    /// An IAM ARN in an account, for example `iam(account, "role/Admin")`.
    #[must_use]
    pub fn iam(account: &AccountId, resource: &str) -> Self {
        Self(format!("arn:aws:iam::{account}:{resource}"))
    }

    /// An ARN of IAM Roles Anywhere: `arn:aws:rolesanywhere:<region>:<account>:<kind>/<id>`.
    #[must_use]
    pub fn rolesanywhere(account: &AccountId, kind: &str, id: &str) -> Self {
        Self(format!("arn:aws:rolesanywhere:{}:{account}:{kind}/{id}", super::anywhere::REGION))
    }

    /// The ARN of a role session: `arn:aws:sts::<account>:assumed-role/<role name without path>/<session>`.
    #[must_use]
    pub fn assumed_role(account: &AccountId, role: &str, session: &str) -> Self {
        Self(format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"))
    }

    /// The ARN of a session from `GetFederationToken`: `arn:aws:sts::<account>:federated-user/<name>`.
    #[must_use]
    pub fn federated_user(account: &AccountId, name: &str) -> Self {
        Self(format!("arn:aws:sts::{account}:federated-user/{name}"))
    }

    /// The ARN of a session from `AssumeRoot`: `arn:aws:sts::<account>:assumed-root`.
    #[must_use]
    pub fn assumed_root(account: &AccountId) -> Self {
        Self(format!("arn:aws:sts::{account}:assumed-root"))
    }

    /// The text of the ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The service field, for example `iam`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.0.split(':').nth(2).unwrap_or_default()
    }

    /// The account field, where it is an account (AWS-managed policies have `aws`).
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.0.split(':').nth(4).and_then(|account| AccountId::parse(account).ok())
    }

    /// The resource field with everything after it, for example `role/team/Admin`.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.0.splitn(6, ':').nth(5).unwrap_or_default()
    }

    /// The last path segment of the resource, for example `Admin` of `role/team/Admin`.
    #[must_use]
    pub fn resource_name(&self) -> &str {
        self.resource().rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Arn {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Arn> for String {
    fn from(arn: Arn) -> Self {
        arn.0
    }
}
