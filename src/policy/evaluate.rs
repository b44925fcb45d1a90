//! Evaluation: which layers speak, and what follows (IAM user guide, "Policy evaluation logic").

use super::{
    context::Context,
    decision::{Decision, Denial, Explanation, Grant, GrantBasis, Layer, Permit, PolicyTrace},
    principal::{Form, Identity},
    request::Request,
    role::{CompiledRole, CompiledUser, NO_POLICIES, user_identity},
    set::{Place, PolicySet},
};
use crate::domain::{
    anywhere::CertifiedIdentity,
    name::AccountId,
    session::{IdentityAssertion, RoleSession},
    user::UserSession,
};
use std::sync::{Arc, LazyLock};

/// Service prefixes that resource control policies reach, sorted.
static RCP_SERVICES: LazyLock<Box<[&str]>> = LazyLock::new(|| include_str!("rcp_services.txt").lines().collect());

/// An explanation shows all statements of a layer up to this many, and of a larger one those that apply or nearly do.
const MOST_EXPLAINED: usize = 100;

/// Everything that may speak about one request.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// The caller's identity policies, groups included.
    pub identity: &'a PolicySet,
    /// The caller's permissions boundary.
    pub boundary: Option<&'a PolicySet>,
    /// The caps of the caller's session.
    pub session: Option<&'a PolicySet>,
    /// The policy on the resource.
    pub resource: Option<ResourcePolicy<'a>>,
    /// The organization's.
    pub guardrails: Guardrails<'a>,
}

impl<'a> Layers<'a> {
    /// Identity policies alone.
    #[must_use]
    pub const fn of_identity(identity: &'a PolicySet) -> Self {
        Self { identity, boundary: None, session: None, resource: None, guardrails: Guardrails::NONE }
    }
}

/// The policy on a resource.
#[derive(Clone, Copy, Debug)]
pub struct ResourcePolicy<'a> {
    /// What it says.
    pub policies: &'a PolicySet,
    /// Whether it must allow even inside the account, as trust policies and key policies must.
    pub mandatory: bool,
}

/// What the organization caps, level by level from the root down: each level must allow.
#[derive(Clone, Copy, Debug)]
pub struct Guardrails<'a> {
    /// Service control policies on the path to the caller's account.
    pub service_control: &'a [Arc<PolicySet>],
    /// Resource control policies on the path to the resource's account.
    pub resource_control: &'a [Arc<PolicySet>],
    /// The account of the resource, where that is not its owner; see [`Check::guarded`].
    pub guarded: Option<&'a AccountId>,
    /// The account that guardrails never bind.
    pub management: Option<&'a AccountId>,
}

impl Guardrails<'_> {
    /// No organization.
    pub const NONE: Self = Self { service_control: &[], resource_control: &[], guarded: None, management: None };
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed; by which policy, where one was needed.
    Allowed(Option<(Layer, Place)>),
    /// A `Deny` applies. The level counts guardrails from the root, from 0.
    ExplicitDeny(Layer, usize, Place),
    /// Nothing allows it in this layer. The level counts guardrails from the root, from 0.
    ImplicitDeny(Layer, usize),
}

