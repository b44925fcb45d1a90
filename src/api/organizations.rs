//! AWS Organizations, as far as the accounts need it.

use crate::{
    domain::Error,
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service, fault::json_code},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct Organizations;

impl Service for Organizations {
    const EVENT_SOURCE: &'static str = "organizations.amazonaws.com";
    const SIGNING_NAME: &'static str = "organizations";
    const PROTOCOL: Protocol = Protocol::Json { target: "AWSOrganizationsV20161128" };
    fn fault(error: &Error) -> Fault {
        let (status, code) = json_code(error.kind);
        Fault::new(status, code, error)
    }
}

/// What is served.
pub const TABLE: &[Entry] = &[Entry::rpc::<DescribeOrganization>(), Entry::rpc::<ListAccounts>()];

/// Describes the organization.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeOrganization {}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrganizationDescription {
    /// The organization.
    pub organization: OrganizationDetail,
}

/// Its facts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrganizationDetail {
    /// `o-…`.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// `ALL`: every feature is there.
    pub feature_set: &'static str,
    /// The account that owns it.
    pub master_account_id: String,
}

impl Operation for DescribeOrganization {
    type Service = Organizations;
    type Mode = Read;
    type Output = OrganizationDescription;
    const NAME: &'static str = "DescribeOrganization";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("organizations:DescribeOrganization", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<OrganizationDescription, Error> {
        let organization = call.tx.snapshot.organization.clone().ok_or_else(|| Error::internal("no organization"))?;
        let owner = &organization.management_account;
        Ok(OrganizationDescription {
            organization: OrganizationDetail {
                arn: format!("arn:aws:organizations::{owner}:organization/{}", organization.id),
                id: organization.id,
                feature_set: "ALL",
                master_account_id: owner.to_string(),
            },
        })
    }
}

/// Lists the accounts, by id.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAccounts {
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountList {
    /// A page of accounts.
    pub accounts: Vec<AccountDetail>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// An account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountDetail {
    /// Twelve digits.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
    /// Contact.
    pub email: String,
    /// `ACTIVE`.
    pub status: &'static str,
}

impl Operation for ListAccounts {
    type Service = Organizations;
    type Mode = Read;
    type Output = AccountList;
    const NAME: &'static str = "ListAccounts";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("organizations:ListAccounts", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AccountList, Error> {
        let snapshot = &call.tx.snapshot;
        let organization = snapshot.organization.as_ref().ok_or_else(|| Error::internal("no organization"))?;
        let accounts = snapshot.accounts.values();
        let (page, next_token) =
            super::page(accounts, |account| account.id.to_string(), self.next_token.as_deref(), self.max_results)?;
        let detail = |account: &crate::domain::organization::Account| AccountDetail {
            arn: format!("arn:aws:organizations::{}:account/{}/{}", organization.management_account, organization.id, account.id),
            id: account.id.to_string(),
            name: account.name.clone(),
            email: account.email.clone(),
            status: "ACTIVE",
        };
        Ok(AccountList { accounts: page.into_iter().map(detail).collect(), next_token })
    }
}
