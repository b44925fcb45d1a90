//! The organization, its accounts, roles, policies and providers: loading a snapshot, and the writes of a transaction.

use super::{
    Snapshot, WriteTx, compute, revocations,
    sql::{self, Database, Query, Row},
    structure, unavailable, users,
};
use crate::{
    crypto::seal::{KeyRing, Purpose},
    domain::{
        Arn, Error, ErrorKind, Secret, Timestamp,
        iam::{IdentityProvider, ManagedPolicy, ProviderKind, ProviderOwner, Role},
        name::{AccountId, PolicyName, ProviderName, RoleName},
        organization::{Account, AccountColor, Organization},
        permission_set::{AssignmentPrincipal, RESERVED_PATH},
        revocation::{RevocationScope, Revocations},
    },
    policy::{CompiledRole, DocumentKind, Library},
};
use std::{collections::BTreeMap, sync::Arc};

/// A stored value that breaks its own rules: the file was changed by another hand.
pub(super) fn damaged(what: &str, error: impl std::fmt::Display) -> Error {
    unavailable(format!("the store is damaged: {what}: {error}"))
}

/// Loads a snapshot. What did not change since the one before is taken from it.
pub(super) async fn load(
    pool: &Database,
    ring: &KeyRing,
    known: &Arc<Revocations>,
    before: Option<&Snapshot>,
) -> Result<Snapshot, Error> {
    let mut tx = pool.begin_read().await?;
    let revision = sql::query("SELECT number FROM revision").fetch_one(&mut tx).await?.get("number");
    let mut snapshot = Snapshot::empty(revision);
    revocations::follow(&mut tx, known).await?;
    snapshot.revocations = known.clone();
    let row = sql::query("SELECT * FROM organization").fetch_optional(&mut tx).await?;
    if let Some(row) = row {
        snapshot.organization = Some(Organization {
            id: row.get("id"),
            name: row.get("name"),
            management_account: AccountId::parse(row.get("management_account")).map_err(|e| damaged("organization", e))?,
        });
    }
    for row in sql::query("SELECT * FROM account").fetch_all(&mut tx).await? {
        let account = account(&row)?;
        snapshot.accounts.insert(account.id.clone(), account);
    }
    let mut library = Library::default();
    for row in sql::query("SELECT * FROM managed_policy").fetch_all(&mut tx).await? {
        let policy = managed_policy(&row)?;
        let parsed = library.policy(&policy.document.as_str().into(), DocumentKind::Identity);
        let (_, compiled) = parsed.map_err(|e| damaged("managed_policy", e))?;
        snapshot.policies.insert(policy.arn(), (policy, compiled));
    }
    let mut roles: BTreeMap<String, Role> = BTreeMap::new();
    for row in sql::query("SELECT * FROM role").fetch_all(&mut tx).await? {
        let role = role(&row)?;
        roles.insert(role.id.clone(), role);
    }
    for row in sql::query("SELECT * FROM role_inline_policy").fetch_all(&mut tx).await? {
        if let Some(role) = roles.get_mut(row.get::<&str>("role_id")) {
            let name = PolicyName::parse(row.get("name")).map_err(|e| damaged("role_inline_policy", e))?;
            role.inline_policies.insert(name, row.get::<&str>("document").into());
        }
    }
    let attached = "SELECT * FROM role_attached_policy ORDER BY policy_arn";
    for row in sql::query(attached).fetch_all(&mut tx).await? {
        if let Some(role) = roles.get_mut(row.get::<&str>("role_id")) {
            role.attached_policies.push(Arn::parse(row.get("policy_arn")).map_err(|e| damaged("role_attached_policy", e))?);
        }
    }
    let providers = "SELECT * FROM identity_provider ORDER BY owner, name";
    for row in sql::query(providers).fetch_all(&mut tx).await? {
        snapshot.providers.push(Arc::new(provider(&row, ring)?));
    }
    structure::load(&mut tx, &mut snapshot).await?;
    // Compiled roles hold compiled managed policies.
    let same_policies = |before: &&Snapshot| {
        let text = |snapshot: &Snapshot| snapshot.policies.values().map(|(policy, _)| policy.clone()).collect::<Vec<_>>();
        text(before) == text(&snapshot)
    };
    let before = before.filter(same_policies);
    for role in roles.into_values().chain(structure::assigned_roles(&snapshot)) {
        let key = (role.account.clone(), role.name.as_str().to_lowercase());
        if let Some(same) = before.and_then(|before| before.roles.get(&key)).filter(|known| known.role == role) {
            snapshot.roles.insert(key, same.clone());
            continue;
        }
        let id = role.id.clone();
        // A role that can't be read is a role that nobody can take: the others live on.
        let compiled = CompiledRole::compile(role.clone(), &mut library, |arn| snapshot.policy(arn));
        let compiled = compiled.unwrap_or_else(|error| {
            tracing::error!(role = id, %error, "a role in the store can't be read and is closed");
            CompiledRole::closed(role)
        });
        snapshot.roles.insert(key, Arc::new(compiled));
    }
    users::load(&mut tx, ring, &mut snapshot, &mut library).await?;
    compute::load(&mut tx, &mut snapshot).await?;
    tx.rollback().await?;
    Ok(snapshot.index())
}

