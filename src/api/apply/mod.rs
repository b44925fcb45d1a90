//! Declarative set-up: the organization as one document, planned and applied (`daypass apply`).
//!
//! What the document lists is created or changed; what it does not list is left alone, or deleted when `prune` is asked
//! for. Applying the same document again changes nothing.

mod people;
mod providers;
mod structure;

use people::{People, people};
pub use providers::{KindEntry, ProviderEntry};
pub(super) use providers::{check_mapping, check_namesakes};
pub use structure::{AssignmentEntry, ClaimEntry, GuardrailEntry, KindWord, PermissionSetEntry, UnitEntry};

use super::iam::trust::{self, Known};

use crate::{
    domain::{
        Arn, Error, Random, Secret, Timestamp,
        directory::{Group, User},
        iam::{IdentityProvider, ManagedPolicy, ProviderOwner, Role},
        name::{AccountId, GroupName, PolicyName, ProviderName, RoleName, UserName},
        organization::{Account, AccountColor, Guardrail, Organization, OrganizationalUnit, check_tags},
        permission_set::{AccountAssignment, PermissionSet},
    },
    federation::passwords,
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service, Write, fault::json_code},
    policy::{DocumentKind, Policy},
    store::{Snapshot, WriteTx},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::collections::{BTreeMap, BTreeSet};

/// The service: operations of whoever runs the broker.
#[derive(Debug)]
pub struct Operator;

impl Service for Operator {
    const EVENT_SOURCE: &'static str = "daypass";
    const SIGNING_NAME: &'static str = "daypass";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        let (status, code) = json_code(error.kind);
        Fault::new(status, code, error)
    }
}

/// What the command line calls.
pub const TABLE: &[Entry] = &[
    Entry::inner::<PlanOrganization>(),
    Entry::inner::<ApplyOrganization>(),
    Entry::inner::<super::keys::ListRingKeys>(),
    Entry::inner::<super::keys::RotateRingKey>(),
    Entry::inner::<super::keys::ListSigningKeys>(),
    Entry::inner::<super::keys::RotateSigningKey>(),
    Entry::inner::<super::keys::RetireSigningKeys>(),
    Entry::inner::<super::settings::ListSettings>(),
    Entry::inner::<super::audit_log::VerifyAuditLog>(),
    Entry::inner::<super::audit_log::BeginBackup>(),
];

/// The document. See `config/organization.toml` for one with every key explained.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationFile {
    /// The organization.
    pub organization: OrganizationEntry,
    /// Accounts.
    #[serde(default)]
    pub accounts: Vec<AccountEntry>,
    /// Ways to sign in; each stands in every account as an identity provider.
    #[serde(default)]
    pub identity_sources: Vec<ProviderEntry>,
    /// Identity providers of one account, for the STS federation operations.
    #[serde(default)]
    pub identity_providers: Vec<ProviderEntry>,
    /// Customer-managed policies.
    #[serde(default)]
    pub policies: Vec<PolicyEntry>,
    /// Roles.
    #[serde(default)]
    pub roles: Vec<RoleEntry>,
    /// The tree of accounts, from above.
    #[serde(default)]
    pub organizational_units: Vec<UnitEntry>,
    /// Service and resource control policies.
    #[serde(default)]
    pub guardrails: Vec<GuardrailEntry>,
    /// Permission sets with their assignments.
    #[serde(default)]
    pub permission_sets: Vec<PermissionSetEntry>,
    /// Groups of the built-in directory.
    #[serde(default)]
    pub groups: Vec<GroupEntry>,
    /// People of the built-in directory.
    #[serde(default)]
    pub users: Vec<UserEntry>,
}

/// `[organization]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationEntry {
    /// Shown on every page.
    pub name: String,
    /// The account that owns the organization.
    pub management_account: AccountId,
}

/// `[[accounts]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountEntry {
    /// Twelve digits, quoted.
    pub id: AccountId,
    /// Name.
    pub name: String,
    /// Contact.
    #[serde(default)]
    pub email: String,
    /// How it stands out on pages.
    #[serde(default)]
    pub color: Option<AccountColor>,
    /// The unit it is in, by name, or `root`; where nothing is said, it stays where it is.
    pub unit: Option<String>,
    /// What is known of it.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// `[[policies]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyEntry {
    /// The account.
    pub account: AccountId,
    /// The name.
    pub name: PolicyName,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// JSON text, or the same as tables.
    pub document: PermissionText,
}

