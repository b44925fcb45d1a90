//! `daypass policy eval`.

use super::{Paint, json, only_once, read, say, shown};
use crate::{
    cli::Failure,
    domain::{Arn, name::AccountId},
    policy::{
        Context, DocumentKind, Explanation, Identity, Named, Policy, PolicySet, Request, StatementTrace,
        decision::Layer,
        evaluate::{Guardrails, Layers, ResourcePolicy},
    },
};
use clap::Args;
use serde_json::{Map, Value};
use std::{path::PathBuf, sync::Arc};

/// A request and the policies that speak about it.
#[derive(Debug, Args)]
pub(super) struct Eval {
    /// What is tried, for example s3:GetObject.
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// On what: an ARN, or * for actions without a resource.
    #[arg(long, value_name = "ARN", default_value = "*")]
    resource: String,
    /// Who tries: the ARN of a user, role, session, account root or identity provider; a service; or `anonymous`
    /// [default: a user of the resource's account].
    #[arg(long, value_name = "ARN")]
    principal: Option<String>,
    /// An identity policy of the principal; `-` for standard input. Can be given several times.
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// The principal's permissions boundary.
    #[arg(long, value_name = "FILE")]
    boundary: Option<PathBuf>,
    /// A session policy. Can be given several times.
    #[arg(long = "session-policy", value_name = "FILE")]
    session_policies: Vec<PathBuf>,
    /// The policy on the resource.
    #[arg(long, value_name = "FILE", conflicts_with = "trust_policy")]
    resource_policy: Option<PathBuf>,
    /// The trust policy of the role that is the resource.
    #[arg(long, value_name = "FILE")]
    trust_policy: Option<PathBuf>,
    /// A service control policy: one level of the organization each, from the root down.
    #[arg(long = "scp", value_name = "FILE")]
    service_control: Vec<PathBuf>,
    /// A resource control policy: one level of the organization each, from the root down.
    #[arg(long = "rcp", value_name = "FILE")]
    resource_control: Vec<PathBuf>,
    /// A condition key of the request; several values are separated by giving the key several times.
    #[arg(long = "context", value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// Condition keys as a JSON object of strings or lists of strings.
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,
    /// The account of the resource, where its ARN does not say.
    #[arg(long, value_name = "ID")]
    resource_account: Option<String>,
}

