//! Decisions and their reasons, and the one thing that lets anything happen: [`Permit`].

use super::{compile::CompiledRole, condition::ConditionTrace};
use crate::domain::{
    Arn,
    session::{IdentityAssertion, RoleSession},
};
use serde::Serialize;
use std::sync::Arc;

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
#[derive(Debug)]
pub enum GrantBasis {
    /// A verified assertion.
    Federated(Box<IdentityAssertion>),
    /// Another role session.
    Chained(Arc<RoleSession>),
}

/// A no, in AWS's wording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Whether a `Deny` matched, rather than nothing.
    pub explicit: bool,
    /// For the caller: what they tried, on what, and which kind of policy was missing or in the way.
    pub message: String,
}

impl Denial {
    /// `User: … is not authorized to perform: … on resource: … because …`
    #[must_use]
    pub fn new(subject: &str, action: &str, resource: &str, explicit: bool, why: &str) -> Self {
        let message = format!("User: {subject} is not authorized to perform: {action} on resource: {resource} {why}");
        Self { explicit, message }
    }
}

/// A trust policy laid out for one assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explanation {
    /// The role.
    pub role: Arn,
    /// The federation action.
    pub action: String,
    /// The outcome.
    pub allowed: bool,
    /// Every statement, in order.
    pub statements: Vec<StatementTrace>,
}

/// One statement of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StatementTrace {
    /// From 1.
    pub number: usize,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// `Allow`, else `Deny`.
    pub allow: bool,
    /// As written.
    pub principals: Vec<String>,
    /// Whether one of them is the caller.
    pub principal_matched: bool,
    /// As written.
    pub actions: Vec<String>,
    /// Whether one of them is the action.
    pub action_matched: bool,
    /// Every condition.
    pub conditions: Vec<ConditionTrace>,
    /// Whether all of the above hold.
    pub applies: bool,
}

impl Explanation {
    /// One line for a person: which statement and claims granted it.
    #[must_use]
    pub fn because(&self) -> Option<String> {
        let granting = self.statements.iter().find(|trace| self.allowed && trace.allow && trace.applies)?;
        let name =
            granting.sid.as_ref().map_or_else(|| format!("statement {}", granting.number), |sid| format!("statement “{sid}”"));
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
        Some(if claims.is_empty() {
            format!("{name} lets everyone from this provider in")
        } else {
            format!("{name}: {}", claims.join("; "))
        })
    }
}