/// Roles that assignments are change with those alone.
fn unreserved(role: &Role) -> Result<(), Error> {
    if role.path != RESERVED_PATH {
        return Ok(());
    }
    let message = format!(
        "Cannot perform the operation on the protected role '{}' - this role is only modifiable by its permission set",
        role.name
    );
    Err(Error::new(ErrorKind::DeleteConflict, message))
}

fn account(row: &Row) -> Result<Account, Error> {
    Ok(Account {
        id: AccountId::parse(row.get("id")).map_err(|e| damaged("account", e))?,
        name: row.get("name"),
        email: row.get("email"),
        color: AccountColor::parse(row.get("color")).map_err(|e| damaged("account", e))?,
        parent: Some(row.get::<String>("parent")).filter(|parent| !parent.is_empty()),
        tags: serde_json::from_str(row.get("tags")).map_err(|e| damaged("account", e))?,
    })
}

fn managed_policy(row: &Row) -> Result<ManagedPolicy, Error> {
    Ok(ManagedPolicy {
        account: AccountId::parse(row.get("account")).map_err(|e| damaged("managed_policy", e))?,
        name: PolicyName::parse(row.get("name")).map_err(|e| damaged("managed_policy", e))?,
        id: row.get("id"),
        description: row.get("description"),
        document: row.get("document"),
        created: Timestamp(row.get("created")),
    })
}

fn role(row: &Row) -> Result<Role, Error> {
    Ok(Role {
        account: AccountId::parse(row.get("account")).map_err(|e| damaged("role", e))?,
        name: RoleName::parse(row.get("name")).map_err(|e| damaged("role", e))?,
        path: row.get("path"),
        id: row.get("id"),
        description: row.get("description"),
        trust_policy: row.get::<&str>("trust_policy").into(),
        max_session_seconds: row.get("max_session_seconds"),
        created: Timestamp(row.get("created")),
        inline_policies: BTreeMap::new(),
        attached_policies: Vec::new(),
    })
}

