//! Simulation: what policies would say to requests, with the statements that decide.

use super::Iam;
use crate::{
    domain::{Arn, Error, ErrorKind, name::AccountId},
    gateway::{Access, Call, Operation, Read, Scope},
    policy::{
        Context, Document, DocumentKind, Explanation, Identity, MalformedDocument, Named, Policy, PolicySet, Request,
        decision::Layer,
        evaluate::{Check, Guardrails, Layers, ResourcePolicy},
        json::Position,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// Most questions in one call: actions times resources.
const MOST_QUESTIONS: usize = 10_000;
/// Most statements, and missing keys, that one answer lists.
const MOST_MATCHED: usize = 50;
/// Most statements of all policies together.
const MOST_STATEMENTS: usize = 1_000;

/// Tries policies that are only written down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulateCustomPolicy {
    /// Identity policies, JSON.
    #[serde(default)]
    pub policy_input_list: Vec<String>,
    /// At most one permissions boundary, JSON.
    #[serde(default)]
    pub permissions_boundary_policy_input_list: Vec<String>,
    /// What is tried, for example `s3:GetObject`.
    pub action_names: Vec<String>,
    /// On what; default `*`.
    #[serde(default)]
    pub resource_arns: Vec<String>,
    /// The policy on each of the resources, JSON.
    pub resource_policy: Option<String>,
    /// The account of the resources, as its root ARN or twelve digits; default the caller's.
    pub resource_owner: Option<String>,
    /// Who tries; default a user of this account.
    pub caller_arn: Option<String>,
    /// Condition keys of the request.
    #[serde(default)]
    pub context_entries: Vec<ContextEntry>,
    /// Read and not used: it only chooses among EC2's sets of resources.
    pub resource_handling_option: Option<String>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// Tries a role's policies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulatePrincipalPolicy {
    /// ARN of the role.
    pub policy_source_arn: Arn,
    /// Identity policies besides its own, JSON.
    #[serde(default)]
    pub policy_input_list: Vec<String>,
    /// At most one permissions boundary instead of its own, JSON.
    #[serde(default)]
    pub permissions_boundary_policy_input_list: Vec<String>,
    /// What is tried.
    pub action_names: Vec<String>,
    /// On what; default `*`.
    #[serde(default)]
    pub resource_arns: Vec<String>,
    /// The policy on each of the resources, JSON.
    pub resource_policy: Option<String>,
    /// The account of the resources; default the role's.
    pub resource_owner: Option<String>,
    /// Who tries; default a session of the role.
    pub caller_arn: Option<String>,
    /// Condition keys of the request.
    #[serde(default)]
    pub context_entries: Vec<ContextEntry>,
    /// Read and not used.
    pub resource_handling_option: Option<String>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// A condition key of the request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ContextEntry {
    /// For example `aws:SourceIp`.
    pub context_key_name: String,
    /// One for a type without `List`.
    #[serde(default)]
    pub context_key_values: Vec<String>,
    /// Operators know what they compare: the type is read and not used.
    pub context_key_type: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SimulationResults {
    /// One for each action on each resource.
    pub evaluation_results: Vec<EvaluationResult>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// What one request would meet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EvaluationResult {
    /// The action.
    pub eval_action_name: String,
    /// The resource.
    pub eval_resource_name: String,
    /// `allowed`, `explicitDeny` or `implicitDeny`.
    pub eval_decision: &'static str,
    /// The statements that apply.
    pub matched_statements: Vec<MatchedStatement>,
    /// Keys that conditions ask for and the request does not have.
    pub missing_context_values: Vec<String>,
    /// Whether the boundary allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions_boundary_decision_detail: Option<BoundaryDetail>,
}

/// Whether the boundary allows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BoundaryDetail {
    /// It does.
    pub allowed_by_permissions_boundary: bool,
}

/// A statement that applies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MatchedStatement {
    /// `PolicyInputList.1`, or what the policy is known by.
    pub source_policy_id: String,
    /// `IAM Policy`, `Resource Policy` or `Permissions Boundary`.
    pub source_policy_type: &'static str,
    /// Its first character.
    pub start_position: PolicyPosition,
    /// After its last.
    pub end_position: PolicyPosition,
}