/// `[[roles]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleEntry {
    /// The account.
    pub account: AccountId,
    /// The name.
    pub name: RoleName,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Longest session, 3600 to 43200 seconds.
    #[serde(default = "one_hour")]
    pub max_session_seconds: u32,
    /// JSON text, or the same as tables.
    pub trust_policy: TrustText,
    /// Inline policies by name.
    #[serde(default)]
    pub policies: BTreeMap<PolicyName, PermissionText>,
    /// ARNs of managed policies.
    #[serde(default)]
    pub attached_policies: Vec<Arn>,
}

const fn one_hour() -> u32 {
    3600
}

/// `[[groups]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    /// The name.
    pub name: GroupName,
}

/// `[[users]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    /// What the person types to sign in.
    pub name: UserName,
    /// E-mail.
    pub email: String,
    /// Shown on pages.
    pub display_name: String,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<GroupName>,
    /// A PHC string (argon2id). Without one a person keeps the password they have, or gets one by `--new-passwords`.
    pub password_hash: Option<Secret<String>>,
    /// Can't sign in.
    #[serde(default)]
    pub disabled: bool,
}

/// A policy document, checked while it is read, so that errors carry its line.
#[derive(Clone, Debug, Serialize)]
pub struct PermissionText(String);
/// A trust policy, checked while it is read.
#[derive(Clone, Debug, Serialize)]
pub struct TrustText(String);

fn document<'de, D: Deserializer<'de>>(deserializer: D, kind: DocumentKind) -> Result<String, D::Error> {
    let text = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    Policy::parse(&text, kind).map_err(de::Error::custom)?;
    Ok(text)
}

impl<'de> Deserialize<'de> for PermissionText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document(deserializer, DocumentKind::Identity).map(Self)
    }
}

impl<'de> Deserialize<'de> for TrustText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document(deserializer, DocumentKind::Trust).map(Self)
    }
}

/// Says what applying would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanOrganization {
    /// The document.
    pub file: OrganizationFile,
    /// Delete what it does not list.
    pub prune: bool,
    /// Give people without a password a new one.
    pub new_passwords: bool,
}

/// Applies a document, all of it or nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplyOrganization(pub PlanOrganization);

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// What changes, in order.
    pub changes: Vec<Change>,
    /// What is there and not in the document, where nothing is pruned.
    pub unlisted: Vec<String>,
    /// New passwords, to be shown once: sign-in name and password. Empty in a plan.
    #[serde(skip)]
    pub passwords: Vec<(UserName, Secret<String>)>,
}

/// One change, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happens.
    pub verb: Verb,
    /// To what, for example `role 111122223333/Admin`.
    pub what: String,
    /// Which parts.
    pub parts: Vec<&'static str>,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verb {
    /// It is new.
    Create,
    /// It is there and differs.
    Update,
    /// It goes.
    Delete,
}

pub(super) const OPERATOR: &str = "whoever holds the data folder and its master key already holds everything in it";

impl Operation for PlanOrganization {
    type Service = Operator;
    type Mode = Read;
    type Output = Plan;
    const NAME: &'static str = "PlanOrganization";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Plan, Error> {
        let people = People::read(&call.tx).await?;
        let draft = draft(&self, &call.tx.snapshot, &people, &*call.broker.random, call.caller.origin.time)?;
        Ok(draft.plan)
    }
}

impl Operation for ApplyOrganization {
    type Service = Operator;
    type Mode = Write;
    type Output = Plan;
    const NAME: &'static str = "ApplyOrganization";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Plan, Error> {
        let people = People::read(&call.tx.read()).await?;
        let mut draft = draft(&self.0, &call.tx.snapshot, &people, &*call.broker.random, call.caller.origin.time)?;
        for user in draft.new_passwords {
            let password = Secret::new(call.broker.random.text(b"abcdefghijkmnpqrstuvwxyz23456789", 16));
            let hashed = password.clone();
            let hash = tokio::task::spawn_blocking(move || passwords::hash(&hashed)).await.map_err(Error::internal)??;
            for write in &mut draft.writes {
                if let Put::User(put) = write
                    && put.name == user
                {
                    put.password_hash = Some(hash.clone());
                }
            }
            draft.plan.passwords.push((user, password));
        }
        for write in draft.writes {
            write.perform(&mut call.tx).await?;
        }
        call.tx.note("changes", &draft.plan.changes);
        Ok(draft.plan)
    }
}

