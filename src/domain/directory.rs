//! People and groups of the built-in directory.

use super::{
    Secret, Timestamp,
    name::{GroupName, UserName},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A person in the built-in directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Stable and never reused (`u-` and 17 letters): what trust policies see as `directory:sub`.
    pub id: String,
    /// What the person types to sign in; compared without case.
    pub name: UserName,
    /// For display, and as `directory:email`; empty when a SCIM client gave none.
    pub email: String,
    /// For display, and as `directory:name`.
    pub display_name: String,
    /// A PHC string (argon2id), or none when no password has been set.
    pub password_hash: Option<Secret<String>>,
    /// Names of the groups the person is in, sorted.
    pub groups: Vec<GroupName>,
    /// Ids of those groups, as they were read.
    pub group_ids: Vec<String>,
    /// A disabled person can't sign in.
    pub disabled: bool,
    /// How the SCIM client calls them.
    pub external_id: Option<String>,
    /// What else is known of them.
    pub profile: Profile,
    /// Whether a SCIM client keeps them.
    pub provisioned: bool,
    /// Kept by the store.
    pub stamp: Stamp,
}

impl User {
    /// Somebody new, of whom only this is known.
    #[must_use]
    pub fn new(id: String, name: UserName) -> Self {
        Self {
            id,
            email: String::new(),
            display_name: name.to_string(),
            name,
            password_hash: None,
            groups: Vec::new(),
            group_ids: Vec::new(),
            disabled: false,
            external_id: None,
            profile: Profile::default(),
            provisioned: false,
            stamp: Stamp::default(),
        }
    }

    /// Changes the name for display, also where a SCIM client gave one.
    pub fn set_display_name(&mut self, name: String) {
        if let Some(given) = self.profile.0.get_mut("displayName") {
            *given = Value::String(name.clone());
        }
        self.display_name = name;
    }

    /// Changes the address, also where it stands among others.
    pub fn set_email(&mut self, email: String) {
        if let Some(Value::Array(all)) = self.profile.0.get_mut("emails") {
            let primary = all.iter().position(is_primary).unwrap_or_default();
            if let Some(Value::Object(entry)) = all.get_mut(primary) {
                entry.insert("value".to_owned(), Value::String(email.clone()));
            }
        }
        self.email = email;
    }
}

/// Whether one of several values is the preferred one (RFC 7643, section 2.4).
#[must_use]
pub fn is_primary(value: &Value) -> bool {
    value.get("primary") == Some(&Value::Bool(true))
}

/// Attributes of a person that only SCIM clients set, by their names there (RFC 7643, section 4.1), those of the enterprise
/// extension below its URN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile(pub Map<String, Value>);

/// Name of the enterprise extension (RFC 7643, section 4.3).
pub const ENTERPRISE_USER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Attributes of a profile that trust policies may ask for, and the claims they are there: `directory:department` and so on.
pub const PROFILE_CLAIMS: &[(&str, &str)] = &[
    ("title", "title"),
    ("userType", "user_type"),
    ("department", "department"),
    ("division", "division"),
    ("organization", "organization"),
    ("costCenter", "cost_center"),
    ("employeeNumber", "employee_number"),
];

impl Profile {
    /// A text of the profile, or of the enterprise extension.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let extension = || self.0.get(ENTERPRISE_USER).and_then(|extension| extension.get(name));
        self.0.get(name).or_else(extension).and_then(Value::as_str)
    }
}

/// What the store keeps of each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
    /// Grows with each change; begins at 1, and is 0 for what is not stored yet.
    pub version: i64,
}

/// A group of the built-in directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Stable and never reused (`g-` and 17 letters).
    pub id: String,
    /// What trust policies see in `directory:groups`.
    pub name: GroupName,
    /// How the SCIM client calls it.
    pub external_id: Option<String>,
    /// Whether a SCIM client keeps it.
    pub provisioned: bool,
    /// Kept by the store.
    pub stamp: Stamp,
}

impl Group {
    /// A new group.
    #[must_use]
    pub fn new(id: String, name: GroupName) -> Self {
        Self { id, name, external_id: None, provisioned: false, stamp: Stamp::default() }
    }
}

/// Part of an answer about something else: an id and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `u-…` or `g-…`
    pub id: String,
    /// For display.
    pub name: String,
}

/// A SCIM client's token, without its secret (AWS IAM Identity Center, "Automatic provisioning").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    /// In the token itself, before the secret.
    pub id: String,
    /// What an administrator calls it.
    pub name: String,
    /// What it is good for.
    pub scope: TokenScope,
    /// Whether it may change people and groups that were made here, and so take them over.
    pub takeover: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// What a SCIM client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenScope {
    /// Read people and groups.
    Read,
    /// Change people, and what trust policies read of them.
    Users,
    /// Change people and groups.
    UsersAndGroups,
}

impl TokenScope {
    /// As it is stored and shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Users => "users",
            Self::UsersAndGroups => "users-and-groups",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Read, Self::Users, Self::UsersAndGroups].into_iter().find(|scope| scope.word() == word)
    }
}