/// Decides. `owner` is the account of the resource; none means the caller's own.
#[must_use]
pub fn decide(request: &Request<'_>, layers: &Layers<'_>, owner: Option<&AccountId>) -> Verdict {
    // "No permissions are required to perform this operation", even against an explicit deny (STS API reference).
    if request.folded_action() == b"sts:getcalleridentity" {
        return Verdict::Allowed(None);
    }
    let who = request.who;
    let own = who.account();
    let owner = owner.or(own);

    let resource = layers.resource.map(|resource| (resource.mandatory, resource.policies.ask(request)));
    let identity = if who.has_identity_side() { layers.identity.ask(request) } else { Default::default() };
    let boundary = layers.boundary.map(|boundary| boundary.ask(request));
    let session = layers.session.map(|session| session.ask(request));
    let spoken = [
        (Layer::Resource, resource.map(|(_, said)| said)),
        (Layer::Identity, Some(identity)),
        (Layer::Boundary, boundary),
        (Layer::Session, session),
    ];
    for (layer, said) in spoken {
        if let Some(place) = said.and_then(|said| said.denied) {
            return Verdict::ExplicitDeny(layer, 0, place);
        }
    }

    let mut missed = None;
    let guardrails = [
        (Layer::ServiceControl, layers.guardrails.service_control),
        (Layer::ResourceControl, layers.guardrails.resource_control),
    ];
    for (layer, levels) in guardrails {
        let levels = if levels.is_empty() || layers.is_exempt(layer, request, owner) { &[] } else { levels };
        for (level, policies) in levels.iter().enumerate() {
            let said = policies.ask(request);
            if let Some(place) = said.denied {
                return Verdict::ExplicitDeny(layer, level, place);
            }
            if said.allowed.is_none() && missed.is_none() {
                missed = Some((layer, level));
            }
        }
    }
    if let Some((layer, level)) = missed {
        return Verdict::ImplicitDeny(layer, level);
    }

    let by_resource = resource.and_then(|(_, said)| said.allowed);
    let resource_allows = |place| Verdict::Allowed(Some((Layer::Resource, place)));
    if !who.has_identity_side() {
        return by_resource.map_or(Verdict::ImplicitDeny(Layer::Resource, 0), |(_, place)| resource_allows(place));
    }
    let capped = || {
        if boundary.is_some_and(|said| said.allowed.is_none()) {
            return Some(Verdict::ImplicitDeny(Layer::Boundary, 0));
        }
        let uncapped = match session {
            Some(said) => said.allowed.is_some(),
            // The session of a federated user has no permissions of its user but those that its policy names.
            None => !matches!(who, Identity::FederatedUser { .. }),
        };
        (!uncapped).then_some(Verdict::ImplicitDeny(Layer::Session, 0))
    };
    let same_account = owner == own;
    // "sts:TagSession" must be allowed on both sides (IAM user guide, "Passing session tags in AWS STS").
    let by_itself = same_account && request.folded_action() != b"sts:tagsession";
    match by_resource {
        Some((Form::Itself | Form::Everyone, place)) if by_itself => return resource_allows(place),
        Some((Form::Behind, place)) if by_itself => return capped().unwrap_or_else(|| resource_allows(place)),
        Some(_) => {}
        None if !same_account || resource.is_some_and(|(mandatory, _)| mandatory) => {
            return Verdict::ImplicitDeny(Layer::Resource, 0);
        }
        None => {}
    }
    let is_root = matches!(who, Identity::Root { .. });
    match identity.allowed {
        None if !is_root => Verdict::ImplicitDeny(Layer::Identity, 0),
        allowed => capped().unwrap_or_else(|| Verdict::Allowed(allowed.map(|(_, place)| (Layer::Identity, place)))),
    }
}

fn has_resource_control(request: &Request<'_>) -> bool {
    let service = request.folded_action().split(|byte| *byte == b':').next().unwrap_or_default();
    RCP_SERVICES.binary_search_by(|listed| listed.as_bytes().cmp(service)).is_ok()
}

