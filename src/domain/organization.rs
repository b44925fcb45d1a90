//! The organization and its accounts.

use super::{Error, name::AccountId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The organization: one per installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Shown on every page.
    pub name: String,
    /// `o-` and ten letters or digits (AWS Organizations, "Organization").
    pub id: String,
    /// The account that owns the organization: organization-wide records can only be read from here.
    pub management_account: AccountId,
}

impl Organization {
    /// `r-…`: the root of the tree, above every unit and account.
    #[must_use]
    pub fn root_id(&self) -> String {
        format!("r-{}", self.id.trim_start_matches("o-").chars().take(4).collect::<String>())
    }
}

/// A part of the tree of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationalUnit {
    /// `ou-` and the root's letters, `-`, and eight letters or digits.
    pub id: String,
    /// Unique beside its siblings.
    pub name: String,
    /// The unit it is in, by id; none: the root.
    pub parent: Option<String>,
}

/// What a guardrail caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GuardrailKind {
    /// What principals of an account may do.
    #[serde(rename = "SERVICE_CONTROL_POLICY")]
    ServiceControl,
    /// What may be done to an account's resources.
    #[serde(rename = "RESOURCE_CONTROL_POLICY")]
    ResourceControl,
}

impl GuardrailKind {
    /// As the API spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceControl => "SERVICE_CONTROL_POLICY",
            Self::ResourceControl => "RESOURCE_CONTROL_POLICY",
        }
    }

    /// As ARNs and the store spell it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ServiceControl => "service_control",
            Self::ResourceControl => "resource_control",
        }
    }
}

/// A service or resource control policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardrail {
    /// `p-` and eight letters or digits.
    pub id: String,
    /// What it caps.
    pub kind: GuardrailKind,
    /// Unique for its kind.
    pub name: String,
    /// For people.
    pub description: String,
    /// JSON text.
    pub document: String,
}

/// The policy that allows everything, and is on every target that it was not taken from.
pub const FULL_ACCESS: &str = "p-FullAWSAccess";
/// Most units below each other (AWS Organizations user guide, "Quotas").
pub const MAX_UNIT_DEPTH: usize = 5;

/// An account: the boundary around its own roles, policies and providers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Twelve digits.
    pub id: AccountId,
    /// The name people see.
    pub name: String,
    /// A contact address, as in AWS Organizations.
    pub email: String,
    /// How it stands out on pages.
    #[serde(default)]
    pub color: Option<AccountColor>,
    /// The unit it is in, by id; none: the root.
    #[serde(default)]
    pub parent: Option<String>,
    /// What is known of it (AWS Organizations, "Tagging resources"); the values are its labels on pages.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// The colours of accounts (AWS User Experience Customization API reference, `AccountColor`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccountColor {
    /// `pink`
    Pink,
    /// `purple`
    Purple,
    /// `darkBlue`
    DarkBlue,
    /// `lightBlue`
    LightBlue,
    /// `teal`
    Teal,
    /// `green`
    Green,
    /// `yellow`
    Yellow,
    /// `orange`
    Orange,
    /// `red`
    Red,
}

impl AccountColor {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Pink, "pink"),
        (Self::Purple, "purple"),
        (Self::DarkBlue, "darkBlue"),
        (Self::LightBlue, "lightBlue"),
        (Self::Teal, "teal"),
        (Self::Green, "green"),
        (Self::Yellow, "yellow"),
        (Self::Orange, "orange"),
        (Self::Red, "red"),
    ];

    /// As the API spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(color, _)| *color == self).map_or("", |(_, name)| name)
    }

    /// By name; none for `none` and the empty text.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn parse(name: &str) -> Result<Option<Self>, Error> {
        if name.is_empty() || name == "none" {
            return Ok(None);
        }
        let found = Self::ALL.iter().find(|(_, known)| *known == name).map(|(color, _)| Some(*color));
        found.ok_or_else(|| {
            Error::invalid("A color is none, pink, purple, darkBlue, lightBlue, teal, green, yellow, orange or red")
        })
    }
}

/// Most tags of an account (AWS Organizations user guide, "Tagging resources").
pub const MAX_ACCOUNT_TAGS: usize = 50;

/// Checks the tags of an account.
///
/// # Errors
/// `InvalidInput`.
pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > MAX_ACCOUNT_TAGS {
        return Err(Error::invalid(format!("an account has at most {MAX_ACCOUNT_TAGS} tags")));
    }
    let plain = |text: &str| !text.chars().any(char::is_control);
    let long = |text: &str, most: usize| text.chars().count() > most;
    for (key, value) in tags {
        let reserved = key.to_ascii_lowercase().starts_with("aws:");
        if key.trim().is_empty() || long(key, 128) || long(value, 256) || !plain(key) || !plain(value) || reserved {
            return Err(Error::invalid(
                "a tag's key has 1 to 128 characters and does not begin with aws:, its value has at most 256",
            ));
        }
    }
    Ok(())
}
