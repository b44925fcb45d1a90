//! The root and the organizational units below it.

use super::{Node, Organizations, on, organization};
use crate::{
    domain::{
        Error, ErrorKind,
        organization::{MAX_UNIT_DEPTH, OrganizationalUnit},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};

/// The roots: there is one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootList {
    /// It.
    pub roots: Vec<RootDetail>,
}

/// The root.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootDetail {
    /// `r-…`.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// `Root`.
    pub name: &'static str,
    /// Kinds of policies that can be attached.
    pub policy_types: Vec<PolicyTypeSummary>,
}

/// A kind of policies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyTypeSummary {
    /// `SERVICE_CONTROL_POLICY` or `RESOURCE_CONTROL_POLICY`.
    pub r#type: &'static str,
    /// `ENABLED`.
    pub status: &'static str,
}

/// A unit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnitDetail {
    /// `ou-…`.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
}

/// A page of units.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnitList {
    /// By id.
    pub organizational_units: Vec<UnitDetail>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One unit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnitAnswer {
    /// It.
    pub organizational_unit: UnitDetail,
}

/// What something is below.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParentList {
    /// One.
    pub parents: Vec<Parent>,
}

/// The root or a unit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parent {
    /// Its id.
    pub id: String,
    /// `ROOT` or `ORGANIZATIONAL_UNIT`.
    pub r#type: &'static str,
}

fn detail(snapshot: &Snapshot, unit: &OrganizationalUnit) -> Result<UnitDetail, Error> {
    let organization = organization(snapshot)?;
    let arn = format!("arn:aws:organizations::{}:ou/{}/{}", organization.management_account, organization.id, unit.id);
    Ok(UnitDetail { id: unit.id.clone(), arn, name: unit.name.clone() })
}

fn find<'s>(snapshot: &'s Snapshot, id: &str) -> Result<&'s OrganizationalUnit, Error> {
    let gone = || Error::new(ErrorKind::NoSuchEntity, "You specified an organizational unit that doesn't exist.");
    snapshot.units.get(id).ok_or_else(gone)
}

/// Checks a name beside its siblings.
fn check_name(snapshot: &Snapshot, name: &str, parent: Option<&String>, own: &str) -> Result<String, Error> {
    let name = name.trim();
    let count = name.chars().count();
    if count == 0 || count > 128 || name.chars().any(char::is_control) {
        return Err(Error::invalid("a name has 1 to 128 characters"));
    }
    let same =
        |unit: &&OrganizationalUnit| unit.id != own && unit.parent.as_ref() == parent && unit.name.eq_ignore_ascii_case(name);
    if snapshot.units.values().find(same).is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, "An OU with the same name exists there already."));
    }
    Ok(name.to_owned())
}

/// Lists the root.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRoots {}

impl Operation for ListRoots {
    type Service = Organizations;
    type Mode = Read;
    type Output = RootList;
    const NAME: &'static str = "ListRoots";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListRoots", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RootList, Error> {
        let organization = organization(&call.tx.snapshot)?;
        let id = organization.root_id();
        let enabled = |r#type| PolicyTypeSummary { r#type, status: "ENABLED" };
        Ok(RootList {
            roots: vec![RootDetail {
                arn: format!("arn:aws:organizations::{}:root/{}/{id}", organization.management_account, organization.id),
                id,
                name: "Root",
                policy_types: vec![enabled("SERVICE_CONTROL_POLICY"), enabled("RESOURCE_CONTROL_POLICY")],
            }],
        })
    }
}

/// Says what an account or a unit is below.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListParents {
    /// The account or the unit.
    pub child_id: String,
}

impl Operation for ListParents {
    type Service = Organizations;
    type Mode = Read;
    type Output = ParentList;
    const NAME: &'static str = "ListParents";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListParents", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ParentList, Error> {
        let snapshot = &call.tx.snapshot;
        let parent = match Node::find(snapshot, &self.child_id) {
            Some(Node::Account(account)) => snapshot.accounts.get(&account).and_then(|account| account.parent.clone()),
            Some(Node::Unit(unit)) => find(snapshot, &unit)?.parent.clone(),
            Some(Node::Root) | None => return Err(Error::new(ErrorKind::NoSuchEntity, "There is no such child.")),
        };
        let parent = match parent {
            Some(id) => Parent { id, r#type: "ORGANIZATIONAL_UNIT" },
            None => Parent { id: organization(snapshot)?.root_id(), r#type: "ROOT" },
        };
        Ok(ParentList { parents: vec![parent] })
    }
}

/// Lists the units right below the root or a unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListOrganizationalUnitsForParent {
    /// The root or the unit.
    pub parent_id: String,
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

impl Operation for ListOrganizationalUnitsForParent {
    type Service = Organizations;
    type Mode = Read;
    type Output = UnitList;
    const NAME: &'static str = "ListOrganizationalUnitsForParent";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListOrganizationalUnitsForParent", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<UnitList, Error> {
        let snapshot = &call.tx.snapshot;
        let parent = Node::parent(snapshot, &self.parent_id)?;
        let units = snapshot.units.values().filter(|unit| unit.parent == parent);
        let (page, next_token) = crate::api::page(units, |unit| unit.id.clone(), self.next_token.as_deref(), self.max_results)?;
        let units = page.into_iter().map(|unit| detail(snapshot, unit)).collect::<Result<_, _>>()?;
        Ok(UnitList { organizational_units: units, next_token })
    }
}