impl Layers<'_> {
    fn set(&self, layer: Layer, level: usize) -> Option<&PolicySet> {
        match layer {
            Layer::Resource => self.resource.map(|resource| resource.policies),
            Layer::Identity => Some(self.identity),
            Layer::Boundary => self.boundary,
            Layer::Session => self.session,
            Layer::ServiceControl => self.guardrails.service_control.get(level).map(|set| &**set),
            Layer::ResourceControl => self.guardrails.resource_control.get(level).map(|set| &**set),
        }
    }

    /// Whether the organization's policies of this kind have nothing to say about the request.
    fn is_exempt(&self, layer: Layer, request: &Request<'_>, owner: Option<&AccountId>) -> bool {
        let management = self.guardrails.management;
        let own = request.who.account();
        match layer {
            Layer::ServiceControl => request.who.is_service_linked() || own.is_none() || own == management,
            Layer::ResourceControl => {
                let owner = self.guardrails.guarded.or(owner);
                let managed = owner.is_some() && owner == management;
                request.who.is_service_linked() || managed || !has_resource_control(request)
            }
            Layer::Resource | Layer::Identity | Layer::Boundary | Layer::Session => false,
        }
    }

    /// The end of a refusal, in AWS's wording.
    #[must_use]
    pub fn why(&self, verdict: Verdict, action: &str) -> String {
        match verdict {
            Verdict::Allowed(None) => "No policy is needed for it.".to_owned(),
            Verdict::Allowed(Some((layer, place))) => {
                format!("Allowed by {}.", self.name(layer, 0, place).unwrap_or_default())
            }
            Verdict::ExplicitDeny(layer, level, place) => {
                let an = if layer == Layer::Identity { "an" } else { "a" };
                let name = self.name(layer, level, place).unwrap_or_default();
                format!("with an explicit deny in {an} {layer} ({name})")
            }
            Verdict::ImplicitDeny(layer, _) => format!("because no {layer} allows the {action} action"),
        }
    }

    fn name(&self, layer: Layer, level: usize, place: Place) -> Option<String> {
        let (label, statement) = self.set(layer, level)?.at(place)?;
        let sid = statement.sid.as_ref().map(|sid| format!(" “{sid}”")).unwrap_or_default();
        Some(format!("{label}, statement {}{sid}", statement.number))
    }

    /// Decides, and lays out why. A second pass over the same compiled statements: it can't say otherwise.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>, owner: Option<&AccountId>) -> Explanation {
        let verdict = decide(request, self, owner);
        let single = |layer: Layer| self.set(layer, 0).map(|set| (layer, set));
        let [scps, rcps] = [self.guardrails.service_control, self.guardrails.resource_control];
        let sets = [Layer::Resource, Layer::Identity, Layer::Boundary, Layer::Session].into_iter().filter_map(single);
        let sets = sets.chain(scps.iter().map(|set| (Layer::ServiceControl, &**set)));
        let sets = sets.chain(rcps.iter().map(|set| (Layer::ResourceControl, &**set)));
        // Only what was asked.
        let subject = owner.or(request.who.account());
        let asked =
            |layer| !self.is_exempt(layer, request, subject) && (layer != Layer::Identity || request.who.has_identity_side());
        let sets = sets.filter(|(layer, _)| asked(*layer));
        let policies = sets.flat_map(|(layer, set)| {
            let many = set.policies().iter().map(|named| named.policy.statements.len()).sum::<usize>() > MOST_EXPLAINED;
            set.policies().iter().map(move |named| {
                let statements = named.policy.statements.iter().map(|statement| statement.explain(request));
                let statements = statements.filter(|trace| !many || trace.applies || trace.nearly).collect();
                PolicyTrace { layer, policy: named.label.to_string(), statements }
            })
        });
        Explanation {
            action: request.action.to_owned(),
            resource: request.resource.to_owned(),
            allowed: matches!(verdict, Verdict::Allowed(_)),
            explicit_deny: matches!(verdict, Verdict::ExplicitDeny(..)),
            reason: self.why(verdict, request.action),
            policies: policies.filter(|policy| !policy.statements.is_empty()).collect(),
        }
    }
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
    /// Whose resource it is for the organization's policies, where that is not the owner above: `sts:AssumeRoot` is the
    /// management account's own action on a member.
    pub guarded: Option<AccountId>,
    /// Keys of this request besides the common ones.
    pub keys: Vec<(String, Vec<String>)>,
    /// The role whose trust policy is the resource's policy (`sts:AssumeRole` and its companions).
    pub trust: Option<Arc<CompiledRole>>,
}