fn provider(row: &Row, ring: &KeyRing) -> Result<IdentityProvider, Error> {
    let settings: String = row.get("settings");
    let name: &str = row.get("name");
    let owner: &str = row.get("owner");
    let kind = match row.get::<&str>("kind") {
        "saml" => ProviderKind::Saml(serde_json::from_str(&settings).map_err(|e| damaged("identity_provider", e))?),
        "oidc" => {
            let mut oidc: crate::domain::iam::OidcProvider =
                serde_json::from_str(&settings).map_err(|e| damaged("identity_provider", e))?;
            if let Some(sealed) = row.get::<Option<Vec<u8>>>("secret") {
                let opened = ring.open(Purpose::StoredSecret, &secret_context(owner, name), &sealed);
                let text = opened.and_then(|secret| String::from_utf8(secret).ok());
                oidc.client_secret =
                    Some(Secret::new(text.ok_or_else(|| damaged("identity_provider", "its secret can't be opened"))?));
            }
            ProviderKind::Oidc(Box::new(oidc))
        }
        _ => ProviderKind::Directory,
    };
    Ok(IdentityProvider {
        owner: match owner {
            "" => ProviderOwner::Organization,
            account => ProviderOwner::Account(AccountId::parse(account).map_err(|e| damaged("identity_provider", e))?),
        },
        name: ProviderName::parse(name).map_err(|e| damaged("identity_provider", e))?,
        label: row.get("label"),
        domains: serde_json::from_str(row.get("domains")).map_err(|e| damaged("identity_provider", e))?,
        directory_user: row.get("directory_user"),
        second_factor: serde_json::from_str(row.get("second_factor")).map_err(|e| damaged("identity_provider", e))?,
        kind,
    })
}

fn secret_context(owner: &str, name: &str) -> String {
    format!("identity_provider/{owner}/{name}")
}

fn owner_text(owner: &ProviderOwner) -> &str {
    match owner {
        ProviderOwner::Organization => "",
        ProviderOwner::Account(account) => account.as_str(),
    }
}

