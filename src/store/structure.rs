//! The tree of accounts, guardrails, and permission sets with their assignments, in the store.

use super::{
    Snapshot, WriteTx,
    entities::damaged,
    sql::{self, Tx},
};
use crate::{
    domain::{
        Arn, Error, Timestamp,
        iam::{DIRECTORY_ISSUER, IdentityProvider, ProviderKind, ProviderOwner, Role},
        name::{AccountId, PermissionSetName, PolicyName, RoleName},
        organization::{FULL_ACCESS, Guardrail, GuardrailKind, OrganizationalUnit},
        permission_set::{
            AccountAssignment, AssignmentPrincipal, AssignmentTarget, PermissionSet, RESERVED_PATH, reserved_role_name,
        },
    },
    policy::{DocumentKind, Named, Policy, PolicySet},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// What caps an account, level by level from the root down. Levels that allow everything and forbid nothing are left out.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountGuardrails {
    /// For its principals.
    pub service_control: Vec<Arc<PolicySet>>,
    /// For its resources.
    pub resource_control: Vec<Arc<PolicySet>>,
}

/// Adds them to a snapshot, the accounts of which are there.
pub(super) async fn load(tx: &mut Tx, snapshot: &mut Snapshot) -> Result<(), Error> {
    for row in sql::query("SELECT * FROM organizational_unit").fetch_all(&mut *tx).await? {
        let parent = Some(row.get::<String>("parent")).filter(|parent| !parent.is_empty());
        let unit = OrganizationalUnit { id: row.get("id"), name: row.get("name"), parent };
        snapshot.units.insert(unit.id.clone(), unit);
    }
    for row in sql::query("SELECT * FROM organization_policy").fetch_all(&mut *tx).await? {
        let guardrail = Guardrail {
            id: row.get("id"),
            kind: match row.get::<&str>("kind") {
                "service_control" => GuardrailKind::ServiceControl,
                _ => GuardrailKind::ResourceControl,
            },
            name: row.get("name"),
            description: row.get("description"),
            document: row.get("document"),
        };
        snapshot.guardrails.insert(guardrail.id.clone(), guardrail);
    }
    for row in sql::query("SELECT * FROM organization_policy_target").fetch_all(&mut *tx).await? {
        let (policy, target): (String, String) = (row.get("policy"), row.get("target"));
        match row.get::<bool>("detached") {
            true => drop(snapshot.without_full_access.insert(target)),
            false => drop(snapshot.guardrail_targets.entry(target).or_default().insert(policy)),
        }
    }
    for row in sql::query("SELECT * FROM permission_set").fetch_all(&mut *tx).await? {
        let set = PermissionSet {
            id: row.get("id"),
            name: PermissionSetName::parse(row.get("name")).map_err(|e| damaged("permission_set", e))?,
            description: row.get("description"),
            session_seconds: row.get("session_seconds"),
            inline_policy: row.get::<Option<&str>>("inline_policy").map(Into::into),
            managed_policies: serde_json::from_str(row.get("managed_policies")).map_err(|e| damaged("permission_set", e))?,
            created: Timestamp(row.get("created")),
        };
        snapshot.permission_sets.insert(set.id.clone(), Arc::new(set));
    }
    let assignments = "SELECT * FROM account_assignment";
    for row in sql::query(assignments).fetch_all(&mut *tx).await? {
        let read = |e: serde_json::Error| damaged("account_assignment", e);
        snapshot.assignments.insert(AccountAssignment {
            permission_set: row.get("permission_set"),
            principal: serde_json::from_str(row.get("principal")).map_err(read)?,
            target: serde_json::from_str(row.get("target")).map_err(read)?,
        });
    }
    index_guardrails(snapshot)
}

/// Compiles what caps each account.
fn index_guardrails(snapshot: &mut Snapshot) -> Result<(), Error> {
    let Some(root) = snapshot.organization.as_ref().map(crate::domain::organization::Organization::root_id) else {
        return Ok(());
    };
    if snapshot.guardrail_targets.is_empty() && snapshot.without_full_access.is_empty() {
        return Ok(());
    }
    let mut levels: HashMap<String, [Option<Arc<PolicySet>>; 2]> = HashMap::new();
    let targets: BTreeSet<&String> = snapshot.guardrail_targets.keys().chain(&snapshot.without_full_access).collect();
    for target in targets {
        let level = |kind| level(snapshot, target, kind);
        levels.insert(target.clone(), [level(GuardrailKind::ServiceControl)?, level(GuardrailKind::ResourceControl)?]);
    }
    let mut capped = HashMap::new();
    for account in snapshot.accounts.values() {
        let mut path = vec![account.id.to_string()];
        path.extend(snapshot.units_above(account.parent.as_deref()).map(|unit| unit.id.clone()));
        path.push(root.clone());
        let mut caps = AccountGuardrails::default();
        for [service, resource] in path.iter().rev().filter_map(|node| levels.get(node)) {
            caps.service_control.extend(service.clone());
            caps.resource_control.extend(resource.clone());
        }
        if !caps.service_control.is_empty() || !caps.resource_control.is_empty() {
            capped.insert(account.id.clone(), Arc::new(caps));
        }
    }
    snapshot.capped = capped;
    Ok(())
}

