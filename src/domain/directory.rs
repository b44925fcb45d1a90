//! People and groups of the built-in directory.

use super::{
    Secret,
    name::{GroupName, UserName},
};

/// A person in the built-in directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Stable and never reused (`u-` and 17 letters): what trust policies see as `directory:sub`.
    pub id: String,
    /// What the person types to sign in; compared without case.
    pub name: UserName,
    /// For display, and as `directory:email`.
    pub email: String,
    /// For display, and as `directory:name`.
    pub display_name: String,
    /// A PHC string (argon2id), or none when no password has been set.
    pub password_hash: Option<Secret<String>>,
    /// Names of the groups the person is in, sorted.
    pub groups: Vec<GroupName>,
    /// A disabled person can't sign in.
    pub disabled: bool,
}
