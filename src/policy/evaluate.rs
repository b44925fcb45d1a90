//! Evaluation: which statements match, and what follows (IAM user guide, "Policy evaluation logic").

use super::{
    compile::CompiledRole,
    condition::Context,
    decision::{Decision, Denial, Explanation, Grant, GrantBasis, Permit, StatementTrace},
    document::{Document, PrincipalPattern, Statement},
};
use crate::domain::{
    Arn,
    name::AccountId,
    session::{IdentityAssertion, RoleSession},
};
use std::sync::Arc;

/// One policy with the words people know it by.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// For example "inline policy `deploy` of role `Deployer`".
    pub label: &'a str,
    /// The document.
    pub document: &'a Document,
}

/// Who is asking, as `Principal` elements see it.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A role session.
    Session {
        /// ARN of the role, with its path.
        role: Arn,
        /// Unique id of the role.
        role_id: String,
        /// ARN of the session.
        session: Arn,
        /// Account of the role.
        account: AccountId,
    },
    /// Somebody vouched for by a provider, named by the provider's ARN in the role's account.
    Federated(Arn),
}

/// One thing to be allowed.
#[derive(Clone, Debug)]
pub struct Check {
    /// For example `iam:GetRole`.
    pub action: String,
    /// An ARN, or `*` for actions that have no resource.
    pub resource: String,
    /// Owner of the resource; none means the caller's own account.
    pub account: Option<AccountId>,
    /// Keys of this request besides the common ones.
    pub keys: Vec<(String, Vec<String>)>,
    /// The role whose trust policy is the resource's policy (`sts:AssumeRole` and its companions).
    pub trust: Option<Arc<CompiledRole>>,
}

impl Check {
    /// An action on a resource of the caller's own account.
    pub fn new(action: &str, resource: impl ToString) -> Self {
        Self { action: action.to_owned(), resource: resource.to_string(), account: None, keys: Vec::new(), trust: None }
    }
    /// The resource belongs to that account.
    #[must_use]
    pub fn owned_by(mut self, account: AccountId) -> Self {
        self.account = Some(account);
        self
    }
    /// Adds a condition key.
    #[must_use]
    pub fn with_key(mut self, key: &str, values: Vec<String>) -> Self {
        self.keys.push((key.to_owned(), values));
        self
    }
    /// The resource is a role: its trust policy must agree.
    #[must_use]
    pub fn trusted_by(mut self, role: Arc<CompiledRole>) -> Self {
        self.account = Some(role.role.account.clone());
        self.trust = Some(role);
        self
    }
}