impl Eval {
    pub(super) fn run(self) -> Result<(), Failure> {
        let one = [&self.boundary, &self.resource_policy, &self.trust_policy, &self.context_file];
        let many = [&self.policies, &self.session_policies, &self.service_control, &self.resource_control];
        let all: Vec<&PathBuf> = one.into_iter().flatten().chain(many.into_iter().flatten()).collect();
        only_once(&all)?;
        let owner = match &self.resource_account {
            Some(account) => Some(AccountId::parse(account).map_err(Failure::from)?),
            None => Arn::parse(&self.resource).ok().and_then(|arn| arn.account()),
        };
        let who = self.who(owner.as_ref())?;
        let owner = owner.or_else(|| who.account().cloned());
        let context = self.keys(&who)?;

        let identity = set(&self.policies, DocumentKind::Identity)?.unwrap_or_default();
        let boundary = set(self.boundary.as_slice(), DocumentKind::Identity)?;
        let session = set(&self.session_policies, DocumentKind::Identity)?;
        let resource = set(self.resource_policy.as_slice(), DocumentKind::Resource)?;
        let trust = set(self.trust_policy.as_slice(), DocumentKind::Trust)?;
        let mandatory = trust.is_some();
        let on_resource = trust.or(resource);
        let levels = |files: &[PathBuf], kind| -> Result<Vec<Arc<PolicySet>>, Failure> {
            let level = |file: &PathBuf| Ok(Arc::new(set(std::slice::from_ref(file), kind)?.unwrap_or_default()));
            files.iter().map(level).collect()
        };
        let service_control = levels(&self.service_control, DocumentKind::ServiceControl)?;
        let resource_control = levels(&self.resource_control, DocumentKind::ResourceControl)?;
        // Each level has it, and nobody can detach it.
        let everything = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}"#;
        let everything =
            Policy::parse(everything, DocumentKind::ResourceControl).map_err(|error| Failure::new(error.to_string()))?;
        let full_access = Named { label: "RCPFullAWSAccess".into(), policy: Arc::new(everything) };
        let with_full_access = |level: Arc<PolicySet>| {
            Arc::new(PolicySet::new(level.policies().iter().cloned().chain([full_access.clone()]).collect()))
        };
        let resource_control: Vec<Arc<PolicySet>> = resource_control.into_iter().map(with_full_access).collect();
        let layers = Layers {
            identity: &identity,
            boundary: boundary.as_ref(),
            session: session.as_ref(),
            resource: on_resource.as_ref().map(|policies| ResourcePolicy { policies, mandatory }),
            guardrails: Guardrails {
                service_control: &service_control,
                resource_control: &resource_control,
                guarded: None,
                management: None,
            },
        };
        let mut request = Request::new(&who, &self.action, &self.resource, &context);
        request.bounded = boundary.is_some();
        let explanation = layers.explain(&request, owner.as_ref());
        if json() {
            say(&format!("{:#}\n", serde_json::to_value(&explanation).unwrap_or_default()));
        } else {
            say(&in_text(&explanation, who.describe(), Paint::output()));
        }
        if explanation.allowed { Ok(()) } else { Err(Failure::silent(4)) }
    }

    fn who(&self, owner: Option<&AccountId>) -> Result<Identity, Failure> {
        let unknown = |text: &str| {
            Failure::new(format!("--principal: `{text}` is no principal"))
                .hint("For example arn:aws:iam::111122223333:user/jane, ec2.amazonaws.com, or anonymous.")
        };
        match &self.principal {
            Some(text) => Identity::named(text).ok_or_else(|| unknown(text)),
            None => {
                let account = owner.map_or("111122223333", AccountId::as_str);
                let somebody = format!("arn:aws:iam::{account}:user/somebody");
                Identity::named(&somebody).ok_or_else(|| unknown(&somebody))
            }
        }
    }

    /// The keys that follow from the principal, under those that were given.
    fn keys(&self, who: &Identity) -> Result<Context, Failure> {
        let mut context = Context::default();
        if let Some(account) = who.account() {
            context.set("aws:PrincipalAccount", account.to_string());
        }
        let kind = match who {
            Identity::Root { .. } => "Account",
            Identity::User { .. } => "User",
            Identity::Session { .. } => "AssumedRole",
            Identity::FederatedUser { .. } => "FederatedUser",
            Identity::Federated(_) | Identity::Service(_) | Identity::Anonymous => "Anonymous",
        };
        context.set("aws:PrincipalType", kind);
        match who {
            Identity::User { arn, .. } => {
                context.set("aws:PrincipalArn", arn.to_string());
                context.set("aws:username", arn.resource_name());
            }
            Identity::Session { role, .. } => context.set("aws:PrincipalArn", role.to_string()),
            Identity::FederatedUser { session, .. } => context.set("aws:PrincipalArn", session.to_string()),
            Identity::Federated(provider) => context.set("aws:FederatedProvider", provider.to_string()),
            Identity::Root { .. } | Identity::Service(_) | Identity::Anonymous => {}
        }
        if let Some(file) = &self.context_file {
            let wrong = |problem: &str| Failure::new(format!("{}: {problem}", shown(file)));
            let members: Map<String, Value> = serde_json::from_str(&read(file)?).map_err(|error| wrong(&format!("{error}")))?;
            for (key, value) in members {
                let one = |value: &Value| match value {
                    Value::String(text) => Some(text.clone()),
                    Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
                    Value::Null | Value::Array(_) | Value::Object(_) => None,
                };
                let values = match &value {
                    Value::Array(list) => list.iter().map(one).collect::<Option<Vec<_>>>(),
                    single => one(single).map(|text| vec![text]),
                };
                let values = values.ok_or_else(|| wrong(&format!("`{key}` is no string and no list of strings")))?;
                context.set_list(&key, values);
            }
        }
        let mut given: Vec<(&str, Vec<String>)> = Vec::new();
        for pair in &self.context {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Failure::new(format!("--context: `{pair}` has no `=`")).hint("For example --context aws:username=jane")
            })?;
            match given.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
                Some((_, values)) => values.push(value.to_owned()),
                None => given.push((key, vec![value.to_owned()])),
            }
        }
        for (key, values) in given {
            context.set_list(key, values);
        }
        Ok(context)
    }
}