/// A place in a policy's text.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyPosition {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// A policy with its text, for the positions of its statements.
struct Source {
    layer: Layer,
    named: Named,
    /// First and last place of each statement.
    places: Vec<(PolicyPosition, PolicyPosition)>,
}

impl Source {
    fn parse(layer: Layer, label: String, text: &str, kind: DocumentKind) -> Result<Self, Error> {
        let malformed = |error: MalformedDocument| Error::invalid(format!("Policy {label} is malformed: {error}"));
        let policy = Policy::parse(text, kind).map_err(malformed)?;
        let document = Document::parse(text, kind).map_err(malformed)?;
        let place = |offset| {
            let Position { line, column, .. } = Position::of(text, offset);
            PolicyPosition { line, column }
        };
        let statements = document.statements.iter().take(MOST_STATEMENTS);
        let places = statements.map(|statement| (place(statement.span.start), place(statement.span.end))).collect();
        Ok(Self { layer, named: Named { label: label.as_str().into(), policy: Arc::new(policy) }, places })
    }
}

/// Adds a policy under a name of its own: positions are looked up by it.
fn add(sources: &mut Vec<Source>, layer: Layer, label: &str, text: &str) -> Result<(), Error> {
    let taken = |name: &str| sources.iter().any(|source| *source.named.label == *name);
    let numbered = (2..).map(|number| format!("{label} ({number})"));
    let name = std::iter::once(label.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default();
    sources.push(Source::parse(layer, name, text, DocumentKind::Identity)?);
    Ok(())
}

/// Both operations, once their policies are together.
struct Simulation {
    sources: Vec<Source>,
    who: Identity,
    owner: AccountId,
    actions: Vec<String>,
    resources: Vec<String>,
    context: Context,
    given: BTreeSet<String>,
}

impl Simulation {
    fn set(&self, layer: Layer) -> Option<PolicySet> {
        let of_layer = self.sources.iter().filter(|source| source.layer == layer);
        let named: Vec<Named> = of_layer.map(|source| source.named.clone()).collect();
        (!named.is_empty()).then(|| PolicySet::new(named))
    }

    fn run(&self, guardrails: Guardrails<'_>, marker: Option<&str>, limit: Option<u32>) -> Result<SimulationResults, Error> {
        if self.actions.is_empty() || self.actions.len() * self.resources.len() > MOST_QUESTIONS {
            return Err(Error::invalid(format!("1 to {MOST_QUESTIONS} actions times resources can be simulated at once")));
        }
        if self.sources.iter().map(|source| source.named.policy.statements.len()).sum::<usize>() > MOST_STATEMENTS {
            return Err(Error::invalid(format!("at most {MOST_STATEMENTS} statements can be simulated at once")));
        }
        let identity = self.set(Layer::Identity).unwrap_or_default();
        let (boundary, resource) = (self.set(Layer::Boundary), self.set(Layer::Resource));
        let layers = Layers {
            identity: &identity,
            boundary: boundary.as_ref(),
            session: None,
            resource: resource.as_ref().map(|policies| ResourcePolicy { policies, mandatory: false }),
            guardrails,
        };
        let pairs = self.actions.iter().flat_map(|action| self.resources.iter().map(move |resource| (action, resource)));
        let numbered = pairs.enumerate().map(|(number, pair)| (format!("{number:06}"), pair));
        let (page, marker) = crate::api::page(numbered, |(number, _)| number.clone(), marker, limit)?;
        let results = page.into_iter().map(|(_, (action, resource))| {
            let mut request = Request::new(&self.who, action, resource, &self.context);
            request.bounded = boundary.is_some();
            let explanation = layers.explain(&request, Some(&self.owner));
            let allows =
                |boundary: &PolicySet| boundary.ask(&request).denied.is_none() && boundary.ask(&request).allowed.is_some();
            EvaluationResult {
                eval_action_name: action.clone(),
                eval_resource_name: resource.clone(),
                eval_decision: match (explanation.allowed, explanation.explicit_deny) {
                    (true, _) => "allowed",
                    (false, true) => "explicitDeny",
                    (false, false) => "implicitDeny",
                },
                matched_statements: self.matched(&explanation),
                missing_context_values: self.missing(&explanation),
                permissions_boundary_decision_detail: boundary
                    .as_ref()
                    .map(|boundary| BoundaryDetail { allowed_by_permissions_boundary: allows(boundary) }),
            }
        });
        Ok(SimulationResults { evaluation_results: results.collect(), is_truncated: marker.is_some(), marker })
    }

    /// The statements that decided: with a deny, the denies that apply; else the allows.
    fn matched(&self, explanation: &Explanation) -> Vec<MatchedStatement> {
        let mut all = Vec::new();
        for policy in &explanation.policies {
            if all.len() >= MOST_MATCHED {
                break;
            }
            let Some(source) = self.sources.iter().find(|source| *source.named.label == *policy.policy) else { continue };
            let decided = policy.statements.iter().filter(|trace| trace.applies && trace.allow != explanation.explicit_deny);
            for trace in decided.take(MOST_MATCHED) {
                let Some((start, end)) = source.places.get(trace.number - 1) else { continue };
                all.push(MatchedStatement {
                    source_policy_id: policy.policy.clone(),
                    source_policy_type: match source.layer {
                        Layer::Resource => "Resource Policy",
                        Layer::Boundary => "Permissions Boundary",
                        _ => "IAM Policy",
                    },
                    start_position: *start,
                    end_position: *end,
                });
            }
        }
        all
    }

    fn missing(&self, explanation: &Explanation) -> Vec<String> {
        let covering = explanation.statements().filter(|trace| trace.action_matched);
        let keys = covering.flat_map(|trace| &trace.conditions).map(|condition| condition.key.clone());
        let missing: BTreeSet<String> = keys.filter(|key| !self.given.contains(&key.to_lowercase())).collect();
        missing.into_iter().take(MOST_MATCHED).collect()
    }
}

fn context(entries: &[ContextEntry]) -> (Context, BTreeSet<String>) {
    let mut context = Context::default();
    for entry in entries {
        context.set_list(&entry.context_key_name, entry.context_key_values.clone());
    }
    (context, entries.iter().map(|entry| entry.context_key_name.to_lowercase()).collect())
}

fn inputs(policies: &[String], boundary: &[String], resource_policy: Option<&str>) -> Result<Vec<Source>, Error> {
    if boundary.len() > 1 {
        return Err(Error::invalid("a principal has at most one permissions boundary"));
    }
    let mut sources = Vec::new();
    for (number, text) in (1..).zip(policies) {
        sources.push(Source::parse(Layer::Identity, format!("PolicyInputList.{number}"), text, DocumentKind::Identity)?);
    }
    for text in boundary {
        let label = "PermissionsBoundaryPolicyInputList.1".to_owned();
        sources.push(Source::parse(Layer::Boundary, label, text, DocumentKind::Identity)?);
    }
    if let Some(text) = resource_policy {
        sources.push(Source::parse(Layer::Resource, "ResourcePolicy".to_owned(), text, DocumentKind::Resource)?);
    }
    Ok(sources)
}

fn owner(written: Option<&str>, default: &AccountId) -> Result<AccountId, Error> {
    let Some(written) = written else { return Ok(default.clone()) };
    let account = AccountId::parse(written).ok().or_else(|| Arn::parse(written).ok().and_then(|arn| arn.account()));
    account.ok_or_else(|| Error::invalid(format!("`{written}` names no account")))
}

fn resources(listed: Vec<String>) -> Vec<String> {
    if listed.is_empty() { vec!["*".to_owned()] } else { listed }
}

fn caller(written: Option<&str>) -> Result<Option<Identity>, Error> {
    let identity = |text: &str| Identity::named(text).ok_or_else(|| Error::invalid(format!("`{text}` is no principal")));
    written.map(identity).transpose()
}

impl Operation for SimulateCustomPolicy {
    type Service = Iam;
    type Mode = Read;
    type Output = SimulationResults;
    const NAME: &'static str = "SimulateCustomPolicy";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:SimulateCustomPolicy", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SimulationResults, Error> {
        let account = call.account()?;
        let sources =
            inputs(&self.policy_input_list, &self.permissions_boundary_policy_input_list, self.resource_policy.as_deref())?;
        let somebody = Identity::User {
            account: account.clone(),
            arn: Arn::iam(account, "user/simulated"),
            id: "AIDA-simulated".to_owned(),
        };
        let (context, given) = context(&self.context_entries);
        let simulation = Simulation {
            sources,
            who: caller(self.caller_arn.as_deref())?.unwrap_or(somebody),
            owner: owner(self.resource_owner.as_deref(), account)?,
            actions: self.action_names,
            resources: resources(self.resource_arns),
            context,
            given,
        };
        simulation.run(Guardrails::NONE, self.marker.as_deref(), self.max_items)
    }
}

