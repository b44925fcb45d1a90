//! The snapshot: everything authorization needs, compiled, immutable.

use super::structure::AccountGuardrails;
use crate::{
    domain::{
        Arn, Timestamp,
        anywhere::{AnywhereProfile, RevocationList, TrustAnchor},
        iam::{IdentityProvider, InstanceProfile, ManagedPolicy, ProviderOwner, Role},
        name::AccountId,
        organization::{Account, Guardrail, Organization, OrganizationalUnit},
        permission_set::{AccountAssignment, PermissionSet, reserved_role_name},
        revocation::Revocations,
        session::{IdentityAssertion, ProviderRef},
        user::{AccessKey, MfaDevice, UserSession},
    },
    policy::{CompiledRole, CompiledUser, Policy, TakeableRoles, aws_managed, evaluate::Guardrails},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

/// The revision of the organization, and the number of the last revocation.
pub type State = (i64, i64);

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
    /// IAM users, by account and lower-case name.
    pub users: BTreeMap<(AccountId, String), Arc<CompiledUser>>,
    /// Long-term access keys by id, and who signs with them.
    pub access_keys: HashMap<String, (AccessKey, Arc<UserSession>)>,
    /// Virtual MFA devices by serial number.
    pub mfa_devices: BTreeMap<Arn, Arc<MfaDevice>>,
    /// Accounts whose principals may ask for web identity tokens.
    pub outbound_federation: BTreeSet<AccountId>,
    /// Instance profiles, by account and lower-case name.
    pub instance_profiles: BTreeMap<(AccountId, String), Arc<InstanceProfile>>,
    /// Trust anchors of IAM Roles Anywhere.
    pub trust_anchors: Vec<Arc<TrustAnchor>>,
    /// Profiles of IAM Roles Anywhere.
    pub anywhere_profiles: Vec<Arc<AnywhereProfile>>,
    /// Certificates that authorities took back.
    pub revocation_lists: Vec<Arc<RevocationList>>,
    /// By ARN.
    pub policies: BTreeMap<Arn, (ManagedPolicy, Arc<Policy>)>,
    /// In order of owner and name; those of the organization are the identity sources.
    pub providers: Vec<Arc<IdentityProvider>>,
    /// The tree of accounts, by id.
    pub units: BTreeMap<String, OrganizationalUnit>,
    /// Guardrails, by id.
    pub guardrails: BTreeMap<String, Guardrail>,
    /// Ids of the guardrails that are on the root, a unit or an account.
    pub guardrail_targets: BTreeMap<String, BTreeSet<String>>,
    /// Targets from which the policy that allows everything was taken.
    pub without_full_access: BTreeSet<String>,
    /// Permission sets, by id.
    pub permission_sets: BTreeMap<String, Arc<PermissionSet>>,
    /// Who is assigned them where.
    pub assignments: BTreeSet<AccountAssignment>,
    /// What caps accounts, where anything does.
    pub(super) capped: HashMap<AccountId, Arc<AccountGuardrails>>,
    /// Sessions that are over before their time.
    pub revocations: Arc<Revocations>,
    /// Which roles an assertion may take.
    pub takeable: TakeableRoles,
    by_role_id: HashMap<String, Arc<CompiledRole>>,
    by_user_id: HashMap<String, Arc<CompiledUser>>,
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

    /// What decisions on it depend on.
    #[must_use]
    pub fn state(&self) -> State {
        (self.revision, self.revocations.sequence())
    }

    /// Finds users by id from here on.
    pub(super) fn index_users(&mut self) {
        self.by_user_id = self.users.values().map(|user| (user.user.id.clone(), user.clone())).collect();
    }

    /// A user by account and name, without regard to case.
    #[must_use]
    pub fn user(&self, account: &AccountId, name: &str) -> Option<&Arc<CompiledUser>> {
        self.users.get(&(account.clone(), name.to_lowercase()))
    }

    /// A user by its ARN, path included.
    #[must_use]
    pub fn user_by_arn(&self, arn: &Arn) -> Option<&Arc<CompiledUser>> {
        let user = self.user(&arn.account()?, arn.resource_name())?;
        (user.user.arn() == *arn).then_some(user)
    }

    /// A user by its unique id.
    #[must_use]
    pub fn user_by_id(&self, id: &str) -> Option<&Arc<CompiledUser>> {
        self.by_user_id.get(id)
    }

    /// A trust anchor by its ARN.
    #[must_use]
    pub fn trust_anchor(&self, arn: &Arn) -> Option<&Arc<TrustAnchor>> {
        self.trust_anchors.iter().find(|anchor| anchor.arn() == *arn)
    }

    /// A profile of IAM Roles Anywhere by its ARN.
    #[must_use]
    pub fn anywhere_profile(&self, arn: &Arn) -> Option<&Arc<AnywhereProfile>> {
        self.anywhere_profiles.iter().find(|profile| profile.arn() == *arn)
    }

    /// The access keys of a user, or of an account's root user, by id.
    #[must_use]
    pub fn keys_of(&self, account: &AccountId, user_id: Option<&str>) -> Vec<&AccessKey> {
        let keys = self.access_keys.values().map(|(key, _)| key);
        let mut own: Vec<_> = keys.filter(|key| key.account == *account && key.user_id.as_deref() == user_id).collect();
        own.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        own
    }

    /// A role by account and name, without regard to case.
    #[must_use]
    pub fn role(&self, account: &AccountId, name: &str) -> Option<&Arc<CompiledRole>> {
        self.roles.get(&(account.clone(), name.to_lowercase()))
    }

    /// The roles of an account by name, those after a name (lower case) alone.
    pub fn roles_of(&self, account: &AccountId, after: &str) -> impl Iterator<Item = &Arc<CompiledRole>> {
        let first = (Bound::Excluded((account.clone(), after.to_owned())), Bound::Unbounded);
        let own = account.clone();
        self.roles.range(first).take_while(move |((account, _), _)| *account == own).map(|(_, role)| role)
    }

    /// A role by the name that people know it by: its own, or that of its permission set.
    #[must_use]
    pub fn role_known_as(&self, account: &AccountId, name: &str) -> Option<&Arc<CompiledRole>> {
        self.role(account, name).or_else(|| {
            let set = self.permission_sets.values().find(|set| set.name.as_str().eq_ignore_ascii_case(name))?;
            self.role(account, &reserved_role_name(set))
        })
    }

    /// The name that people know a role by: that of its permission set, unless another role has it.
    #[must_use]
    pub fn known_name<'r>(&self, role: &'r Role) -> &'r str {
        let set = role.permission_set().filter(|name| self.role(&role.account, name).is_none());
        set.unwrap_or_else(|| role.name.as_str())
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

    /// The source that vouched for somebody, where it is still what it was.
    #[must_use]
    pub fn source_of(&self, identity: &IdentityAssertion) -> Option<&Arc<IdentityProvider>> {
        let vouched = &identity.provider;
        self.providers.iter().find(|known| {
            known.owner == vouched.owner && known.name.as_str() == vouched.name && known.resource() == vouched.resource
        })
    }

    /// The second factor that a source asserts, where it is believed: `Some(None)` when it does not say when that was.
    #[must_use]
    pub fn asserted_factor(&self, identity: &IdentityAssertion) -> Option<Option<Timestamp>> {
        let believed = &self.source_of(identity)?.second_factor.believed;
        identity.methods.iter().any(|method| believed.contains(method)).then_some(identity.asserted_authentication)
    }

    /// What caps whoever calls from an account, on a resource of an account.
    #[must_use]
    pub fn caps(&self, caller: Option<&AccountId>, owner: Option<&AccountId>) -> Guardrails<'_> {
        if self.capped.is_empty() {
            return Guardrails::NONE;
        }
        let of = |account: Option<&AccountId>| account.and_then(|account| self.capped.get(account));
        Guardrails {
            service_control: of(caller).map(|caps| caps.service_control.as_slice()).unwrap_or_default(),
            resource_control: of(owner).map(|caps| caps.resource_control.as_slice()).unwrap_or_default(),
            guarded: None,
            management: self.management_account(),
        }
    }

    /// A managed policy's document by ARN: customer-managed, or AWS-managed and built in.
    #[must_use]
    pub fn policy(&self, arn: &Arn) -> Option<Arc<Policy>> {
        let own = self.policies.get(arn).map(|(_, document)| document.clone());
        own.or_else(|| aws_managed::find(arn).map(|managed| managed.policy.clone()))
    }

    /// A managed policy's text by ARN.
    #[must_use]
    pub fn policy_text(&self, arn: &Arn) -> Option<&str> {
        let own = self.policies.get(arn).map(|(policy, _)| policy.document.as_str());
        own.or_else(|| aws_managed::find(arn).map(|managed| managed.text.as_str()))
    }

    /// The root of the tree of accounts; empty before there is an organization.
    #[must_use]
    pub fn root_id(&self) -> String {
        self.organization.as_ref().map(Organization::root_id).unwrap_or_default()
    }

    /// The account that owns the organization.
    #[must_use]
    pub fn management_account(&self) -> Option<&AccountId> {
        self.organization.as_ref().map(|organization| &organization.management_account)
    }
}