impl Check {
    /// An action on a resource of the caller's own account.
    pub fn new(action: &str, resource: impl ToString) -> Self {
        Self {
            action: action.to_owned(),
            resource: resource.to_string(),
            account: None,
            guarded: None,
            keys: Vec::new(),
            trust: None,
        }
    }
    /// The resource belongs to that account.
    #[must_use]
    pub fn owned_by(mut self, account: AccountId) -> Self {
        self.account = Some(account);
        self
    }
    /// The organization's policies on the resources of that account bind it.
    #[must_use]
    pub fn guarded_by(mut self, account: AccountId) -> Self {
        self.guarded = Some(account);
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

/// Who signed, and what speaks for and against them.
#[derive(Clone, Debug)]
pub struct SignedCaller<'a> {
    /// As `Principal` elements see them.
    pub who: Identity,
    /// Their identity policies.
    pub policies: &'a PolicySet,
    /// Their permissions boundary.
    pub boundary: Option<&'a PolicySet>,
    /// The caps passed when the session was made.
    pub caps: Option<&'a PolicySet>,
    /// On whose word a role would be taken.
    pub basis: GrantBasis,
}

impl<'a> SignedCaller<'a> {
    /// A session of a role.
    #[must_use]
    pub fn of_role(session: &Arc<RoleSession>, role: &'a CompiledRole, caps: Option<&'a PolicySet>) -> Self {
        Self {
            who: role.identity(session),
            policies: &role.policies,
            boundary: role.boundary.as_deref(),
            caps,
            basis: GrantBasis::Chained(session.clone()),
        }
    }

    /// A user, or a root user, who has no policies.
    #[must_use]
    pub fn of_user(session: &Arc<UserSession>, user: Option<&'a CompiledUser>, caps: Option<&'a PolicySet>) -> Self {
        Self {
            who: user_identity(session),
            policies: user.map_or(&NO_POLICIES, |user| &*user.policies),
            boundary: None,
            caps,
            basis: GrantBasis::User(session.clone()),
        }
    }
}

/// Decides whether whoever signed may do all of the checks. `guardrails` says what caps it on a resource of an account.
#[must_use]
pub fn authorize_signed<'g>(
    caller: &SignedCaller<'_>,
    guardrails: impl Fn(Option<&AccountId>) -> Guardrails<'g>,
    common: &Context,
    checks: &[Check],
) -> Decision {
    let SignedCaller { who, policies, boundary, caps, basis } = caller;
    let own = who.account();
    let mut grant = None;
    for check in checks {
        let keyed;
        let elsewhere = check.account.as_ref().filter(|account| Some(*account) != own);
        let context = if check.keys.is_empty() && elsewhere.is_none() {
            common
        } else {
            let mut context = common.clone();
            if let Some(account) = elsewhere {
                context.set("aws:ResourceAccount", account.to_string());
            }
            for (key, values) in &check.keys {
                context.set_list(key, values.clone());
            }
            keyed = context;
            &keyed
        };
        let resource = check.trust.as_ref().map(|role| ResourcePolicy { policies: &role.trust, mandatory: true });
        let guardrails = Guardrails {
            guarded: check.guarded.as_ref(),
            ..guardrails(check.guarded.as_ref().or(check.account.as_ref()).or(own))
        };
        let layers = Layers { identity: policies, boundary: *boundary, session: *caps, resource, guardrails };
        let mut request = Request::new(who, &check.action, &check.resource, context);
        request.bounded = layers.boundary.is_some();
        let verdict = decide(&request, &layers, check.account.as_ref());
        if !matches!(verdict, Verdict::Allowed(_)) {
            let explicit = matches!(verdict, Verdict::ExplicitDeny(..));
            let why = layers.why(verdict, &check.action);
            let mut denial = Denial::new(who.describe(), &check.action, &check.resource, explicit, &why);
            if check.action.starts_with("sts:") {
                denial.explanation = Some(Box::new(layers.explain(&request, check.account.as_ref())));
            }
            return Decision::Deny(denial);
        }
        if check.action == "sts:AssumeRole" {
            grant = check.trust.clone().map(|role| Grant { role, basis: basis.clone() });
        }
    }
    let actions = checks.iter().map(|check| check.action.clone()).collect();
    Decision::Allow(Permit::mint(actions, grant))
}