/// Decides whether a role session may do all of the checks.
///
/// `identity` are the policies of the session's role, `session` the caps passed when it was made (inline and managed).
#[must_use]
pub fn authorize_session(
    caller: &Arc<RoleSession>,
    caller_role: &CompiledRole,
    identity: &[Named<'_>],
    session: Option<&[Named<'_>]>,
    common: &Context,
    checks: &[Check],
) -> Decision {
    let who = Identity::Session {
        role: caller_role.role.arn(),
        role_id: caller.role_id.clone(),
        session: caller.arn(),
        account: caller.account.clone(),
    };
    let mut grant = None;
    for check in checks {
        let mut context = common.clone();
        for (key, values) in &check.keys {
            context.set_list(key, values.clone());
        }
        if let Some(denial) = refuse_session(&who, caller, identity, session, &context, check) {
            return Decision::Deny(denial);
        }
        if check.action == "sts:AssumeRole" {
            grant = check.trust.clone().map(|role| Grant { role, basis: GrantBasis::Chained(caller.clone()) });
        }
    }
    let actions = checks.iter().map(|check| check.action.clone()).collect();
    Decision::Allow(Permit::mint(actions, grant))
}

fn refuse_session(
    who: &Identity,
    caller: &RoleSession,
    identity: &[Named<'_>],
    session: Option<&[Named<'_>]>,
    context: &Context,
    check: &Check,
) -> Option<Denial> {
    let subject = caller.arn();
    let deny = |explicit: bool, why: String| Some(Denial::new(subject.as_str(), &check.action, &check.resource, explicit, &why));
    let same_account = check.account.as_ref().is_none_or(|account| *account == caller.account);
    let label = check.trust.as_ref().map(|role| format!("trust policy of {}", role.role.name));
    let trust = check.trust.as_ref().zip(label.as_deref()).map(|(role, label)| Named { label, document: &role.trust });

    let all = identity.iter().chain(session.unwrap_or_default()).copied().chain(trust);
    for policy in all {
        let found = policy.document.statements.iter().find(|statement| {
            !statement.allow && applies(statement, Some(who), &check.action, &check.resource, context).is_some()
        });
        if let Some(statement) = found {
            let kind =
                if Some(policy.label) == label.as_deref() { "a resource-based policy" } else { "an identity-based policy" };
            return deny(true, format!("with an explicit deny in {kind} ({}, statement {})", policy.label, statement.number));
        }
    }

    let by_identity = allows(identity, Some(who), check, context);
    let by_session = session.is_none_or(|policies| allows(policies, Some(who), check, context));
    let by_trust = trust.and_then(|policy| strongest(policy.document, who, check, context));

    if trust.is_some() || !same_account {
        let Some(form) = by_trust else {
            let why = if trust.is_some() {
                "because no resource-based policy allows it: the role's trust policy does not let this caller in"
            } else {
                "because no resource-based policy allows it: the resource is in another account"
            };
            return deny(false, why.to_owned());
        };
        if same_account {
            match form {
                Form::Session | Form::Everyone => return None,
                Form::Role if by_session => return None,
                Form::Role => return deny(false, "because no session policy allows the action".to_owned()),
                Form::Account => {}
            }
        }
    }
    if !by_identity {
        return deny(false, format!("because no identity-based policy allows the {} action", check.action));
    }
    if !by_session {
        return deny(false, format!("because no session policy allows the {} action", check.action));
    }
    None
}

/// Decides whether a federated person or workload may take the role: its trust policy alone decides.
///
/// `companions` are the permission-only actions the request also needs (`sts:TagSession`, `sts:SetSourceIdentity`).
#[must_use]
pub fn authorize_federated(
    role: &Arc<CompiledRole>,
    assertion: IdentityAssertion,
    context: &Context,
    companions: &[&str],
) -> Decision {
    let account = &role.role.account;
    let arn = role.role.arn();
    let action = assertion.provider.protocol.action();
    let subject = format!("{}:{}", assertion.provider.name, assertion.subject);
    let Some(provider) = assertion.provider.arn_in(account) else {
        return Decision::Deny(Denial::new(
            &subject,
            action,
            arn.as_str(),
            false,
            "because the provider belongs to another account",
        ));
    };
    let who = Identity::Federated(provider);
    for action in std::iter::once(&action).chain(companions) {
        let mut allowed = false;
        for statement in &role.trust.statements {
            if applies(statement, Some(&who), action, arn.as_str(), context).is_some() {
                if !statement.allow {
                    let why = format!("with an explicit deny in the role's trust policy (statement {})", statement.number);
                    return Decision::Deny(Denial::new(&subject, action, arn.as_str(), true, &why));
                }
                allowed = true;
            }
        }
        if !allowed {
            let why = "because no statement of the role's trust policy allows it";
            return Decision::Deny(Denial::new(&subject, action, arn.as_str(), false, why));
        }
    }
    let actions = std::iter::once(action).chain(companions.iter().copied()).map(str::to_owned).collect();
    let grant = Grant { role: role.clone(), basis: GrantBasis::Federated(Box::new(assertion)) };
    Decision::Allow(Permit::mint(actions, Some(grant)))
}

/// The trust policy laid out statement by statement, condition by condition, for one assertion.
#[must_use]
pub fn explain_federated(role: &CompiledRole, assertion: &IdentityAssertion, context: &Context) -> Explanation {
    let action = assertion.provider.protocol.action();
    let who = assertion.provider.arn_in(&role.role.account).map(Identity::Federated);
    let arn = role.role.arn();
    let statements: Vec<StatementTrace> =
        role.trust.statements.iter().map(|statement| trace(statement, who.as_ref(), action, arn.as_str(), context)).collect();
    let denied = statements.iter().any(|trace| trace.applies && !trace.allow);
    let allowed = !denied && who.is_some() && statements.iter().any(|trace| trace.applies && trace.allow);
    Explanation { role: arn, action: action.to_owned(), allowed, statements }
}

fn allows(policies: &[Named<'_>], who: Option<&Identity>, check: &Check, context: &Context) -> bool {
    policies.iter().any(|policy| {
        policy.document.statements.iter().any(|s| s.allow && applies(s, who, &check.action, &check.resource, context).is_some())
    })
}

fn strongest(document: &Document, who: &Identity, check: &Check, context: &Context) -> Option<Form> {
    let matching = document.statements.iter().filter(|statement| statement.allow);
    matching.filter_map(|statement| applies(statement, Some(who), &check.action, &check.resource, context)).min()
}

/// By which form of `Principal` a statement matched; the earlier, the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Session,
    Everyone,
    Role,
    Account,
}

/// Whether a statement applies, and by which form of principal. Statements without principals apply to their owner.
fn applies(statement: &Statement, who: Option<&Identity>, action: &str, resource: &str, context: &Context) -> Option<Form> {
    let form = principal_form(statement, who)?;
    let all = action_matches(statement, action)
        && resource_matches(statement, resource, context)
        && statement.conditions.iter().all(|condition| condition.holds(context, !statement.allow));
    all.then_some(form)
}

fn principal_form(statement: &Statement, who: Option<&Identity>) -> Option<Form> {
    if statement.principals.is_empty() {
        return Some(Form::Session);
    }
    let who = who?;
    statement.principals.iter().filter_map(|pattern| principal_matches(pattern, who)).min()
}

fn principal_matches(pattern: &PrincipalPattern, who: &Identity) -> Option<Form> {
    match (pattern, who) {
        (PrincipalPattern::Everyone, _) => Some(Form::Everyone),
        (PrincipalPattern::Account(wanted), Identity::Session { account, .. }) => (wanted == account).then_some(Form::Account),
        (PrincipalPattern::Aws(wanted), Identity::Session { role, role_id, session, .. }) => {
            if wanted == session.as_str() {
                Some(Form::Session)
            } else {
                (wanted == role.as_str() || wanted == role_id).then_some(Form::Role)
            }
        }
        (PrincipalPattern::Federated(wanted), Identity::Federated(provider)) => {
            (wanted == provider.as_str()).then_some(Form::Session)
        }
        (PrincipalPattern::Federated(_) | PrincipalPattern::Service(_), Identity::Session { .. })
        | (PrincipalPattern::Account(_) | PrincipalPattern::Aws(_) | PrincipalPattern::Service(_), Identity::Federated(_)) => {
            None
        }
    }
}

fn action_matches(statement: &Statement, action: &str) -> bool {
    statement.actions.iter().any(|pattern| pattern.matches(action)) != statement.not_action
}

fn resource_matches(statement: &Statement, resource: &str, context: &Context) -> bool {
    statement.resources.is_empty()
        || statement.resources.iter().any(|pattern| pattern.matches(resource, context)) != statement.not_resource
}

fn trace(statement: &Statement, who: Option<&Identity>, action: &str, resource: &str, context: &Context) -> StatementTrace {
    let principal_matched = principal_form(statement, who).is_some();
    let action_matched = action_matches(statement, action);
    StatementTrace {
        number: statement.number,
        sid: statement.sid.clone(),
        allow: statement.allow,
        principals: statement.principals.iter().map(PrincipalPattern::text).collect(),
        principal_matched,
        actions: statement.actions.iter().map(|pattern| pattern.text().to_owned()).collect(),
        action_matched,
        conditions: statement.conditions.iter().map(|condition| condition.explain(context, !statement.allow)).collect(),
        applies: applies(statement, who, action, resource, context).is_some(),
    }
}