/// One write.
enum Put {
    Organization(Organization),
    Account(Account),
    Provider(IdentityProvider),
    Policy(ManagedPolicy),
    Role(Role),
    Group(Group),
    User(User),
    Unit(OrganizationalUnit),
    Guardrail(Guardrail),
    GuardrailTarget(String, String, bool),
    PermissionSet(PermissionSet),
    Assignment(AccountAssignment, bool),
    NoProvider(ProviderOwner, ProviderName),
    NoPolicy(String),
    NoRole(String),
    NoGroup(String),
    NoUser(String),
    NoUnit(String),
    NoGuardrail(String),
    NoPermissionSet(String),
}

impl Put {
    async fn perform(&self, tx: &mut WriteTx<'_>) -> Result<(), Error> {
        match self {
            Self::Organization(organization) => tx.put_organization(organization).await,
            Self::Account(account) => tx.put_account(account).await,
            Self::Provider(provider) => tx.put_provider(provider).await,
            Self::Policy(policy) => tx.put_policy(policy).await,
            Self::Role(role) => tx.put_role(role).await,
            Self::Group(group) => tx.put_group(group).await.map(drop),
            Self::User(user) => {
                tx.put_user(user).await?;
                tx.put_memberships(&user.id, &user.groups).await
            }
            Self::Unit(unit) => tx.put_unit(unit).await,
            Self::Guardrail(guardrail) => tx.put_guardrail(guardrail).await,
            Self::GuardrailTarget(policy, target, on) => tx.put_guardrail_target(policy, target, *on).await,
            Self::PermissionSet(set) => tx.put_permission_set(set).await,
            Self::Assignment(assignment, on) => tx.put_assignment(assignment, *on).await,
            Self::NoProvider(owner, name) => tx.delete_provider(owner, name).await,
            Self::NoPolicy(id) => tx.delete_policy(id).await,
            Self::NoRole(id) => tx.delete_role(id).await,
            Self::NoGroup(id) => tx.delete_group(id).await,
            Self::NoUser(id) => tx.delete_user(id).await,
            Self::NoUnit(id) => tx.delete_unit(id).await,
            Self::NoGuardrail(id) => tx.delete_guardrail(id).await,
            Self::NoPermissionSet(id) => tx.delete_permission_set(id).await,
        }
    }
}

struct Draft {
    plan: Plan,
    writes: Vec<Put>,
    new_passwords: Vec<UserName>,
    prune: bool,
}

impl Draft {
    /// Adds a write when something differs.
    fn put(&mut self, what: String, old: bool, parts: Vec<&'static str>, write: Put) {
        if old && parts.is_empty() {
            return;
        }
        let verb = if old { Verb::Update } else { Verb::Create };
        self.plan.changes.push(Change { verb, what, parts: if old { parts } else { Vec::new() } });
        self.writes.push(write);
    }

    /// Adds something that is there or not, as a whole.
    fn toggle(&mut self, what: String, on: bool, write: Put) {
        let verb = if on { Verb::Create } else { Verb::Delete };
        self.plan.changes.push(Change { verb, what, parts: Vec::new() });
        self.writes.push(write);
    }

    fn unlisted(&mut self, what: String, write: Put) {
        if self.prune {
            self.plan.changes.push(Change { verb: Verb::Delete, what, parts: Vec::new() });
            self.writes.push(write);
        } else {
            self.plan.unlisted.push(what);
        }
    }
}

