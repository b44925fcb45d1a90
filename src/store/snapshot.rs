//! The snapshot: everything authorization needs, compiled, immutable.

use crate::{
    domain::{
        Arn,
        iam::{IdentityProvider, ManagedPolicy, ProviderOwner},
        name::{AccountId, GroupName},
        organization::{Account, Organization},
        revocation::Revocations,
        session::ProviderRef,
    },
    policy::{CompiledRole, Policy, TakeableRoles},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// ARN of the one AWS-managed policy that is built in.
pub const ADMINISTRATOR_ACCESS: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
/// Its document.
pub const ADMINISTRATOR_ACCESS_DOCUMENT: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// One state of the organization.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each change.
    pub revision: i64,
    /// None before the first `daypass apply`.
    pub organization: Option<Organization>,
    /// By id.
    pub accounts: BTreeMap<AccountId, Account>,
    /// By account and lower-case name.
    pub roles: BTreeMap<(AccountId, String), Arc<CompiledRole>>,
    /// By ARN.
    pub policies: BTreeMap<Arn, (ManagedPolicy, Arc<Policy>)>,
    /// In order of owner and name; those of the organization are the identity sources.
    pub providers: Vec<Arc<IdentityProvider>>,
    /// Sessions that are over before their time.
    pub revocations: Revocations,
    /// Groups of the built-in directory.
    pub groups: Vec<GroupName>,
    /// Which roles an assertion may take.
    pub takeable: TakeableRoles,
    by_role_id: HashMap<String, Arc<CompiledRole>>,
}

impl Snapshot {
    pub(super) fn empty(revision: i64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// Builds the indexes.
    pub(super) fn index(mut self) -> Self {
        for role in self.roles.values() {
            self.by_role_id.insert(role.role.id.clone(), role.clone());
        }
        self.takeable = TakeableRoles::new(self.roles.values().cloned().collect());
        self
    }

    /// A role by account and name, without regard to case.
    #[must_use]
    pub fn role(&self, account: &AccountId, name: &str) -> Option<&Arc<CompiledRole>> {
        self.roles.get(&(account.clone(), name.to_lowercase()))
    }

    /// A role by its ARN, path included.
    #[must_use]
    pub fn role_by_arn(&self, arn: &Arn) -> Option<&Arc<CompiledRole>> {
        let account = arn.account()?;
        let role = self.role(&account, arn.resource_name())?;
        (role.role.arn() == *arn).then_some(role)
    }

    /// A role by its unique id.
    #[must_use]
    pub fn role_by_id(&self, id: &str) -> Option<&Arc<CompiledRole>> {
        self.by_role_id.get(id)
    }

    /// The providers people can sign in through.
    pub fn identity_sources(&self) -> impl Iterator<Item = &Arc<IdentityProvider>> {
        self.providers.iter().filter(|provider| provider.owner == ProviderOwner::Organization)
    }

    /// An identity source by name.
    #[must_use]
    pub fn identity_source(&self, name: &str) -> Option<&Arc<IdentityProvider>> {
        self.identity_sources().find(|provider| provider.name.as_str() == name)
    }

    /// The provider with this ARN: the account's own, else the organization's.
    #[must_use]
    pub fn provider(&self, arn: &Arn) -> Option<&Arc<IdentityProvider>> {
        let account = arn.account().filter(|account| self.accounts.contains_key(account))?;
        let standing = self.providers.iter().filter(|provider| provider.is_in(&account) && provider.arn(&account) == *arn);
        standing.max_by_key(|provider| provider.owner != ProviderOwner::Organization)
    }

    /// The ARN under which a verified provider stands in an account; none where it does not stand, or where a namesake that
    /// the account itself owns stands in front of it.
    #[must_use]
    pub fn standing(&self, verified: &ProviderRef, account: &AccountId) -> Option<Arn> {
        let arn = verified.arn_in(account)?;
        let provider = self.provider(&arn)?;
        (provider.owner == verified.owner && provider.name.as_str() == verified.name).then_some(arn)
    }

    /// A managed policy's document by ARN.
    #[must_use]
    pub fn policy(&self, arn: &Arn) -> Option<Arc<Policy>> {
        self.policies.get(arn).map(|(_, document)| document.clone())
    }

    /// A managed policy's text by ARN.
    #[must_use]
    pub fn policy_text(&self, arn: &Arn) -> Option<&str> {
        if arn.as_str() == ADMINISTRATOR_ACCESS {
            return Some(ADMINISTRATOR_ACCESS_DOCUMENT);
        }
        self.policies.get(arn).map(|(policy, _)| policy.document.as_str())
    }

    /// The account that owns the organization.
    #[must_use]
    pub fn management_account(&self) -> Option<&AccountId> {
        self.organization.as_ref().map(|organization| &organization.management_account)
    }
}
