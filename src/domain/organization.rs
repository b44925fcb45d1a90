//! The organization and its accounts.

use super::name::AccountId;
use serde::{Deserialize, Serialize};

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
}
