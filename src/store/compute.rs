//! What machines take roles by, in the store: instance profiles, and the trust anchors, profiles and revocation lists of IAM
//! Roles Anywhere.

use super::{
    Snapshot, WriteTx,
    entities::damaged,
    sql::{self, Row, Tx},
};
use crate::domain::{
    Arn, Error, Timestamp,
    anywhere::{AnywhereProfile, RevocationList, TrustAnchor},
    iam::InstanceProfile,
    name::{AccountId, InstanceProfileName},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The part of a profile that no query asks for.
#[derive(Serialize, Deserialize)]
struct Settings {
    role_arns: Vec<Arn>,
    session_policy: Option<String>,
    managed_policy_arns: Vec<Arn>,
    duration_seconds: u32,
    accept_role_session_name: bool,
}

fn account(row: &Row, table: &str) -> Result<AccountId, Error> {
    AccountId::parse(row.get("account")).map_err(|e| damaged(table, e))
}

/// Adds them to a snapshot.
pub(super) async fn load(tx: &mut Tx, snapshot: &mut Snapshot) -> Result<(), Error> {
    for row in sql::query("SELECT * FROM instance_profile").fetch_all(&mut *tx).await? {
        let profile = InstanceProfile {
            account: account(&row, "instance_profile")?,
            name: InstanceProfileName::parse(row.get("name")).map_err(|e| damaged("instance_profile", e))?,
            path: row.get("path"),
            id: row.get("id"),
            role_id: row.get("role_id"),
            created: Timestamp(row.get("created")),
        };
        let key = (profile.account.clone(), profile.name.as_str().to_lowercase());
        snapshot.instance_profiles.insert(key, Arc::new(profile));
    }
    for row in sql::query("SELECT * FROM trust_anchor ORDER BY id").fetch_all(&mut *tx).await? {
        snapshot.trust_anchors.push(Arc::new(TrustAnchor {
            account: account(&row, "trust_anchor")?,
            id: row.get("id"),
            name: row.get("name"),
            certificates: row.get("certificates"),
            enabled: row.get("enabled"),
            created: Timestamp(row.get("created")),
            updated: Timestamp(row.get("updated")),
        }));
    }
    for row in sql::query("SELECT * FROM anywhere_profile ORDER BY id").fetch_all(&mut *tx).await? {
        let settings: Settings = serde_json::from_str(row.get("settings")).map_err(|e| damaged("anywhere_profile", e))?;
        snapshot.anywhere_profiles.push(Arc::new(AnywhereProfile {
            account: account(&row, "anywhere_profile")?,
            id: row.get("id"),
            name: row.get("name"),
            role_arns: settings.role_arns,
            session_policy: settings.session_policy,
            managed_policy_arns: settings.managed_policy_arns,
            duration_seconds: settings.duration_seconds,
            accept_role_session_name: settings.accept_role_session_name,
            enabled: row.get("enabled"),
            created: Timestamp(row.get("created")),
            updated: Timestamp(row.get("updated")),
        }));
    }
    for row in sql::query("SELECT * FROM revocation_list ORDER BY id").fetch_all(&mut *tx).await? {
        snapshot.revocation_lists.push(Arc::new(RevocationList {
            account: account(&row, "revocation_list")?,
            id: row.get("id"),
            name: row.get("name"),
            trust_anchor: Arn::parse(row.get("trust_anchor")).map_err(|e| damaged("revocation_list", e))?,
            list: row.get("list"),
            enabled: row.get("enabled"),
            created: Timestamp(row.get("created")),
        }));
    }
    Ok(())
}

impl WriteTx<'_> {
    /// Creates an instance profile, or changes its role.
    ///
    /// # Errors
    /// `Unavailable`, as for every write below.
    pub async fn put_instance_profile(&mut self, profile: &InstanceProfile) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO instance_profile (id, account, name, path, role_id, created) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET role_id = $5",
        );
        let query = query.bind(profile.id.clone()).bind(profile.account.to_string()).bind(profile.name.to_string());
        self.execute(query.bind(profile.path.clone()).bind(profile.role_id.clone()).bind(profile.created.0)).await
    }

    /// Deletes an instance profile.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_instance_profile(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM instance_profile WHERE id = $1").bind(id.to_owned())).await
    }

    /// Creates or changes a trust anchor.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_trust_anchor(&mut self, anchor: &TrustAnchor) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO trust_anchor (id, account, name, certificates, enabled, created, updated)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET name = $3, certificates = $4, enabled = $5, updated = $7",
        );
        let query = query.bind(anchor.id.clone()).bind(anchor.account.to_string()).bind(anchor.name.clone());
        let query = query.bind(anchor.certificates.clone()).bind(anchor.enabled);
        self.execute(query.bind(anchor.created.0).bind(anchor.updated.0)).await
    }

    /// Deletes a trust anchor with its revocation lists.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_trust_anchor(&mut self, anchor: &TrustAnchor) -> Result<(), Error> {
        let arn = anchor.arn().to_string();
        self.execute(sql::query("DELETE FROM revocation_list WHERE trust_anchor = $1").bind(arn)).await?;
        self.execute(sql::query("DELETE FROM trust_anchor WHERE id = $1").bind(anchor.id.clone())).await
    }

    /// Creates or changes a profile of IAM Roles Anywhere.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_anywhere_profile(&mut self, profile: &AnywhereProfile) -> Result<(), Error> {
        let settings = Settings {
            role_arns: profile.role_arns.clone(),
            session_policy: profile.session_policy.clone(),
            managed_policy_arns: profile.managed_policy_arns.clone(),
            duration_seconds: profile.duration_seconds,
            accept_role_session_name: profile.accept_role_session_name,
        };
        let query = sql::query(
            "INSERT INTO anywhere_profile (id, account, name, settings, enabled, created, updated)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET name = $3, settings = $4, enabled = $5, updated = $7",
        );
        let query = query.bind(profile.id.clone()).bind(profile.account.to_string()).bind(profile.name.clone());
        let query = query.bind(serde_json::to_string(&settings).map_err(Error::internal)?).bind(profile.enabled);
        self.execute(query.bind(profile.created.0).bind(profile.updated.0)).await
    }

    /// Deletes a profile of IAM Roles Anywhere.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_anywhere_profile(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM anywhere_profile WHERE id = $1").bind(id.to_owned())).await
    }

    /// Keeps a revocation list, or changes whether it counts.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_revocation_list(&mut self, list: &RevocationList) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO revocation_list (id, account, name, trust_anchor, list, enabled, created)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET enabled = $6",
        );
        let query = query.bind(list.id.clone()).bind(list.account.to_string()).bind(list.name.clone());
        let query = query.bind(list.trust_anchor.to_string()).bind(list.list.clone());
        self.execute(query.bind(list.enabled).bind(list.created.0)).await
    }

    /// Deletes a revocation list.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_revocation_list(&mut self, id: &str) -> Result<(), Error> {
        self.execute(sql::query("DELETE FROM revocation_list WHERE id = $1").bind(id.to_owned())).await
    }
}
