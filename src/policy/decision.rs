//! Decisions and their reasons, and the one thing that lets anything happen: [`Permit`].

use super::{condition::ConditionTrace, role::CompiledRole};
use crate::domain::{
    anywhere::CertifiedIdentity,
    session::{IdentityAssertion, RoleSession},
    user::UserSession,
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Yes with a permit, or no with a reason.
#[derive(Debug)]
pub enum Decision {
    /// Allowed.
    Allow(Permit),
    /// Not allowed.
    Deny(Denial),
}

/// Proof that the engine said yes. It can't be made outside this module's floor, cloned or kept:
/// a transaction and a credential are only handed out against one.
#[derive(Debug)]
pub struct Permit {
    actions: Vec<String>,
    grant: Option<Grant>,
}

impl Permit {
    /// Only the engine's evaluation may call this.
    pub(in crate::policy) const fn mint(actions: Vec<String>, grant: Option<Grant>) -> Self {
        Self { actions, grant }
    }

    /// A permit for an operation that asks for no policy: because nobody is there to ask yet, because any verified caller
    /// may, or because a bearer token opens exactly this. The sentence goes into the audit record and into the golden
    /// `open-doors.txt`.
    #[must_use]
    pub(crate) fn open(because: &'static str) -> Self {
        Self { actions: vec![because.to_owned()], grant: None }
    }

    /// What was allowed.
    #[must_use]
    pub fn actions(&self) -> &[String] {
        &self.actions
    }

    /// The role that may be taken, where the question was about taking one.
    #[must_use]
    pub const fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }
}

/// A role, and on whose word it may be taken.
#[derive(Debug)]
pub struct Grant {
    /// The role.
    pub role: Arc<CompiledRole>,
    /// The word.
    pub basis: GrantBasis,
}

/// On whose word a role is taken.
#[derive(Clone, Debug)]
pub enum GrantBasis {
    /// A verified assertion.
    Federated(Box<IdentityAssertion>),
    /// Another role session.
    Chained(Arc<RoleSession>),
    /// An IAM user.
    User(Arc<UserSession>),
    /// A trust anchor, by a certificate.
    Certified(Box<CertifiedIdentity>),
}

/// A kind of policy (IAM user guide, "Policy types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Layer {
    /// On the resource: a role's trust policy, for example.
    Resource,
    /// On the user, its groups or its role.
    Identity,
    /// The cap on a user or role.
    Boundary,
    /// The cap on a session.
    Session,
    /// The organization's cap on its accounts' principals.
    ServiceControl,
    /// The organization's cap on its accounts' resources.
    ResourceControl,
}

impl fmt::Display for Layer {
    /// With AWS's words in refusals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "resource-based policy",
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::ServiceControl => "service control policy",
            Self::ResourceControl => "resource control policy",
        })
    }
}

/// A no, in AWS's wording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Whether a `Deny` matched, rather than nothing.
    pub explicit: bool,
    /// For the caller: what they tried, on what, and which kind of policy was missing or in the way.
    pub message: String,
    /// Every policy that had a say, where a role was to be taken.
    pub explanation: Option<Box<Explanation>>,
}

impl Denial {
    /// `User: … is not authorized to perform: … on resource: … because …`
    #[must_use]
    pub fn new(subject: &str, action: &str, resource: &str, explicit: bool, why: &str) -> Self {
        let message = format!("User: {subject} is not authorized to perform: {action} on resource: {resource} {why}");
        Self { explicit, message, explanation: None }
    }
}

/// A decision laid out, policy by policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explanation {
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The outcome.
    pub allowed: bool,
    /// Whether a `Deny` decided.
    pub explicit_deny: bool,
    /// One sentence: what decided.
    pub reason: String,
    /// Every policy that was asked, layer by layer.
    pub policies: Vec<PolicyTrace>,
}

/// One policy of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyTrace {
    /// Which kind of policy.
    pub layer: Layer,
    /// What people know it by.
    pub policy: String,
    /// Its statements in order. Of a layer with very many, only those that apply or nearly do.
    pub statements: Vec<StatementTrace>,
}

/// One statement of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StatementTrace {
    /// From 1.
    pub number: usize,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// `Allow`, else `Deny`.
    pub allow: bool,
    /// `NotPrincipal`.
    pub not_principal: bool,
    /// As written.
    pub principals: Vec<String>,
    /// Whether the caller is covered.
    pub principal_matched: bool,
    /// `NotAction`.
    pub not_action: bool,
    /// As written.
    pub actions: Vec<String>,
    /// Whether the action is covered.
    pub action_matched: bool,
    /// `NotResource`.
    pub not_resource: bool,
    /// As written.
    pub resources: Vec<String>,
    /// Whether the resource is covered.
    pub resource_matched: bool,
    /// Every condition.
    pub conditions: Vec<ConditionTrace>,
    /// Whether all of the above hold.
    pub applies: bool,
    /// Whether all but one of them hold.
    pub nearly: bool,
}

impl StatementTrace {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> String {
        self.sid.as_ref().map_or_else(|| format!("statement {}", self.number), |sid| format!("statement “{sid}”"))
    }

    /// How many of its checks fail. One that is about somebody else, or about another action, is further away than any that
    /// is about the caller.
    #[must_use]
    pub fn failing(&self) -> usize {
        let about = usize::from(!self.principal_matched) + usize::from(!self.action_matched);
        about * 100 + self.conditions.iter().filter(|condition| !condition.matched).count() + usize::from(!self.resource_matched)
    }
}

impl Explanation {
    /// Every statement of every policy.
    pub fn statements(&self) -> impl Iterator<Item = &StatementTrace> {
        self.policies.iter().flat_map(|policy| &policy.statements)
    }

    /// One line for a person: which statement and claims granted it.
    #[must_use]
    pub fn because(&self) -> Option<String> {
        let granting = self.statements().find(|trace| self.allowed && trace.allow && trace.applies)?;
        let claims: Vec<String> = granting
            .conditions
            .iter()
            .filter(|condition| !condition.received.is_empty())
            .map(|condition| {
                let shown: Vec<&str> = condition
                    .received
                    .iter()
                    .filter(|value| condition.received.len() == 1 || condition.expected.contains(value))
                    .map(String::as_str)
                    .collect();
                format!("{} is {}", condition.key, shown.join(", "))
            })
            .collect();
        let name = granting.name();
        Some(if granting.conditions.is_empty() {
            format!("{name} lets everyone from this provider in")
        } else if claims.is_empty() {
            format!("{name}: what it forbids is not there")
        } else {
            format!("{name}: {}", claims.join("; "))
        })
    }
}