/// What stands on one target; none where that is everything.
fn level(snapshot: &Snapshot, target: &str, kind: GuardrailKind) -> Result<Option<Arc<PolicySet>>, Error> {
    let attached = snapshot.guardrail_targets.get(target).into_iter().flatten().filter_map(|id| snapshot.guardrails.get(id));
    let own: Vec<&Guardrail> = attached.filter(|guardrail| guardrail.kind == kind).collect();
    let full = kind == GuardrailKind::ResourceControl || !snapshot.without_full_access.contains(target);
    if own.is_empty() && full {
        return Ok(None);
    }
    let (document_kind, everything) = match kind {
        GuardrailKind::ServiceControl => (
            DocumentKind::ServiceControl,
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
        ),
        GuardrailKind::ResourceControl => (
            DocumentKind::ResourceControl,
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#,
        ),
    };
    let place = snapshot.name_of_target(target);
    let compile = |name: &str, text: &str| {
        let policy = match name {
            // The one resource control policy that allows is AWS's own.
            FULL_ACCESS if kind == GuardrailKind::ResourceControl => Policy::parse(text, DocumentKind::Resource),
            _ => Policy::parse(text, document_kind),
        };
        let policy = Arc::new(policy.map_err(|error| damaged("organization_policy", error))?);
        Ok::<_, Error>(Named { label: format!("{name} on {place}").into(), policy })
    };
    let mut policies = own.iter().map(|one| compile(&one.name, &one.document)).collect::<Result<Vec<_>, _>>()?;
    if full {
        policies.push(compile(FULL_ACCESS, everything)?);
    }
    Ok(Some(Arc::new(PolicySet::new(policies))))
}

/// The roles that assignments are, in no order.
pub(super) fn assigned_roles(snapshot: &Snapshot) -> Vec<Role> {
    let mut by_account: BTreeMap<(&AccountId, &str), Vec<&AssignmentPrincipal>> = BTreeMap::new();
    let mut below: HashMap<&str, Vec<&AccountId>> = HashMap::new();
    let mut tagged: HashMap<(&str, &str), Vec<&AccountId>> = HashMap::new();
    let root = snapshot.root_id();
    let wide = snapshot.assignments.iter().any(|one| !matches!(one.target, AssignmentTarget::Account(_)));
    for account in snapshot.accounts.values().filter(|_| wide) {
        below.entry(&root).or_default().push(&account.id);
        for unit in snapshot.units_above(account.parent.as_deref()) {
            below.entry(&unit.id).or_default().push(&account.id);
        }
        for (key, value) in &account.tags {
            tagged.entry((key, value)).or_default().push(&account.id);
        }
    }
    for assignment in &snapshot.assignments {
        let mut assign = |account| {
            by_account.entry((account, &assignment.permission_set)).or_default().push(&assignment.principal);
        };
        match &assignment.target {
            AssignmentTarget::Account(account) => {
                if let Some((account, _)) = snapshot.accounts.get_key_value(account) {
                    assign(account);
                }
            }
            AssignmentTarget::Unit(unit) => below.get(unit.as_str()).into_iter().flatten().for_each(|account| assign(account)),
            AssignmentTarget::Tag { key, value } => {
                tagged.get(&(key.as_str(), value.as_str())).into_iter().flatten().for_each(|account| assign(account));
            }
        }
    }
    let sources: Vec<&Arc<IdentityProvider>> = snapshot.identity_sources().collect();
    let assigned = by_account.into_iter().filter_map(|((account, set), principals)| {
        let set = snapshot.permission_sets.get(set)?;
        let trust_policy = assigned_trust(account, &principals, &sources)?;
        let inline = set.inline_policy.clone().map(|text| Ok::<_, Error>((PolicyName::parse("AwsSSOInlinePolicy")?, text)));
        Some(Role {
            account: account.clone(),
            name: RoleName::parse(&reserved_role_name(set)).ok()?,
            path: RESERVED_PATH.to_owned(),
            id: assigned_role_id(set, account),
            description: set.description.clone(),
            trust_policy: trust_policy.into(),
            max_session_seconds: set.session_seconds,
            created: set.created,
            inline_policies: inline.transpose().ok()?.into_iter().collect(),
            attached_policies: set.managed_policies.clone(),
        })
    });
    assigned.collect()
}

