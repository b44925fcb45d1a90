//! Who gets which role by which claims: the trust policies of many roles, as rules. For pages.

use super::super::Iam;
use crate::{
    domain::{Arn, Error, iam::Role, name::AccountId},
    gateway::{Access, Call, Operation, Read, Scope},
    policy::{
        evaluate::Check,
        rule::{self, Rule},
    },
};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// Roles on one page.
const PAGE: usize = 50;

/// A page of roles with their rules, by account and name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListRoleMappings {
    /// One account; none: all of the organization's.
    pub account: Option<AccountId>,
    /// Part of a role's name, or of anything in its trust policy: a group, an attribute, a provider.
    pub text: String,
    /// From the last page.
    pub marker: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct RoleMappings {
    /// A page of them.
    #[serde(skip)]
    pub mappings: Vec<RoleMapping>,
    /// For the next page.
    pub marker: Option<String>,
}

/// One role.
#[derive(Clone, Debug)]
pub struct RoleMapping {
    /// The role.
    pub role: Role,
    /// What its trust policy says, in order.
    pub rules: Vec<Rule>,
}

impl Operation for ListRoleMappings {
    type Service = Iam;
    type Mode = Read;
    type Output = RoleMappings;
    const NAME: &'static str = "ListRoleMappings";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let own = scope.account()?;
        Ok(Access::Signed(vec![match &self.account {
            Some(account) if account == own => Check::new("iam:ListRoles", Arn::iam(own, "role/")),
            _ => of_the_organization(scope)?,
        }]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleMappings, Error> {
        let snapshot = &call.tx.snapshot;
        let after = match &self.marker {
            Some(marker) => {
                marker.split_once('/').map(|(account, name)| Ok((AccountId::parse(account)?, name.to_owned()))).transpose()?
            }
            None => self.account.clone().map(|account| (account, String::new())),
        };
        let text = self.text.trim().to_lowercase();
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let roles = snapshot.roles.range((first, Bound::Unbounded));
        let roles = roles.take_while(|((account, _), _)| self.account.as_ref().is_none_or(|wanted| wanted == account));
        let mut fitting = roles.filter(|((_, name), role)| {
            // Accounts and roles are known by unique ids and numbers: nobody looks for those.
            text.is_empty() || name.contains(&text) || role.role.trust_policy.to_lowercase().contains(&text)
        });
        let page: Vec<_> = fitting.by_ref().take(PAGE).collect();
        let more = fitting.next().is_some();
        let marker = page.last().filter(|_| more).map(|((account, name), _)| format!("{account}/{name}"));
        let mapping = |role: &Role| RoleMapping {
            rules: rule::read(&super::shown(&role.trust_policy, snapshot)).map(|(_, rules)| rules).unwrap_or_default(),
            role: role.clone(),
        };
        Ok(RoleMappings { mappings: page.into_iter().map(|(_, role)| mapping(&role.role)).collect(), marker })
    }
}

/// Roles of every account are records of the management account; from another account this is a cross-account request, which
/// is refused.
pub(in crate::api) fn of_the_organization(scope: &Scope) -> Result<Check, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    Ok(Check::new("iam:ListRoleMappings", Arn::iam(&owner, "role-mapping/*")).owned_by(owner))
}
