//! The tree of accounts, guardrails, and permission sets of the document.

use super::{Draft, OrganizationFile, PermissionText, Put, bad, differing, people::People};
use crate::{
    api::{
        iam::weight,
        sso_admin::{MAX_INLINE_POLICY, MAX_MANAGED_POLICIES, assignments::check_claim},
    },
    domain::{
        Arn, Error, Random, Timestamp,
        iam::ProviderOwner,
        name::{AccountId, GroupName, PermissionSetName, ProviderName, UserName},
        organization::{Guardrail, GuardrailKind, MAX_UNIT_DEPTH, Organization, OrganizationalUnit},
        permission_set::{AccountAssignment, AssignmentPrincipal, AssignmentTarget, PermissionSet},
    },
    policy::{DocumentKind, Policy},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// `[[organizational_units]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitEntry {
    /// Unique in the document.
    pub name: String,
    /// The unit above, by name, which is listed before it; none: the root.
    pub parent: Option<String>,
}

/// `[[guardrails]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardrailEntry {
    /// Unique for its kind.
    pub name: String,
    /// `service_control` or `resource_control`.
    #[serde(default)]
    pub kind: KindWord,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// JSON text, or the same as tables.
    pub document: serde_json::Value,
    /// `root`, names of units, numbers of accounts.
    #[serde(default)]
    pub targets: Vec<String>,
}

/// What a guardrail caps.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindWord {
    /// What principals may do.
    #[default]
    ServiceControl,
    /// What may be done to resources.
    ResourceControl,
}

/// `[[permission_sets]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionSetEntry {
    /// Unique.
    pub name: PermissionSetName,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Longest session, 3600 to 43200 seconds.
    #[serde(default = "super::one_hour")]
    pub session_seconds: u32,
    /// Inline policy.
    pub policy: Option<PermissionText>,
    /// ARNs of AWS-managed policies.
    #[serde(default)]
    pub managed_policies: Vec<Arn>,
    /// Who is assigned it, and where: exactly these.
    #[serde(default)]
    pub assignments: Vec<AssignmentEntry>,
}

/// One assignment: one of `group`, `user` and `claim`, and one of `account`, `unit` and `tag`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentEntry {
    /// A group of the directory, by name.
    pub group: Option<GroupName>,
    /// Somebody of the directory, by sign-in name.
    pub user: Option<UserName>,
    /// What an identity source says.
    pub claim: Option<ClaimEntry>,
    /// One account.
    pub account: Option<AccountId>,
    /// A unit by name, or `root`: every account below it.
    pub unit: Option<String>,
    /// Every account with this tag.
    pub tag: Option<BTreeMap<String, String>>,
}

/// A claim.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimEntry {
    /// The identity source.
    pub source: ProviderName,
    /// The condition key.
    pub key: String,
    /// One of its values.
    pub value: String,
}

/// Ids of the units that the document names, those that are new included.
pub(super) struct Units {
    root: String,
    ids: BTreeMap<String, String>,
}

impl Units {
    /// The id that a name stands for: none is the root.
    fn find(&self, key: &str, name: &str) -> Result<Option<String>, Error> {
        if name == "root" {
            return Ok(None);
        }
        let id = self.ids.get(name).cloned();
        id.map(Some).ok_or_else(|| bad(key, format!("there is no unit {name}; list it under [[organizational_units]]")))
    }

    /// Where an account is to be; none where the document does not say.
    pub(super) fn of_account(&self, index: usize, unit: Option<&String>, now: Option<String>) -> Result<Option<String>, Error> {
        unit.map_or(Ok(now), |name| self.find(&format!("accounts[{index}].unit"), name))
    }
}