/// The same for as long as there is the permission set: what a session was given for.
fn assigned_role_id(set: &PermissionSet, account: &AccountId) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = crate::crypto::sha256(format!("{}/{account}", set.id));
    let letters = digest.iter().take(17).filter_map(|byte| LETTERS.get(usize::from(byte & 31)));
    format!("AROA{}", letters.map(|letter| char::from(*letter)).collect::<String>())
}

/// The trust policy of an assignment; none when nobody is left whom it could let in.
#[must_use]
pub(crate) fn assigned_trust(
    account: &AccountId,
    principals: &[&AssignmentPrincipal],
    sources: &[&Arc<IdentityProvider>],
) -> Option<String> {
    let mut statements = Vec::new();
    let mut say = |source: &IdentityProvider, operator: &str, key: &str, values: BTreeSet<&str>| {
        if values.is_empty() {
            return;
        }
        let assume = match source.kind {
            ProviderKind::Saml(_) => "sts:AssumeRoleWithSAML",
            ProviderKind::Oidc(_) | ProviderKind::Directory => "sts:AssumeRoleWithWebIdentity",
        };
        statements.push(json!({
            "Effect": "Allow",
            "Principal": { "Federated": source.arn(account) },
            "Action": [assume, "sts:TagSession", "sts:SetSourceIdentity"],
            "Condition": { operator: { key: values } },
        }));
    };
    let of_directory = |source: &&&Arc<IdentityProvider>| {
        source.owner == ProviderOwner::Organization && (source.kind == ProviderKind::Directory || source.directory_user.is_some())
    };
    for source in sources.iter().filter(of_directory) {
        let ids = |wanted: fn(&AssignmentPrincipal) -> Option<&String>| {
            principals.iter().filter_map(|principal| wanted(principal)).map(String::as_str).collect::<BTreeSet<_>>()
        };
        let groups = ids(|principal| match principal {
            AssignmentPrincipal::Group(id) => Some(id),
            _ => None,
        });
        let users = ids(|principal| match principal {
            AssignmentPrincipal::User(id) => Some(id),
            _ => None,
        });
        say(source, "ForAnyValue:StringEquals", &format!("{DIRECTORY_ISSUER}:group_ids"), groups);
        say(source, "StringEquals", &format!("{DIRECTORY_ISSUER}:sub"), users);
    }
    let mut claims: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for principal in principals {
        if let AssignmentPrincipal::Claim { source, key, value } = principal {
            claims.entry((source.as_str(), key)).or_default().insert(value);
        }
    }
    for ((source, key), values) in claims {
        if let Some(source) = sources.iter().find(|known| known.name.as_str() == source) {
            say(source, "ForAnyValue:StringEquals", key, values);
        }
    }
    let document = json!({ "Version": "2012-10-17", "Statement": statements });
    (!statements.is_empty()).then(|| document.to_string())
}

impl Snapshot {
    /// A unit and those above it, from below.
    pub fn units_above<'s>(&'s self, unit: Option<&'s str>) -> impl Iterator<Item = &'s OrganizationalUnit> {
        // No tree is deeper; a circle in a damaged one ends here.
        let first = unit.and_then(|id| self.units.get(id));
        std::iter::successors(first, |unit| unit.parent.as_deref().and_then(|id| self.units.get(id))).take(16)
    }

    /// What people call the root, a unit or an account.
    #[must_use]
    pub fn name_of_target(&self, target: &str) -> String {
        if let Some(unit) = self.units.get(target) {
            return unit.name.clone();
        }
        let account = AccountId::parse(target).ok().and_then(|id| self.accounts.get(&id));
        account.map_or_else(|| "the root".to_owned(), |account| account.name.clone())
    }
}