/// Decides whether a federated person or workload may take the role: its trust policy alone decides, within the
/// organization's resource control policies.
///
/// `companions` are the permission-only actions the request also needs (`sts:TagSession`, `sts:SetSourceIdentity`).
#[must_use]
pub fn authorize_federated(
    role: &Arc<CompiledRole>,
    assertion: IdentityAssertion,
    guardrails: Guardrails<'_>,
    context: &Context,
    companions: &[&str],
) -> Decision {
    let action = assertion.provider.protocol.action();
    let subject = format!("{}:{}", assertion.provider.name, assertion.subject);
    let arn = role.role.arn();
    let Some(provider) = assertion.provider.arn_in(&role.role.account) else {
        let why = "because the provider belongs to another account";
        return Decision::Deny(Denial::new(&subject, action, arn.as_str(), false, why));
    };
    let who = Identity::Federated(provider);
    let layers = role.trust_layers(guardrails);
    for action in std::iter::once(&action).chain(companions) {
        let request = Request::new(&who, action, arn.as_str(), context);
        let verdict = decide(&request, &layers, Some(&role.role.account));
        if !matches!(verdict, Verdict::Allowed(_)) {
            let explicit = matches!(verdict, Verdict::ExplicitDeny(..));
            let why = layers.why(verdict, action);
            let mut denial = Denial::new(&subject, action, arn.as_str(), explicit, &why);
            denial.explanation = Some(Box::new(layers.explain(&request, Some(&role.role.account))));
            return Decision::Deny(denial);
        }
    }
    let actions = std::iter::once(action).chain(companions.iter().copied()).map(str::to_owned).collect();
    let grant = Grant { role: role.clone(), basis: GrantBasis::Federated(Box::new(assertion)) };
    Decision::Allow(Permit::mint(actions, Some(grant)))
}

/// Decides whether a service may give the role to a workload it has identified: the role's trust policy must name the
/// service, and allow the tags and the source identity that come with the workload.
#[must_use]
pub fn authorize_service(
    role: &Arc<CompiledRole>,
    service: &str,
    identity: CertifiedIdentity,
    guardrails: Guardrails<'_>,
    context: &Context,
) -> Decision {
    let who = Identity::Service(service.to_owned());
    let arn = role.role.arn();
    let layers = role.trust_layers(guardrails);
    let mut actions = vec!["sts:AssumeRole"];
    if !identity.tags.is_empty() {
        actions.push("sts:TagSession");
    }
    if identity.source_identity.is_some() {
        actions.push("sts:SetSourceIdentity");
    }
    for action in &actions {
        let request = Request::new(&who, action, arn.as_str(), context);
        let verdict = decide(&request, &layers, Some(&role.role.account));
        if !matches!(verdict, Verdict::Allowed(_)) {
            let explicit = matches!(verdict, Verdict::ExplicitDeny(..));
            let mut denial = Denial::new(&identity.person(), action, arn.as_str(), explicit, &layers.why(verdict, action));
            denial.explanation = Some(Box::new(layers.explain(&request, Some(&role.role.account))));
            return Decision::Deny(denial);
        }
    }
    let grant = Grant { role: role.clone(), basis: GrantBasis::Certified(Box::new(identity)) };
    Decision::Allow(Permit::mint(actions.into_iter().map(str::to_owned).collect(), Some(grant)))
}

/// The permission-only actions that an assertion's contents also need.
#[must_use]
pub fn companions(assertion: &IdentityAssertion) -> Vec<&'static str> {
    let mut actions = Vec::new();
    if !assertion.tags.is_empty() {
        actions.push("sts:TagSession");
    }
    if assertion.source_identity.is_some() {
        actions.push("sts:SetSourceIdentity");
    }
    actions
}

/// The trust policy laid out statement by statement, condition by condition, for one assertion: the federation action, or
/// the first of its companions that is refused.
#[must_use]
pub fn explain_federated(
    role: &CompiledRole,
    assertion: &IdentityAssertion,
    guardrails: Guardrails<'_>,
    context: &Context,
) -> Explanation {
    let arn = role.role.arn();
    let layers = role.trust_layers(guardrails);
    // A provider of another account is nobody here.
    let who = assertion.provider.arn_in(&role.role.account).map_or(Identity::Anonymous, Identity::Federated);
    let explain = |action: &str| layers.explain(&Request::new(&who, action, arn.as_str(), context), Some(&role.role.account));
    let mut explanation = explain(assertion.provider.protocol.action());
    if who == Identity::Anonymous {
        explanation.allowed = false;
        "because the provider belongs to another account".clone_into(&mut explanation.reason);
    }
    for companion in companions(assertion) {
        if explanation.allowed {
            let companion = explain(companion);
            if !companion.allowed {
                explanation = companion;
            }
        }
    }
    explanation
}