/// Names of the parts that differ.
fn differing(parts: &[(&'static str, bool)]) -> Vec<&'static str> {
    parts.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
}

fn bad(key: &str, problem: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{key}: {problem}"))
}

fn draft(
    wish: &PlanOrganization,
    snapshot: &Snapshot,
    directory: &People,
    random: &dyn Random,
    now: Timestamp,
) -> Result<Draft, Error> {
    let file = &wish.file;
    let mut draft = Draft {
        plan: Plan { changes: Vec::new(), unlisted: Vec::new(), passwords: Vec::new() },
        writes: Vec::new(),
        new_passwords: Vec::new(),
        prune: wish.prune,
    };
    check_unique(file)?;
    let units = accounts(&mut draft, file, snapshot, random)?;
    let known: BTreeSet<&AccountId> = file.accounts.iter().map(|account| &account.id).chain(snapshot.accounts.keys()).collect();
    let in_known = |key: String, account: &AccountId| {
        if known.contains(account) {
            Ok(())
        } else {
            Err(bad(&key, format!("there is no account {account}; list it under [[accounts]]")))
        }
    };
    let mut providers = Vec::new();
    for (index, entry) in file.identity_sources.iter().enumerate() {
        let key = format!("identity_sources[{index}]");
        if entry.account.is_some() {
            return Err(bad(
                &format!("{key}.account"),
                "an identity source belongs to the organization; use [[identity_providers]] for one account",
            ));
        }
        providers.push(providers::provider(&key, entry, ProviderOwner::Organization)?);
    }
    for (index, entry) in file.identity_providers.iter().enumerate() {
        let key = format!("identity_providers[{index}]");
        let account = entry.account.clone().ok_or_else(|| bad(&key, "an identity provider needs an `account`"))?;
        in_known(format!("{key}.account"), &account)?;
        providers.push(providers::provider(&key, entry, ProviderOwner::Account(account))?);
    }
    providers::check_namesakes(&providers, snapshot, wish.prune)?;
    providers::put_providers(&mut draft, providers, snapshot);
    for (index, entry) in file.policies.iter().enumerate() {
        in_known(format!("policies[{index}].account"), &entry.account)?;
    }
    policies(&mut draft, file, snapshot, random, now);
    for (index, entry) in file.roles.iter().enumerate() {
        in_known(format!("roles[{index}].account"), &entry.account)?;
        if !(3600..=43_200).contains(&entry.max_session_seconds) {
            return Err(bad(&format!("roles[{index}].max_session_seconds"), "expected 3600 to 43200 seconds"));
        }
        for arn in &entry.attached_policies {
            let listed = file.policies.iter().any(|policy| Arn::iam(&policy.account, &format!("policy/{}", policy.name)) == *arn);
            let own = arn.account().is_none_or(|account| account == entry.account);
            if !own || !(listed || snapshot.policy(arn).is_some()) {
                return Err(bad(
                    &format!("roles[{index}].attached_policies"),
                    format!("there is no policy {arn} for a role of this account"),
                ));
            }
        }
    }
    roles(&mut draft, file, snapshot, random, now)?;
    people(&mut draft, wish, directory, random)?;
    structure::guardrails(&mut draft, file, &units, snapshot, random)?;
    let around = structure::Around { units: &units, people: directory, snapshot, random, now };
    structure::permission_sets(&mut draft, file, &around)?;
    Ok(draft)
}

fn check_unique(file: &OrganizationFile) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    let accounts = file.accounts.iter().map(|entry| format!("account {}", entry.id));
    let sources = file.identity_sources.iter().map(|entry| format!("identity source {}", entry.name));
    let providers = file.identity_providers.iter().map(|entry| format!("identity provider {:?}/{}", entry.account, entry.name));
    let policies = file.policies.iter().map(|entry| format!("policy {}/{}", entry.account, entry.name.as_str().to_lowercase()));
    let roles = file.roles.iter().map(|entry| format!("role {}/{}", entry.account, entry.name.as_str().to_lowercase()));
    let users = file.users.iter().map(|entry| format!("user {}", entry.name.as_str().to_lowercase()));
    for name in accounts.chain(sources).chain(providers).chain(policies).chain(roles).chain(users) {
        if let Some(twice) = seen.replace(name) {
            return Err(Error::invalid(format!("{twice} is listed twice")));
        }
    }
    Ok(())
}

fn accounts(
    draft: &mut Draft,
    file: &OrganizationFile,
    snapshot: &Snapshot,
    random: &dyn Random,
) -> Result<structure::Units, Error> {
    let entry = &file.organization;
    let owner = &entry.management_account;
    if !file.accounts.iter().any(|account| account.id == *owner) && !snapshot.accounts.contains_key(owner) {
        return Err(bad("organization.management_account", format!("there is no account {owner}; list it under [[accounts]]")));
    }
    let old = snapshot.organization.as_ref();
    let organization = Organization {
        name: entry.name.clone(),
        id: old.map_or_else(|| format!("o-{}", random.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 10)), |old| old.id.clone()),
        management_account: owner.clone(),
    };
    let units = structure::units(draft, file, &organization, snapshot, random)?;
    for (index, account) in file.accounts.iter().enumerate() {
        let old = snapshot.accounts.get(&account.id);
        check_tags(&account.tags).map_err(|error| bad(&format!("accounts[{index}].tags"), error.public))?;
        let new = Account {
            id: account.id.clone(),
            name: account.name.clone(),
            email: account.email.clone(),
            color: account.color,
            parent: units.of_account(index, account.unit.as_ref(), old.and_then(|old| old.parent.clone()))?,
            tags: account.tags.clone(),
        };
        let parts = old.map(|old| {
            differing(&[
                ("name", old.name != new.name),
                ("email", old.email != new.email),
                ("color", old.color != new.color),
                ("unit", old.parent != new.parent),
                ("tags", old.tags != new.tags),
            ])
        });
        draft.put(format!("account {} ({})", new.id, new.name), old.is_some(), parts.unwrap_or_default(), Put::Account(new));
    }
    let parts = old.map(|old| {
        let moved = old.management_account != organization.management_account;
        differing(&[("name", old.name != organization.name), ("management_account", moved)])
    });
    let what = format!("organization {}", organization.name);
    draft.put(what, old.is_some(), parts.unwrap_or_default(), Put::Organization(organization));
    Ok(units)
}

fn policies(draft: &mut Draft, file: &OrganizationFile, snapshot: &Snapshot, random: &dyn Random, now: Timestamp) {
    let mut listed = BTreeSet::new();
    for entry in &file.policies {
        let arn = Arn::iam(&entry.account, &format!("policy/{}", entry.name));
        let old = snapshot.policies.get(&arn).map(|(policy, _)| policy);
        let new = ManagedPolicy {
            account: entry.account.clone(),
            name: entry.name.clone(),
            id: old.map_or_else(|| random.unique_id("ANPA"), |old| old.id.clone()),
            description: entry.description.clone(),
            document: entry.document.0.clone(),
            created: old.map_or(now, |old| old.created),
        };
        let parts = old.map(|old| {
            differing(&[("description", old.description != new.description), ("document", old.document != new.document)])
        });
        listed.insert(arn);
        draft.put(format!("policy {}/{}", new.account, new.name), old.is_some(), parts.unwrap_or_default(), Put::Policy(new));
    }
    for (arn, (policy, _)) in &snapshot.policies {
        if !listed.contains(arn) {
            draft.unlisted(format!("policy {}/{}", policy.account, policy.name), Put::NoPolicy(policy.id.clone()));
        }
    }
}

fn roles(
    draft: &mut Draft,
    file: &OrganizationFile,
    snapshot: &Snapshot,
    random: &dyn Random,
    now: Timestamp,
) -> Result<(), Error> {
    let mut listed = BTreeSet::new();
    // Roles of one file may trust each other, whatever their order: all of them have ids before the first policy is read.
    let mut known = Known::of(snapshot);
    file.accounts.iter().for_each(|account| known.add_account(&account.id));
    let mut ids = Vec::with_capacity(file.roles.len());
    for entry in &file.roles {
        let old = snapshot.role(&entry.account, entry.name.as_str()).map(|role| &role.role);
        let id = old.map_or_else(|| random.unique_id("AROA"), |old| old.id.clone());
        let path = old.map_or("/", |old| &old.path);
        let arn = Arn::iam(&entry.account, &format!("role{path}{}", entry.name));
        known.add_role(&entry.account, entry.name.as_str(), arn, id.clone());
        ids.push(id);
    }
    for (index, (entry, id)) in file.roles.iter().zip(ids).enumerate() {
        let old = snapshot.role(&entry.account, entry.name.as_str()).map(|role| &role.role);
        let trust_policy = trust::stored(&entry.trust_policy.0, &known)
            .map_err(|error| bad(&format!("roles[{index}].trust_policy"), error.public))?;
        let mut attached = entry.attached_policies.clone();
        attached.sort();
        attached.dedup();
        let new = Role {
            account: entry.account.clone(),
            name: entry.name.clone(),
            path: old.map_or_else(|| "/".to_owned(), |old| old.path.clone()),
            id,
            description: entry.description.clone(),
            trust_policy: trust_policy.into(),
            max_session_seconds: entry.max_session_seconds,
            created: old.map_or(now, |old| old.created),
            inline_policies: entry.policies.iter().map(|(name, text)| (name.clone(), text.0.as_str().into())).collect(),
            attached_policies: attached,
        };
        let parts = old.map(|old| {
            differing(&[
                ("description", old.description != new.description),
                ("trust policy", old.trust_policy != new.trust_policy),
                ("longest session", old.max_session_seconds != new.max_session_seconds),
                ("inline policies", old.inline_policies != new.inline_policies),
                ("attached policies", old.attached_policies != new.attached_policies),
            ])
        });
        listed.insert((new.account.clone(), new.name.as_str().to_lowercase()));
        draft.put(format!("role {}/{}", new.account, new.name), old.is_some(), parts.unwrap_or_default(), Put::Role(new));
    }
    for (key, role) in &snapshot.roles {
        // What assignments are goes with those.
        if !listed.contains(key) && role.role.permission_set().is_none() {
            draft.unlisted(format!("role {}/{}", role.role.account, role.role.name), Put::NoRole(role.role.id.clone()));
        }
    }
    Ok(())
}