impl WriteTx<'_> {
    /// Creates or changes a unit.
    ///
    /// # Errors
    /// `Unavailable`, as for every write below.
    pub async fn put_unit(&mut self, unit: &OrganizationalUnit) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO organizational_unit (id, name, parent) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET name = $2, parent = $3",
        );
        self.execute(query.bind(unit.id.clone()).bind(unit.name.clone()).bind(unit.parent.clone().unwrap_or_default())).await
    }

    /// Deletes a unit, and what was attached and assigned to it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_unit(&mut self, id: &str) -> Result<(), Error> {
        let target = serde_json::to_string(&AssignmentTarget::Unit(id.to_owned())).map_err(Error::internal)?;
        self.execute(sql::query("DELETE FROM account_assignment WHERE target = $1").bind(target)).await?;
        self.execute(sql::query("DELETE FROM organization_policy_target WHERE target = $1").bind(id.to_owned())).await?;
        self.execute(sql::query("DELETE FROM organizational_unit WHERE id = $1").bind(id.to_owned())).await
    }

    /// Creates or changes a guardrail.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_guardrail(&mut self, guardrail: &Guardrail) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO organization_policy (id, kind, name, description, document) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET name = $3, description = $4, document = $5",
        );
        let query = query.bind(guardrail.id.clone()).bind(guardrail.kind.word()).bind(guardrail.name.clone());
        self.execute(query.bind(guardrail.description.clone()).bind(guardrail.document.clone())).await
    }

    /// Deletes a guardrail.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_guardrail(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM organization_policy_target WHERE policy = $1").bind(id.to_owned())).await?;
        self.execute(sql::query("DELETE FROM organization_policy WHERE id = $1").bind(id.to_owned())).await?;
        self.restore_full_access().await
    }

    /// Where no service control policy is left, nothing would be allowed: the one that allows everything comes back.
    async fn restore_full_access(&mut self) -> Result<(), Error> {
        let sql = "DELETE FROM organization_policy_target WHERE detached = 1 AND target NOT IN (
                       SELECT other.target FROM organization_policy_target AS other JOIN organization_policy ON id = other.policy
                       WHERE kind = 'service_control' AND other.detached = 0)";
        self.execute(sql::query(sql)).await
    }

    /// Deletes assignments to somebody who is gone, or to whom a source that is gone vouched for.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn delete_assignments_of(&mut self, gone: impl Fn(&AssignmentPrincipal) -> bool) -> Result<(), Error> {
        let snapshot = self.snapshot.clone();
        for assignment in snapshot.assignments.iter().filter(|assignment| gone(&assignment.principal)) {
            self.put_assignment(assignment, false).await?;
        }
        Ok(())
    }

    /// Attaches a guardrail to a target, or takes it off. The policy that allows everything is on each target to begin with.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_guardrail_target(&mut self, policy: &str, target: &str, attached: bool) -> Result<(), Error> {
        let sql = match (policy == FULL_ACCESS, attached) {
            (true, true) | (false, false) => "DELETE FROM organization_policy_target WHERE policy = $1 AND target = $2",
            (false, true) => "INSERT INTO organization_policy_target (policy, target) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            (true, false) => {
                "INSERT INTO organization_policy_target (policy, target, detached) VALUES ($1, $2, 1) ON CONFLICT DO NOTHING"
            }
        };
        self.execute(sql::query(sql).bind(policy.to_owned()).bind(target.to_owned())).await?;
        if attached { Ok(()) } else { self.restore_full_access().await }
    }

    /// Creates or changes a permission set.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_permission_set(&mut self, set: &PermissionSet) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO permission_set (id, name, description, session_seconds, inline_policy, managed_policies, created)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET description = $3, session_seconds = $4, inline_policy = $5, managed_policies = $6",
        );
        let managed: &Vec<Arn> = &set.managed_policies;
        self.execute(
            query
                .bind(set.id.clone())
                .bind(set.name.to_string())
                .bind(set.description.clone())
                .bind(set.session_seconds)
                .bind(set.inline_policy.as_ref().map(ToString::to_string))
                .bind(serde_json::to_string(managed).map_err(Error::internal)?)
                .bind(set.created.0),
        )
        .await
    }

    /// Deletes a permission set with its assignments.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_permission_set(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM permission_set WHERE id = $1").bind(id.to_owned())).await
    }

    /// Makes an assignment, or takes it back.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_assignment(&mut self, assignment: &AccountAssignment, on: bool) -> Result<(), Error> {
        let text = |value: Result<String, serde_json::Error>| value.map_err(Error::internal);
        let (principal, target) =
            (text(serde_json::to_string(&assignment.principal))?, text(serde_json::to_string(&assignment.target))?);
        let sql = if on {
            "INSERT INTO account_assignment (permission_set, principal, target) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM account_assignment WHERE permission_set = $1 AND principal = $2 AND target = $3"
        };
        self.execute(sql::query(sql).bind(assignment.permission_set.clone()).bind(principal).bind(target)).await
    }
}