/// Units, in an order in which each is below one that is there.
pub(super) fn units(
    draft: &mut Draft,
    file: &OrganizationFile,
    organization: &Organization,
    snapshot: &Snapshot,
    random: &dyn Random,
) -> Result<Units, Error> {
    let mut units = Units { ids: BTreeMap::new(), root: organization.root_id() };
    let letters = units.root.trim_start_matches("r-").to_owned();
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept = BTreeSet::new();
    for (index, entry) in file.organizational_units.iter().enumerate() {
        let key = format!("organizational_units[{index}]");
        if entry.name == "root" || entry.name.trim().is_empty() || units.ids.contains_key(&entry.name) {
            return Err(bad(&format!("{key}.name"), format!("{} is taken; names are unique here", entry.name)));
        }
        // Only what is listed before: so there is no circle.
        let parent = entry.parent.as_deref().map_or(Ok(None), |name| units.find(&format!("{key}.parent"), name))?;
        let depth = entry.parent.as_deref().and_then(|name| depths.get(name)).copied().unwrap_or_default() + 1;
        if depth > MAX_UNIT_DEPTH {
            return Err(bad(&key, format!("units are at most {MAX_UNIT_DEPTH} deep")));
        }
        depths.insert(&entry.name, depth);
        // The same name in the same place is the same unit; one that is elsewhere alone has moved.
        let named: Vec<&OrganizationalUnit> = snapshot.units.values().filter(|unit| unit.name == entry.name).collect();
        let old = match named.iter().find(|unit| unit.parent == parent) {
            Some(here) => Some(*here),
            None if named.len() > 1 => {
                return Err(bad(
                    &format!("{key}.name"),
                    format!("several units are called {}: move it in the console", entry.name),
                ));
            }
            None => named.first().copied(),
        };
        let id = old.map_or_else(
            || format!("ou-{letters}-{}", random.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 8)),
            |old| old.id.clone(),
        );
        kept.insert(id.clone());
        units.ids.insert(entry.name.clone(), id.clone());
        let new = OrganizationalUnit { id, name: entry.name.clone(), parent };
        let parts = old.map(|old| differing(&[("place", old.parent != new.parent)])).unwrap_or_default();
        draft.put(format!("unit {}", new.name), old.is_some(), parts, Put::Unit(new));
    }
    for unit in snapshot.units.values().filter(|unit| !kept.contains(&unit.id)) {
        if draft.prune && is_used(unit, file, &units, snapshot, &kept) {
            let message = format!("accounts or units are below {}, which is not listed: say where they are to be", unit.name);
            return Err(bad("organizational_units", message));
        }
        draft.unlisted(format!("unit {}", unit.name), Put::NoUnit(unit.id.clone()));
        if !draft.prune {
            units.ids.entry(unit.name.clone()).or_insert_with(|| unit.id.clone());
        }
    }
    Ok(units)
}

/// Whether something would be left below a unit that goes.
fn is_used(
    unit: &OrganizationalUnit,
    file: &OrganizationFile,
    units: &Units,
    snapshot: &Snapshot,
    kept: &BTreeSet<String>,
) -> bool {
    let stays = |account: &AccountId| {
        let entry = file.accounts.iter().find(|entry| entry.id == *account);
        let to = entry.and_then(|entry| entry.unit.as_ref());
        to.is_none_or(|name| name != "root" && !units.ids.contains_key(name))
    };
    let below = |parent: &Option<String>| parent.as_ref() == Some(&unit.id);
    let moved = |other: &OrganizationalUnit| kept.contains(&other.id) && units.ids.contains_key(&other.name);
    snapshot.accounts.values().any(|account| below(&account.parent) && stays(&account.id))
        || snapshot.units.values().any(|other| below(&other.parent) && kept.contains(&other.id) && !moved(other))
}