fn set(files: &[PathBuf], kind: DocumentKind) -> Result<Option<PolicySet>, Failure> {
    if files.is_empty() {
        return Ok(None);
    }
    let named = |file: &PathBuf| {
        let policy = Policy::parse(&read(file)?, kind).map_err(|error| {
            let place = format!("{}:{}:{}", shown(file), error.line, error.column);
            Failure::new(format!("{place}: {}", error.problem)).hint(format!("See daypass policy check {}", shown(file)))
        })?;
        Ok(Named { label: shown(file).into(), policy: Arc::new(policy) })
    };
    files.iter().map(named).collect::<Result<Vec<_>, Failure>>().map(|policies| Some(PolicySet::new(policies)))
}

pub(super) fn in_text(explanation: &Explanation, who: &str, paint: Paint) -> String {
    let (word, verb) = match (explanation.allowed, explanation.explicit_deny) {
        (true, _) => (paint.green("allowed"), "may"),
        (false, true) => (paint.red("denied"), "may not"),
        (false, false) => (paint.red("not allowed"), "may not"),
    };
    let mut text = format!("{word}: {who} {verb} {} on {}\n", explanation.action, explanation.resource);
    let mut letters = explanation.reason.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    text.push_str(&format!("  {first}{}.\n", letters.as_str().trim_end_matches('.')));
    for policy in &explanation.policies {
        // Who is not let in wants to know what the role's own policy asks for, however far off they are.
        let whole = !explanation.allowed && policy.layer == Layer::Resource && policy.statements.len() <= MOST_STATEMENTS;
        for statement in &policy.statements {
            if let Some(line) = about(statement, whole) {
                let effect = if statement.allow { "Allow" } else { "Deny" };
                let place = format!("{} {}, {} ({effect})", policy.layer, policy.policy, statement.name());
                text.push_str(&format!("\n  {}\n    {line}\n", paint.bold(&place)));
                for condition in statement.conditions.iter().filter(|condition| !condition.matched && !statement.applies) {
                    let received =
                        if condition.received.is_empty() { "nothing".to_owned() } else { condition.received.join(", ") };
                    text.push_str(&format!(
                        "    {} on {}: expected {}, received {received}",
                        condition.operator,
                        condition.key,
                        condition.expected.join(", ")
                    ));
                    text.push_str(&condition.note.as_ref().map_or("\n".to_owned(), |note| format!(" – {note}\n")));
                }
            }
        }
    }
    text
}

/// Most statements of a policy that are shown though they are far from applying.
const MOST_STATEMENTS: usize = 10;

/// What there is to say about a statement: that it applies, or what it misses by. Of one that is far off nothing, unless all is
/// wanted.
fn about(statement: &StatementTrace, whole: bool) -> Option<String> {
    if statement.applies {
        return Some("applies".to_owned());
    }
    if !statement.nearly && !whole {
        return None;
    }
    let listed =
        |negated: bool, values: &[String]| format!("{}{}", if negated { "anything but " } else { "" }, values.join(", "));
    let parts = [
        (statement.principal_matched, statement.not_principal, &statement.principals),
        (statement.action_matched, statement.not_action, &statement.actions),
        (statement.resource_matched, statement.not_resource, &statement.resources),
    ];
    let missed: Vec<String> =
        parts.into_iter().filter(|(matched, ..)| !matched).map(|(_, negated, values)| listed(negated, values)).collect();
    Some(match missed.as_slice() {
        [] => "does not apply: a condition does not hold".to_owned(),
        missed => format!("does not apply: it is about {}", missed.join("; and about ")),
    })
}
