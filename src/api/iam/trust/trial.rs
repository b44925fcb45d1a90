//! A trust policy asked about somebody, as they would come, without anything happening.

use crate::{
    domain::{
        Timestamp,
        session::{IdentityAssertion, RequestOrigin},
    },
    gateway::person_context,
    policy::{CompiledRole, Explanation, evaluate::explain_federated},
    store::Snapshot,
};

/// Lays a role's trust policy out for an assertion. `factor` is when a second factor was given.
pub(super) fn explain(
    snapshot: &Snapshot,
    role: &CompiledRole,
    identity: &IdentityAssertion,
    factor: Option<Timestamp>,
    origin: &RequestOrigin,
) -> Explanation {
    // As the person would come: with the keys of a request, and none of the administrator who tries it.
    let context = role.trust_context(identity, &person_context(snapshot, identity, factor, origin));
    let mut explanation = explain_federated(role, identity, snapshot.caps(None, Some(&role.role.account)), &context);
    // People know each other by names.
    for principal in explanation.policies.iter_mut().flat_map(|policy| &mut policy.statements).flat_map(|one| &mut one.principals)
    {
        let named = principal.strip_prefix("AWS ").and_then(|id| super::arn_of(id, snapshot));
        if let Some(arn) = named {
            *principal = format!("AWS {arn}");
        }
    }
    let refused = if snapshot.standing(&identity.provider, &role.role.account).is_none() {
        Some("because another provider stands under this ARN in the role's account")
    } else if !identity.is_for(&role.role.arn()) {
        Some("because the assertion lists the roles it is for, and this one is not among them")
    } else {
        None
    };
    if let Some(reason) = refused.filter(|_| explanation.allowed) {
        explanation.allowed = false;
        reason.clone_into(&mut explanation.reason);
    }
    explanation
}