/// Guardrails and where they are.
pub(super) fn guardrails(
    draft: &mut Draft,
    file: &OrganizationFile,
    units: &Units,
    snapshot: &Snapshot,
    random: &dyn Random,
) -> Result<(), Error> {
    let mut listed = BTreeSet::new();
    for (index, entry) in file.guardrails.iter().enumerate() {
        let key = format!("guardrails[{index}]");
        let (kind, document_kind) = match entry.kind {
            KindWord::ServiceControl => (GuardrailKind::ServiceControl, DocumentKind::ServiceControl),
            KindWord::ResourceControl => (GuardrailKind::ResourceControl, DocumentKind::ResourceControl),
        };
        let document = match &entry.document {
            serde_json::Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        Policy::parse(&document, document_kind).map_err(|error| bad(&format!("{key}.document"), error))?;
        if weight(&document) > crate::api::organizations::policies::MAX_GUARDRAIL {
            return Err(bad(&format!("{key}.document"), "it is too long"));
        }
        let old = snapshot.guardrails.values().find(|old| old.kind == kind && old.name == entry.name);
        let new = Guardrail {
            id: old
                .map_or_else(|| format!("p-{}", random.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 8)), |old| old.id.clone()),
            kind,
            name: entry.name.clone(),
            description: entry.description.clone(),
            document,
        };
        if !listed.insert(new.id.clone()) {
            return Err(bad(&format!("{key}.name"), format!("{} is listed twice", entry.name)));
        }
        let parts = old.map(|old| {
            differing(&[("description", old.description != new.description), ("document", old.document != new.document)])
        });
        let id = new.id.clone();
        draft.put(format!("guardrail {}", new.name), old.is_some(), parts.unwrap_or_default(), Put::Guardrail(new));
        let mut wanted = BTreeSet::new();
        for target in &entry.targets {
            let account = AccountId::parse(target).ok();
            let there = |account: &AccountId| {
                snapshot.accounts.contains_key(account) || file.accounts.iter().any(|listed| listed.id == *account)
            };
            wanted.insert(match account.filter(there) {
                Some(account) => account.to_string(),
                None => units.find(&format!("{key}.targets"), target)?.unwrap_or_else(|| units.root.clone()),
            });
        }
        let now = snapshot.guardrail_targets.iter().filter(|(_, ids)| ids.contains(&id)).map(|(target, _)| target.clone());
        let now: BTreeSet<String> = now.collect();
        for target in now.symmetric_difference(&wanted) {
            let on = wanted.contains(target);
            let what = format!("guardrail {} on {}", entry.name, snapshot.name_of_target(target));
            draft.toggle(what, on, Put::GuardrailTarget(id.clone(), target.clone(), on));
        }
    }
    for guardrail in snapshot.guardrails.values().filter(|guardrail| !listed.contains(&guardrail.id)) {
        draft.unlisted(format!("guardrail {}", guardrail.name), Put::NoGuardrail(guardrail.id.clone()));
    }
    Ok(())
}

/// What permission sets and their assignments are drafted against.
pub(super) struct Around<'a> {
    pub(super) units: &'a Units,
    pub(super) people: &'a People,
    pub(super) snapshot: &'a Snapshot,
    pub(super) random: &'a dyn Random,
    pub(super) now: Timestamp,
}

/// Permission sets, each with exactly the assignments that it lists.
pub(super) fn permission_sets(draft: &mut Draft, file: &OrganizationFile, around: &Around<'_>) -> Result<(), Error> {
    let Around { snapshot, random, now, .. } = around;
    let mut listed = BTreeSet::new();
    for (index, entry) in file.permission_sets.iter().enumerate() {
        let key = format!("permission_sets[{index}]");
        if !(3600..=43_200).contains(&entry.session_seconds) {
            return Err(bad(&format!("{key}.session_seconds"), "expected 3600 to 43200 seconds"));
        }
        if entry.policy.as_ref().is_some_and(|text| weight(&text.0) > MAX_INLINE_POLICY)
            || entry.managed_policies.len() > MAX_MANAGED_POLICIES
        {
            return Err(bad(&key, "its policies are too long, or too many"));
        }
        let unknown = |arn: &&Arn| arn.account().is_some() || snapshot.policy(arn).is_none();
        if let Some(arn) = entry.managed_policies.iter().find(unknown) {
            return Err(bad(&format!("{key}.managed_policies"), format!("there is no AWS-managed policy {arn}")));
        }
        let old = snapshot.permission_sets.values().find(|old| old.name == entry.name);
        let mut managed_policies = entry.managed_policies.clone();
        managed_policies.sort();
        managed_policies.dedup();
        let new = PermissionSet {
            id: old
                .map_or_else(|| format!("ps-{}", random.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 16)), |old| old.id.clone()),
            name: entry.name.clone(),
            description: entry.description.clone(),
            session_seconds: entry.session_seconds,
            inline_policy: entry.policy.as_ref().map(|text| text.0.as_str().into()),
            managed_policies,
            created: old.map_or(*now, |old| old.created),
        };
        if !listed.insert(new.id.clone()) {
            return Err(bad(&format!("{key}.name"), format!("{} is listed twice", entry.name)));
        }
        let parts = old.map(|old| {
            differing(&[
                ("description", old.description != new.description),
                ("longest session", old.session_seconds != new.session_seconds),
                ("inline policy", old.inline_policy != new.inline_policy),
                ("managed policies", old.managed_policies != new.managed_policies),
            ])
        });
        let id = new.id.clone();
        draft.put(format!("permission set {}", new.name), old.is_some(), parts.unwrap_or_default(), Put::PermissionSet(new));
        let mut wanted = BTreeSet::new();
        for (number, assignment) in entry.assignments.iter().enumerate() {
            let key = format!("{key}.assignments[{number}]");
            wanted.insert(AccountAssignment {
                permission_set: id.clone(),
                principal: principal(&key, assignment, draft, around)?,
                target: target(&key, assignment, file, around)?,
            });
        }
        let there: BTreeSet<AccountAssignment> =
            snapshot.assignments.iter().filter(|one| one.permission_set == id).cloned().collect();
        for one in there.symmetric_difference(&wanted) {
            let on = wanted.contains(one);
            draft.toggle(format!("assignment of {}", entry.name), on, Put::Assignment(one.clone(), on));
        }
    }
    for set in snapshot.permission_sets.values().filter(|set| !listed.contains(&set.id)) {
        draft.unlisted(format!("permission set {}", set.name), Put::NoPermissionSet(set.id.clone()));
    }
    Ok(())
}

