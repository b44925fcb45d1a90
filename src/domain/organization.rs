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