impl Operation for SimulatePrincipalPolicy {
    type Service = Iam;
    type Mode = Read;
    type Output = SimulationResults;
    const NAME: &'static str = "SimulatePrincipalPolicy";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        let check = Check::new("iam:SimulatePrincipalPolicy", &self.policy_source_arn);
        let account = self.policy_source_arn.account();
        Ok(Access::Signed(vec![account.map_or(check.clone(), |account| check.owned_by(account))]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SimulationResults, Error> {
        let snapshot = &call.tx.snapshot;
        let source = &self.policy_source_arn;
        let (account, inline, attached, prefix, somebody) = if let Some(role) = snapshot.role_by_arn(source) {
            let role = &role.role;
            let session = Identity::Session {
                role: role.arn(),
                role_id: role.id.clone(),
                session: Arn::assumed_role(&role.account, role.name.as_str(), "simulated"),
                account: role.account.clone(),
            };
            (&role.account, &role.inline_policies, &role.attached_policies, format!("role_{}", role.name), session)
        } else if let Some(user) = snapshot.user_by_arn(source) {
            let user = &user.user;
            let itself = Identity::User { account: user.account.clone(), arn: user.arn(), id: user.id.clone() };
            (&user.account, &user.inline_policies, &user.attached_policies, format!("user_{}", user.name), itself)
        } else {
            let message = format!("There is no {source}; roles and users can be simulated.");
            return Err(Error::new(ErrorKind::NoSuchEntity, message));
        };
        let mut sources =
            inputs(&self.policy_input_list, &self.permissions_boundary_policy_input_list, self.resource_policy.as_deref())?;
        for (name, text) in inline {
            add(&mut sources, Layer::Identity, &format!("{prefix}_{name}"), text)?;
        }
        for arn in attached {
            if let Some(text) = snapshot.policy_text(arn) {
                add(&mut sources, Layer::Identity, arn.resource_name(), text)?;
            }
        }
        let (context, given) = context(&self.context_entries);
        let simulation = Simulation {
            sources,
            who: caller(self.caller_arn.as_deref())?.unwrap_or(somebody),
            owner: owner(self.resource_owner.as_deref(), account)?,
            actions: self.action_names,
            resources: resources(self.resource_arns),
            context,
            given,
        };
        // The organization's policies bind the principal as they would for real.
        let guardrails = snapshot.caps(Some(account), Some(&simulation.owner));
        simulation.run(guardrails, self.marker.as_deref(), self.max_items)
    }
}