/// Describes a unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeOrganizationalUnit {
    /// The unit.
    pub organizational_unit_id: String,
}

impl Operation for DescribeOrganizationalUnit {
    type Service = Organizations;
    type Mode = Read;
    type Output = UnitAnswer;
    const NAME: &'static str = "DescribeOrganizationalUnit";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DescribeOrganizationalUnit", &format!("ou/{}", self.organizational_unit_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<UnitAnswer, Error> {
        let snapshot = &call.tx.snapshot;
        Ok(UnitAnswer { organizational_unit: detail(snapshot, find(snapshot, &self.organizational_unit_id)?)? })
    }
}

/// Creates a unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateOrganizationalUnit {
    /// The root or the unit above.
    pub parent_id: String,
    /// Unique beside its siblings.
    pub name: String,
}

impl Operation for CreateOrganizationalUnit {
    type Service = Organizations;
    type Mode = Write;
    type Output = UnitAnswer;
    const NAME: &'static str = "CreateOrganizationalUnit";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "CreateOrganizationalUnit", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<UnitAnswer, Error> {
        let snapshot = call.tx.snapshot.clone();
        let parent = Node::parent(&snapshot, &self.parent_id)?;
        let name = check_name(&snapshot, &self.name, parent.as_ref(), "")?;
        if snapshot.units_above(parent.as_deref()).count() >= MAX_UNIT_DEPTH {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("units are at most {MAX_UNIT_DEPTH} deep")));
        }
        let root = organization(&snapshot)?.root_id();
        let letters = call.broker.random.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 8);
        let unit = OrganizationalUnit { id: format!("ou-{}-{letters}", root.trim_start_matches("r-")), name, parent };
        call.tx.note("organizationalUnitId", &unit.id);
        call.tx.put_unit(&unit).await?;
        Ok(UnitAnswer { organizational_unit: detail(&snapshot, &unit)? })
    }
}

/// Renames a unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateOrganizationalUnit {
    /// The unit.
    pub organizational_unit_id: String,
    /// Unique beside its siblings.
    pub name: String,
}

impl Operation for UpdateOrganizationalUnit {
    type Service = Organizations;
    type Mode = Write;
    type Output = UnitAnswer;
    const NAME: &'static str = "UpdateOrganizationalUnit";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "UpdateOrganizationalUnit", &format!("ou/{}", self.organizational_unit_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<UnitAnswer, Error> {
        let snapshot = call.tx.snapshot.clone();
        let unit = find(&snapshot, &self.organizational_unit_id)?;
        let name = check_name(&snapshot, &self.name, unit.parent.as_ref(), &unit.id)?;
        let unit = OrganizationalUnit { name, ..unit.clone() };
        call.tx.note("organizationalUnitId", &unit.id);
        call.tx.put_unit(&unit).await?;
        Ok(UnitAnswer { organizational_unit: detail(&snapshot, &unit)? })
    }
}

/// Deletes a unit that nothing is below.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteOrganizationalUnit {
    /// The unit.
    pub organizational_unit_id: String,
}

impl Operation for DeleteOrganizationalUnit {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteOrganizationalUnit";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DeleteOrganizationalUnit", &format!("ou/{}", self.organizational_unit_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let snapshot = call.tx.snapshot.clone();
        let unit = find(&snapshot, &self.organizational_unit_id)?;
        let below = |parent: Option<&String>| parent == Some(&unit.id);
        let used = snapshot.units.values().any(|other| below(other.parent.as_ref()))
            || snapshot.accounts.values().any(|account| below(account.parent.as_ref()));
        if used {
            return Err(Error::new(ErrorKind::DeleteConflict, "Accounts or units are below this OU: move them first."));
        }
        call.tx.note("organizationalUnitId", &unit.id);
        call.tx.delete_unit(&unit.id).await
    }
}
