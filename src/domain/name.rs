//! Names with rules: each type can only hold text that the IAM and STS API references allow.

use super::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal..=$max:literal, $allowed:expr, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks length and characters.
            ///
            /// # Errors
            /// `InvalidInput`, in AWS's wording for a failed constraint.
            pub fn parse(text: &str) -> Result<Self, Error> {
                let allowed: fn(char) -> bool = $allowed;
                let length = text.chars().count();
                if ($min..=$max).contains(&length) && text.chars().all(allowed) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::invalid(format!(
                        "1 validation error detected: Value '{}' at '{}' failed to satisfy constraint: {}",
                        text.chars().take(128).collect::<String>().escape_debug(), $what, $wanted
                    )))
                }
            }
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> { Self::parse(&text) }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self { name.0 }
        }
    };
}

const fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

name!(
    /// An account: twelve decimal digits.
    AccountId, "accountId", 12..=12, |c| c.is_ascii_digit(), "Member must be 12 digits"
);
name!(
    /// The name of a role, 1–64 of `[\w+=,.@-]`.
    RoleName, "roleName", 1..=64, word,
    "Member must have 1 to 64 characters and satisfy regular expression pattern: [\\w+=,.@-]+"
);
name!(
    /// The name of a policy, inline or managed, 1–128 of `[\w+=,.@-]`.
    PolicyName, "policyName", 1..=128, word,
    "Member must have 1 to 128 characters and satisfy regular expression pattern: [\\w+=,.@-]+"
);
name!(
    /// The name of an identity provider or identity source, 1–128 of `[\w._-]`.
    ProviderName, "name", 1..=128, |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'),
    "Member must have 1 to 128 characters and satisfy regular expression pattern: [\\w._-]+"
);
name!(
    /// A role session name, 2–64 of `[\w+=,.@-]`.
    RoleSessionName, "roleSessionName", 2..=64, word,
    "Member must have 2 to 64 characters and satisfy regular expression pattern: [\\w+=,.@-]*"
);
name!(
    /// The name of an IAM user or of a virtual MFA device, 1–64 of `[\w+=,.@-]`.
    IamUserName, "userName", 1..=64, word,
    "Member must have 1 to 64 characters and satisfy regular expression pattern: [\\w+=,.@-]+"
);
name!(
    /// The name of a federated user, 2–32 of `[\w+=,.@-]`.
    FederatedUserName, "name", 2..=32, word,
    "Member must have 2 to 32 characters and satisfy regular expression pattern: [\\w+=,.@-]*"
);
name!(
    /// The name of a permission set, 1–32 of `[\w+=,.@-]`.
    PermissionSetName, "name", 1..=32, word,
    "Member must have 1 to 32 characters and satisfy regular expression pattern: [\\w+=,.@-]+"
);
name!(
    /// The name of an instance profile, 1–128 of `[\w+=,.@-]`.
    InstanceProfileName, "instanceProfileName", 1..=128, word,
    "Member must have 1 to 128 characters and satisfy regular expression pattern: [\\w+=,.@-]+"
);
name!(
    /// A source identity, 2–64 of `[\w+=,.@-]`; fixed along a role chain.
    SourceIdentity, "sourceIdentity", 2..=64, word,
    "Member must have 2 to 64 characters and satisfy regular expression pattern: [\\w+=,.@-]*"
);
name!(
    /// The sign-in name of a person in the built-in directory, 1–128 characters without spaces or controls.
    UserName, "userName", 1..=128, |c: char| !c.is_control() && !c.is_whitespace(),
    "Member must have 1 to 128 characters, none of them a space or a control character"
);
name!(
    /// The display name of a directory group, 1–128 characters without controls.
    GroupName, "groupName", 1..=128, |c: char| !c.is_control(),
    "Member must have 1 to 128 characters, none of them a control character"
);

impl UserName {
    /// What names are compared by: two that have the same are the same person's.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl GroupName {
    /// What SCIM clients compare names by (RFC 7643, section 4.2). Trust policies compare the name itself.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl RoleSessionName {
    /// The nearest valid session name for a person: letters outside the allowed set become `-`,
    /// the result is cut to 64 and filled up to 2 characters.
    #[must_use]
    pub fn nearest(text: &str) -> Self {
        let mut name: String = text.chars().map(|c| if word(c) { c } else { '-' }).take(64).collect();
        while name.len() < 2 {
            name.push('-');
        }
        Self(name)
    }
}

/// Whether a character can't be seen for what it is: control characters, those that turn the direction of writing (Unicode
/// Standard Annex 9), and those without a width.
#[must_use]
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