fn principal(key: &str, entry: &AssignmentEntry, draft: &Draft, around: &Around<'_>) -> Result<AssignmentPrincipal, Error> {
    match (&entry.group, &entry.user, &entry.claim) {
        (Some(name), None, None) => {
            let new = draft.writes.iter().find_map(|write| match write {
                Put::Group(group) if group.name == *name => Some(group.id.clone()),
                _ => None,
            });
            let gone = |id: &String| draft.writes.iter().any(|write| matches!(write, Put::NoGroup(gone) if gone == id));
            let id = new.or_else(|| around.people.group_id(name).filter(|id| !gone(id)));
            id.map(AssignmentPrincipal::Group).ok_or_else(|| bad(&format!("{key}.group"), format!("there is no group {name}")))
        }
        (None, Some(name), None) => {
            let new = draft.writes.iter().find_map(|write| match write {
                Put::User(user) if user.name.key() == name.key() => Some(user.id.clone()),
                _ => None,
            });
            let gone = |id: &String| draft.writes.iter().any(|write| matches!(write, Put::NoUser(gone) if gone == id));
            let id = new.or_else(|| around.people.user_id(name).filter(|id| !gone(id)));
            id.map(AssignmentPrincipal::User).ok_or_else(|| bad(&format!("{key}.user"), format!("there is nobody called {name}")))
        }
        (None, None, Some(ClaimEntry { source, key: claim, value })) => {
            let new = draft.writes.iter().find_map(|write| match write {
                Put::Provider(provider) if provider.owner == ProviderOwner::Organization && provider.name == *source => {
                    Some(Arc::new(provider.clone()))
                }
                _ => None,
            });
            let known = new.or_else(|| around.snapshot.identity_source(source.as_str()).cloned());
            let known = known.ok_or_else(|| bad(&format!("{key}.claim"), format!("there is no identity source {source}")))?;
            let principal = AssignmentPrincipal::Claim { source: source.clone(), key: claim.clone(), value: value.clone() };
            check_claim(&principal, &known).map_err(|error| bad(&format!("{key}.claim"), error.public))?;
            Ok(principal)
        }
        _ => Err(bad(key, "say who: one of `group`, `user` and `claim`")),
    }
}

fn target(key: &str, entry: &AssignmentEntry, file: &OrganizationFile, around: &Around<'_>) -> Result<AssignmentTarget, Error> {
    match (&entry.account, &entry.unit, &entry.tag) {
        (Some(account), None, None) => {
            let listed = file.accounts.iter().any(|listed| listed.id == *account);
            if !listed && !around.snapshot.accounts.contains_key(account) {
                return Err(bad(&format!("{key}.account"), format!("there is no account {account}")));
            }
            Ok(AssignmentTarget::Account(account.clone()))
        }
        (None, Some(unit), None) => {
            let id = around.units.find(&format!("{key}.unit"), unit)?;
            Ok(AssignmentTarget::Unit(id.unwrap_or_else(|| around.units.root.clone())))
        }
        (None, None, Some(tag)) if tag.len() == 1 => {
            let (key, value) = tag.iter().next().map(|(key, value)| (key.clone(), value.clone())).unwrap_or_default();
            Ok(AssignmentTarget::Tag { key, value })
        }
        _ => Err(bad(key, "say where: one of `account`, `unit` and `tag` (one tag)")),
    }
}