impl WriteTx<'_> {
    /// Creates or renames the organization.
    ///
    /// # Errors
    /// `Unavailable`, as for every write below.
    pub async fn put_organization(&mut self, organization: &Organization) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO organization (only_row, id, name, management_account) VALUES (1, $1, $2, $3)
             ON CONFLICT (only_row) DO UPDATE SET name = $2, management_account = $3",
        );
        self.execute(
            query.bind(organization.id.clone()).bind(organization.name.clone()).bind(organization.management_account.to_string()),
        )
        .await
    }

    /// Creates or changes an account.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_account(&mut self, account: &Account) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO account (id, name, email, color, tags, parent) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET name = $2, email = $3, color = $4, tags = $5, parent = $6",
        );
        let query = query.bind(account.id.to_string()).bind(account.name.clone()).bind(account.email.clone());
        let tags = serde_json::to_string(&account.tags).map_err(Error::internal)?;
        self.execute(
            query.bind(account.color.map_or("", AccountColor::name)).bind(tags).bind(account.parent.clone().unwrap_or_default()),
        )
        .await
    }

    /// Creates or changes a role with its policies.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_role(&mut self, role: &Role) -> Result<(), Error> {
        unreserved(role)?;
        let query = sql::query(
            "INSERT INTO role (id, account, name, path, description, trust_policy, max_session_seconds, created)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (id) DO UPDATE SET path = $4, description = $5, trust_policy = $6, max_session_seconds = $7",
        );
        self.execute(
            query
                .bind(role.id.clone())
                .bind(role.account.to_string())
                .bind(role.name.to_string())
                .bind(role.path.clone())
                .bind(role.description.clone())
                .bind(role.trust_policy.to_string())
                .bind(role.max_session_seconds)
                .bind(role.created.0),
        )
        .await?;
        self.execute(sql::query("DELETE FROM role_inline_policy WHERE role_id = $1").bind(role.id.clone())).await?;
        for (name, document) in &role.inline_policies {
            let query = sql::query("INSERT INTO role_inline_policy (role_id, name, document) VALUES ($1, $2, $3)");
            self.execute(query.bind(role.id.clone()).bind(name.to_string()).bind(document.clone())).await?;
        }
        self.execute(sql::query("DELETE FROM role_attached_policy WHERE role_id = $1").bind(role.id.clone())).await?;
        for arn in &role.attached_policies {
            let query = sql::query("INSERT INTO role_attached_policy (role_id, policy_arn) VALUES ($1, $2)");
            self.execute(query.bind(role.id.clone()).bind(arn.to_string())).await?;
        }
        Ok(())
    }

    /// Deletes a role with its policies.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_role(&mut self, id: &str) -> Result<(), Error> {
        let snapshot = self.snapshot.clone();
        snapshot.role_by_id(id).map_or(Ok(()), |role| unreserved(&role.role))?;
        self.execute(sql::query("DELETE FROM role WHERE id = $1").bind(id.to_owned())).await
    }

    /// Creates or changes a managed policy.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_policy(&mut self, policy: &ManagedPolicy) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO managed_policy (id, account, name, description, document, created) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET description = $4, document = $5",
        );
        self.execute(
            query
                .bind(policy.id.clone())
                .bind(policy.account.to_string())
                .bind(policy.name.to_string())
                .bind(policy.description.clone())
                .bind(policy.document.clone())
                .bind(policy.created.0),
        )
        .await
    }

    /// Deletes a managed policy.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_policy(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM managed_policy WHERE id = $1").bind(id.to_owned())).await
    }

    /// Creates or changes a provider; its secret is sealed on the way.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_provider(&mut self, provider: &IdentityProvider) -> Result<(), Error> {
        let owner = owner_text(&provider.owner).to_owned();
        let (kind, settings, secret) = match &provider.kind {
            ProviderKind::Saml(saml) => ("saml", serde_json::to_string(saml), None),
            ProviderKind::Oidc(oidc) => ("oidc", serde_json::to_string(oidc), oidc.client_secret.as_ref()),
            ProviderKind::Directory => ("directory", Ok("{}".to_owned()), None),
        };
        let context = secret_context(&owner, provider.name.as_str());
        let sealed = secret
            .map(|secret| self.store.ring.seal(Purpose::StoredSecret, &context, secret.expose().as_bytes()))
            .transpose()
            .map_err(Error::internal)?;
        let query = sql::query(
            "INSERT INTO identity_provider (owner, name, label, domains, kind, settings, secret, second_factor,
             directory_user) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (owner, name) DO UPDATE SET label = $3, domains = $4, kind = $5, settings = $6, secret = $7,
             second_factor = $8, directory_user = $9",
        );
        self.execute(
            query
                .bind(owner)
                .bind(provider.name.to_string())
                .bind(provider.label.clone())
                .bind(serde_json::to_string(&provider.domains).map_err(Error::internal)?)
                .bind(kind)
                .bind(settings.map_err(Error::internal)?)
                .bind(sealed)
                .bind(serde_json::to_string(&provider.second_factor).map_err(Error::internal)?)
                .bind(provider.directory_user.clone()),
        )
        .await
    }

    /// Deletes a provider.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_provider(&mut self, owner: &ProviderOwner, name: &ProviderName) -> Result<(), Error> {
        if *owner == ProviderOwner::Organization {
            // What it vouched for is over, also when a source comes back under its name.
            let now = self.store.clock.now();
            self.put_revocation(&RevocationScope::Provider(name.to_string()), now).await?;
            self.delete_assignments_of(|one| matches!(one, AssignmentPrincipal::Claim { source, .. } if source == name)).await?;
            // The directory's people stay who they are, whatever it is called.
            let snapshot = self.snapshot.clone();
            let gone = snapshot.identity_source(name.as_str()).filter(|source| source.kind != ProviderKind::Directory);
            if let Some(source) = gone {
                self.delete_factors_of_provider(&source.resource()).await?;
            }
        }
        let query = sql::query("DELETE FROM identity_provider WHERE owner = $1 AND name = $2");
        self.execute(query.bind(owner_text(owner).to_owned()).bind(name.to_string())).await
    }

    pub(super) async fn execute(&mut self, query: Query) -> Result<(), Error> {
        self.changed = true;
        self.aside(query).await.map(drop)
    }

    /// A write that no decision depends on: the snapshot stays. Returns how many rows it touched.
    pub(super) async fn aside(&mut self, query: Query) -> Result<u64, Error> {
        query.execute(&mut self.tx).await
    }
}
