//! Permission sets and who is assigned them where (IAM Identity Center user guide, "Permission sets").
//!
//! An assignment is nothing but a role whose trust policy Daypass writes: see [`reserved_role_name`].

use super::{
    Arn, Timestamp,
    iam::Role,
    name::{AccountId, PermissionSetName, ProviderName},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What people may do where they are assigned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionSet {
    /// `ps-` and 16 letters or digits.
    pub id: String,
    /// Unique.
    pub name: PermissionSetName,
    /// For people.
    pub description: String,
    /// Longest session, in seconds: 3600 … 43200.
    pub session_seconds: u32,
    /// JSON text.
    pub inline_policy: Option<Arc<str>>,
    /// ARNs of AWS-managed policies, sorted.
    pub managed_policies: Vec<Arn>,
    /// When it was made.
    pub created: Timestamp,
}

/// Who is assigned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AssignmentPrincipal {
    /// Somebody of the directory, by id.
    User(String),
    /// A group of the directory, by id.
    Group(String),
    /// Whoever an identity source says this about.
    Claim {
        /// The source.
        source: ProviderName,
        /// The condition key.
        key: String,
        /// One of its values.
        value: String,
    },
}

/// Where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AssignmentTarget {
    /// One account.
    Account(AccountId),
    /// Every account below a unit, or below the root, by id: those that come later, too.
    Unit(String),
    /// Every account with this tag.
    Tag {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

/// Who is assigned what, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountAssignment {
    /// The permission set, by id.
    pub permission_set: String,
    /// Who.
    pub principal: AssignmentPrincipal,
    /// Where.
    pub target: AssignmentTarget,
}

/// The path of roles that assignments are: nobody makes or changes a role there.
pub const RESERVED_PATH: &str = "/aws-reserved/sso.amazonaws.com/";
const RESERVED_NAME: &str = "AWSReservedSSO_";

/// The name of the role that a permission set is in an account: `AWSReservedSSO_<name>_<16 letters or digits>`.
#[must_use]
pub fn reserved_role_name(set: &PermissionSet) -> String {
    format!("{RESERVED_NAME}{}_{}", set.name, set.id.trim_start_matches("ps-"))
}

impl Role {
    /// The name of the permission set that the role is, where it is one.
    #[must_use]
    pub fn permission_set(&self) -> Option<&str> {
        let name = self.name.as_str().strip_prefix(RESERVED_NAME).filter(|_| self.path == RESERVED_PATH)?;
        name.rsplit_once('_').map(|(name, _)| name)
    }
}
