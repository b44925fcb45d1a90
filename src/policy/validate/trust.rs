//! Lints of trust policies: who can get in by a provider's word, from other accounts, and as a service.

use super::Check;
use crate::{
    domain::{Arn, name::AccountId},
    policy::{
        condition::{Operator, Set, Test},
        context::Context,
        document::{ConditionEntry, Document, Located, PrincipalValue, Statement},
        finding::FindingType::{self, Error, SecurityWarning, Suggestion, Warning},
        pattern::{Pattern, Syntax},
    },
};

use std::collections::HashSet;

/// An issuer that serves many tenants: whoever signs up there gets tokens of the same issuer, often for the same audience.
struct SharedIssuer {
    host: &'static str,
    /// What every subject begins with, before the tenant's name.
    subject_start: &'static str,
    /// What ends the tenant's name in a subject.
    delimiter: char,
    /// Claims that name a tenant as well as the subject does, the unchanging ones first.
    tenant_claims: &'static [&'static str],
    /// How many of those are ids that nobody can register again.
    lasting: usize,
}

const SHARED_ISSUERS: &[SharedIssuer] = &[
    SharedIssuer {
        host: "token.actions.githubusercontent.com",
        subject_start: "repo:",
        delimiter: '/',
        // Not `job_workflow_ref`: it names the workflow that is called, whoever calls it.
        tenant_claims: &["repository_owner_id", "repository_id", "enterprise_id", "repository_owner", "repository"],
        lasting: 3,
    },
    SharedIssuer {
        host: "gitlab.com",
        subject_start: "project_path:",
        delimiter: '/',
        tenant_claims: &["namespace_id", "project_id", "namespace_path", "project_path"],
        lasting: 2,
    },
    SharedIssuer {
        host: "app.terraform.io",
        subject_start: "organization:",
        delimiter: ':',
        tenant_claims: &["terraform_organization_id", "terraform_workspace_id", "terraform_organization_name"],
        lasting: 2,
    },
    SharedIssuer {
        host: "agent.buildkite.com",
        subject_start: "organization:",
        delimiter: ':',
        tenant_claims: &["organization_id", "pipeline_id", "organization_slug"],
        lasting: 2,
    },
    SharedIssuer {
        host: "oidc.vercel.com",
        subject_start: "owner:",
        delimiter: ':',
        tenant_claims: &["owner_id", "project_id", "owner"],
        lasting: 2,
    },
    SharedIssuer {
        host: "api.pulumi.com/oidc",
        subject_start: "pulumi:",
        delimiter: ':',
        tenant_claims: &["organization"],
        lasting: 0,
    },
];

fn shared(host: &str) -> Option<&'static SharedIssuer> {
    SHARED_ISSUERS.iter().find(|issuer| issuer.host == host)
}

/// A provider in a `Principal`.
enum Provider<'p> {
    Saml,
    Oidc(&'p str),
}

fn provider(value: &PrincipalValue) -> Option<Provider<'_>> {
    if value.kind != "Federated" {
        return None;
    }
    match value.value.split_once(":saml-provider/") {
        Some(_) => Some(Provider::Saml),
        None => Some(Provider::Oidc(value.value.split_once(":oidc-provider/").map_or(&value.value, |(_, host)| host))),
    }
}

/// A condition with its operator read.
struct Read<'e> {
    operator: Operator,
    entry: &'e ConditionEntry,
}

impl Read<'_> {
    /// Holds only for a request that carries the key with one of the values.
    fn is_strict(&self) -> bool {
        self.operator.test != Test::Null
            && !self.operator.negated
            && !self.operator.if_exists
            && self.operator.set != Set::ForAllValues
    }
    fn key(&self) -> String {
        self.entry.key.value.to_lowercase()
    }
    fn is_on(&self, key: &str) -> bool {
        self.entry.key.value.eq_ignore_ascii_case(key)
    }
    fn is_open(&self) -> bool {
        self.operator.test == Test::StringLike && self.entry.values.iter().any(|value| value.value.trim_matches('*').is_empty())
    }
}

fn conditions(statement: &Statement) -> Vec<Read<'_>> {
    let entries = statement.conditions.iter();
    entries.filter_map(|entry| Some(Read { operator: Operator::parse(&entry.operator).ok()?, entry })).collect()
}

/// The statement through which every tenant of a shared issuer may take the role, if there is one. AWS refuses to store such
/// a trust policy, and so do we (IAM user guide, "Identity-provider controls for shared OIDC providers").
#[must_use]
pub fn shared_issuer_left_open(document: &Document) -> Option<(usize, &'static str)> {
    document.statements.iter().enumerate().find_map(|(index, statement)| {
        let principals = statement.value.principal.as_ref().filter(|_| statement.value.allow)?;
        principals.values.iter().find_map(|value| match provider(&value.value) {
            Some(Provider::Oidc(host)) => {
                let issuer = shared(host)?;
                let tenant = |read: &Read<'_>| names_a_tenant(issuer, read);
                (!conditions(&statement.value).iter().any(tenant)).then_some((index + 1, issuer.host))
            }
            // Everyone is also whoever any provider vouches for.
            None if value.value.value == "*" => {
                let federates = |action: &str| covers_action(&statement.value, action);
                let federated = federates("sts:assumerolewithwebidentity") || federates("sts:assumerolewithsaml");
                // Keys of principals are never in an unsigned call.
                let known = |read: &Read<'_>| {
                    let key = read.key();
                    // Any SAML provider asserts any `saml:sub`; a token's key has its issuer in it.
                    let subject = key.ends_with(":sub") && key != "saml:sub";
                    let names = key == "aws:federatedprovider" || subject || key.starts_with("aws:principal");
                    read.is_strict() && !read.is_open() && names
                };
                (federated && !conditions(&statement.value).iter().any(known)).then_some((index + 1, "*"))
            }
            _ => None,
        })
    })
}

fn covers_action(statement: &Statement, folded: &str) -> bool {
    let syntax = Syntax { wildcards: true, variables: false };
    let covers = |value: &Located<String>| {
        Pattern::compile(&value.value.to_lowercase(), syntax).is_ok_and(|pattern| pattern.matches(folded, &Context::default()))
    };
    statement.action.values.iter().any(covers) != statement.action.negated
}

/// Whether a condition holds for tokens of one tenant (or some) only.
fn names_a_tenant(issuer: &SharedIssuer, read: &Read<'_>) -> bool {
    let start = if read.key().ends_with(":sub") { issuer.subject_start } else { "" };
    let named = |value: &Located<String>| {
        let literal = value.value.split(['*', '?']).next().unwrap_or_default();
        literal.strip_prefix(start).is_some_and(|tenant| !tenant.is_empty())
    };
    is_tenant_key(issuer, &read.key()) && read.is_strict() && read.entry.values.iter().all(named)
}

fn is_tenant_key(issuer: &SharedIssuer, folded: &str) -> bool {
    let claim = folded.strip_prefix(issuer.host).and_then(|rest| rest.strip_prefix(':'));
    claim.is_some_and(|claim| claim == "sub" || issuer.tenant_claims.contains(&claim))
}

impl Check<'_> {
    pub(super) fn trust(&mut self, statement: &Located<Statement>) {
        let written = &statement.value;
        let Some(principal) = &written.principal else { return };
        if principal.negated {
            let message = "NotPrincipal in a trust policy lets in everyone else: use Principal with conditions.";
            self.at(Error, "TP22", statement, message);
            return;
        }
        self.mismatched_actions(statement);
        self.variables_of_2008(statement);
        if !written.allow {
            return;
        }
        let conditions = conditions(written);
        self.multi_factor(&conditions);
        let mut looked_at = HashSet::new();
        for value in &principal.values {
            if !looked_at.insert((value.value.kind, &value.value.value)) || !self.may_look_up() {
                continue;
            }
            match provider(&value.value) {
                Some(Provider::Saml) => {
                    self.saml(statement, &conditions, value);
                    self.open_tags(statement, &conditions, value);
                }
                Some(Provider::Oidc("cognito-identity.amazonaws.com")) => self.identity_pool(&conditions, value),
                Some(Provider::Oidc(host)) => {
                    self.oidc(&conditions, value, host);
                    self.open_tags(statement, &conditions, value);
                }
                None => match value.value.kind {
                    "Service" => self.service_trust(&conditions, value),
                    _ => self.aws_principal(&conditions, value),
                },
            }
        }
        self.repeated_principals(&principal.values);
    }

    fn repeated_principals(&mut self, values: &[Located<PrincipalValue>]) {
        let everyone = values.iter().any(|value| value.value.value == "*");
        let mut seen = HashSet::new();
        for value in values {
            let before = !seen.insert((value.value.kind, value.value.value.as_str()));
            if before || (everyone && value.value.kind == "AWS" && value.value.value != "*") {
                let message = format!("`{}` is covered by another principal of the list.", value.value.value);
                self.at(Suggestion, "REDUNDANT_PRINCIPAL_IN_ROLE_TRUST_POLICY", value, message);
            }
        }
    }

    /// The action must fit the kind of principal, or the statement never applies.
    fn mismatched_actions(&mut self, statement: &Located<Statement>) {
        let written = &statement.value;
        let Some(principal) = &written.principal else { return };
        if written.action.negated {
            return;
        }
        for action in &written.action.values {
            let folded = action.value.to_lowercase();
            let known = folded == "*" || folded.starts_with("sts:");
            if !known {
                let message = format!("`{}` has no place in a trust policy: only actions of STS have.", action.value);
                self.at(Error, "UNSUPPORTED_ACTION_IN_POLICY", action, message);
            }
        }
        let names = |action: &str| {
            written.action.values.iter().any(|value| {
                let folded = value.value.to_lowercase();
                folded.contains('*') || folded.contains('?') || folded == action
            })
        };
        let (mut code, mut wanted) = (None, "");
        for value in &principal.values {
            let fitting = match provider(&value.value) {
                Some(Provider::Saml) => "sts:AssumeRoleWithSAML",
                Some(Provider::Oidc(_)) => "sts:AssumeRoleWithWebIdentity",
                None if value.value.value == "*" => continue,
                None => "sts:AssumeRole",
            };
            let companions = ["sts:tagsession", "sts:setsourceidentity", "sts:setcontext"];
            if !names(&fitting.to_lowercase()) && !companions.into_iter().any(names) {
                let federated = value.value.kind == "Federated";
                code = Some((value, if federated { "TP14" } else { "MISMATCHED_ACTION_FOR_PRINCIPAL" }));
                wanted = fitting;
            }
        }
        if let Some((value, code)) = code {
            let message = format!("`{}` takes roles by {wanted}: this statement never applies to it.", value.value.value);
            self.at(Error, code, value, message);
        }
    }

    fn variables_of_2008(&mut self, statement: &Located<Statement>) {
        if self.document.variables() {
            return;
        }
        for value in statement.value.conditions.iter().flat_map(|entry| &entry.values) {
            if value.value.contains("${") {
                let message = "Variables are plain text in a document of 2008: set \"Version\": \"2012-10-17\".";
                self.at(SecurityWarning, "TP25", value, message);
            }
        }
    }

    fn oidc(&mut self, conditions: &[Read<'_>], value: &Located<PrincipalValue>, host: &str) {
        let key = |claim: &str| format!("{host}:{claim}");
        let issuer = shared(host);
        for read in conditions {
            let folded = read.key();
            let own = folded.starts_with(&format!("{}:", host.to_lowercase()));
            let other = folded.split_once(':').map(|(prefix, _)| prefix).filter(|prefix| prefix.contains('.') && !own);
            if let Some(other) = other {
                let message = format!("`{}` is a key of {other}, and a token of {host} never carries it.", read.entry.key.value);
                self.at(Error, "TP10", &read.entry.key, message);
            }
        }
        let about = |read: &&Read<'_>| match issuer {
            Some(issuer) => is_tenant_key(issuer, &read.key()),
            None => read.is_on(&key("sub")),
        };
        let identity: Vec<&Read<'_>> = conditions.iter().filter(about).collect();
        self.weak_identity(&identity);
        if let Some(issuer) = issuer {
            if identity.is_empty() {
                let message = format!(
                    "Everybody with an account at {host} can get a token with this audience: require `{}` with StringEquals.",
                    key("sub")
                );
                self.at(SecurityWarning, "TP01", value, message);
                let (code, kind) = if host.contains("github") {
                    ("MISSING_GITHUB_REPO_CONDITION_KEY", SecurityWarning)
                } else {
                    ("MISSING_CONDITION_KEY_FOR_OIDC_PRINCIPAL", SecurityWarning)
                };
                self.at(kind, code, value, format!("Require `{}`.", key("sub")));
            }
            self.subjects(&identity, issuer);
            let lasting = issuer.tenant_claims.get(..issuer.lasting).unwrap_or_default();
            let by_id = |read: &&Read<'_>| lasting.iter().any(|claim| read.is_on(&key(claim))) && read.is_strict();
            if let (Some(first), false, Some(claim)) = (identity.first(), identity.iter().any(by_id), lasting.first()) {
                let message =
                    format!("A name that was given up can be registered by somebody else: require `{}`, too.", key(claim));
                self.at(Warning, "TP12", &first.entry.key, message);
            }
        }
        // The broker's own directory issues no tokens: there is no audience to mistake.
        if host != "directory" && !conditions.iter().any(|read| read.is_on(&key("aud")) && read.is_strict() && !read.is_open()) {
            let message =
                format!("A token made for another application of the provider is taken, too: require `{}`.", key("aud"));
            self.at(SecurityWarning, "TP05", value, message);
        }
    }

    /// Conditions on who somebody is that also hold when nothing is said about it.
    fn weak_identity(&mut self, identity: &[&Read<'_>]) {
        for read in identity {
            let key = &read.entry.key;
            if read.operator.set == Set::ForAllValues {
                let message =
                    format!("ForAllValues is true when `{}` is absent or empty: leave the set operator out.", key.value);
                self.at(SecurityWarning, "TP06", key, message);
            }
            if read.operator.if_exists {
                let message = format!("IfExists is true when `{}` is absent: leave it out.", key.value);
                self.at(SecurityWarning, "TP07", key, message);
            }
        }
        if let Some(first) = identity.first().filter(|_| identity.iter().all(|read| read.operator.negated)) {
            let message = "Everybody who is not named is let in: say who may, not who may not.";
            self.at(SecurityWarning, "TP08", &first.entry.key, message);
        }
    }

    fn subjects(&mut self, identity: &[&Read<'_>], issuer: &SharedIssuer) {
        let subject = format!("{}:sub", issuer.host);
        for read in identity.iter().filter(|read| !read.is_on(&subject) && read.is_strict() && !names_a_tenant(issuer, read)) {
            let message = "The pattern fits every tenant: name yours.";
            self.at(SecurityWarning, "TP02", &read.entry.key, message);
        }
        for read in identity.iter().filter(|read| read.is_on(&subject) && !read.operator.negated) {
            for value in &read.entry.values {
                let text = value.value.as_str();
                let wild = text.find(['*', '?']);
                if let (Test::StringEquals | Test::StringEqualsIgnoreCase, Some(_)) = (read.operator.test, wild) {
                    let message = "This operator reads `*` as it stands: the statement never applies. Use StringLike.";
                    self.at(Error, "TP09", value, message);
                    continue;
                }
                if text.ends_with(":pull_request") {
                    let message =
                        "Code that is still under review runs with this role: trust a protected branch or an environment.";
                    self.at(SecurityWarning, "TP11", value, message);
                }
                let Some(literal) = wild.and_then(|at| text.get(..at)) else { continue };
                let tenant = literal.strip_prefix(issuer.subject_start).unwrap_or_default();
                let (code, kind, message): (_, FindingType, _) = match tenant.find(issuer.delimiter) {
                    None if tenant.is_empty() => {
                        ("TP02", SecurityWarning, "The pattern fits the subjects of every tenant: name yours.")
                    }
                    None => (
                        "TP04",
                        SecurityWarning,
                        "The pattern also fits tenants whose names merely begin like yours: end the name before the wildcard.",
                    ),
                    Some(at) if at + 1 == tenant.len() => (
                        "TP03",
                        Warning,
                        "Every project, branch and pull request of the organization may take the role: name the project.",
                    ),
                    Some(_) => continue,
                };
                self.at(kind, code, value, message);
                if code == "TP03" && issuer.host.contains("github") {
                    let message = "Name the repository and the branch or environment.";
                    self.at(Warning, "SPECIFIC_GITHUB_REPO_AND_BRANCH_RECOMMENDED", value, message);
                }
            }
        }
    }

    fn saml(&mut self, statement: &Located<Statement>, conditions: &[Read<'_>], value: &Located<PrincipalValue>) {
        let audience: Vec<&Read<'_>> = conditions.iter().filter(|read| read.is_on("saml:aud")).collect();
        if let Some(open) = audience.iter().find(|read| read.is_open() || !read.is_strict()) {
            let message = "Assertions made for other service providers are taken: name the audience with StringEquals.";
            self.at(SecurityWarning, "TP13", &open.entry.key, message);
        } else if audience.is_empty() && statement.value.allow {
            let message =
                "This broker takes assertions made for itself only. At AWS this policy would need a condition on SAML:aud.";
            self.at(Suggestion, "TP13", value, message);
        }
        let about = |read: &&Read<'_>| matches!(read.key().as_str(), "saml:sub" | "saml:mail" | "saml:groups" | "saml:uid");
        let identity: Vec<&Read<'_>> = conditions.iter().filter(about).collect();
        self.weak_identity(&identity);
        if value.value.value.split(':').count() != 6 {
            let message = "A SAML provider is named by its ARN, as in arn:aws:iam::111122223333:saml-provider/Name.";
            self.at(Error, "INVALID_FEDERATED_PRINCIPAL_SYNTAX_IN_ROLE_TRUST_POLICY", value, message);
        }
    }

    fn open_tags(&mut self, statement: &Located<Statement>, conditions: &[Read<'_>], value: &Located<PrincipalValue>) {
        let tags = statement.value.action.values.iter().any(|action| action.value.eq_ignore_ascii_case("sts:TagSession"));
        let limited = conditions.iter().any(|read| {
            let key = read.key();
            key.starts_with("aws:requesttag/") || key == "aws:tagkeys"
        });
        if tags && !limited {
            let message =
                "The provider may set any session tag, and with it any rule over tags: limit aws:TagKeys and aws:RequestTag.";
            self.at(SecurityWarning, "TP20", value, message);
        }
    }

    fn identity_pool(&mut self, conditions: &[Read<'_>], value: &Located<PrincipalValue>) {
        let strict = |claim: &str, wanted: &dyn Fn(&str) -> bool| {
            conditions.iter().any(|read| {
                read.is_on(&format!("cognito-identity.amazonaws.com:{claim}"))
                    && read.is_strict()
                    && read.entry.values.iter().all(|value| wanted(&value.value))
            })
        };
        let pool = strict("aud", &|value: &str| !value.contains('*'));
        if !pool || !strict("amr", &|value: &str| value == "authenticated") {
            let message =
                "Any identity pool, or guests, may take the role: require `aud` to be your pool and `amr` to be authenticated.";
            self.at(SecurityWarning, "TP23", value, message);
        }
    }

    fn service_trust(&mut self, conditions: &[Read<'_>], value: &Located<PrincipalValue>) {
        let narrowed = conditions.iter().any(|read| {
            ["aws:sourcearn", "aws:sourceaccount", "aws:sourceorgid", "aws:sourceorgpaths"].contains(&read.key().as_str())
        });
        // Services that run code of the account itself have no other source.
        let runs_own = ["ec2.amazonaws.com", "lambda.amazonaws.com", "ecs-tasks.amazonaws.com"];
        if !narrowed && !runs_own.contains(&value.value.value.as_str()) {
            let message = "The service may be acting for somebody else: require aws:SourceAccount or aws:SourceArn.";
            self.at(SecurityWarning, "TP18", value, message);
        }
    }

    fn aws_principal(&mut self, conditions: &[Read<'_>], value: &Located<PrincipalValue>) {
        let text = value.value.value.as_str();
        if text == "*" {
            self.everybody(conditions, value);
            return;
        }
        if crate::policy::principal::is_unique_id(text) && self.surroundings.id_resolves.is_some_and(|resolves| !resolves(text)) {
            let message = "This is the id of an entity that was deleted. One made anew under its name is not trusted.";
            self.at(Warning, "TP24", value, message);
        }
        let arn = Arn::parse(text).ok();
        let account = AccountId::parse(text).ok().or_else(|| arn.as_ref().and_then(Arn::account));
        let whole = arn.as_ref().is_none_or(|arn| arn.resource() == "root");
        let (Some(account), Some(own)) = (account, self.surroundings.own_account) else { return };
        if own(&account) {
            return;
        }
        let external = conditions.iter().any(|read| read.is_on("sts:ExternalId") && read.is_strict());
        if !external {
            let message =
                "A third party could be tricked into using this role for another of its customers: require sts:ExternalId.";
            self.at(SecurityWarning, "TP17", value, message);
        } else if whole && !conditions.iter().any(|read| read.is_on("aws:PrincipalArn") && read.is_strict()) {
            let message = "Whoever that account's administrators choose may take the role: name the role, or aws:PrincipalArn.";
            self.at(Suggestion, "TP19", value, message);
        }
    }

    fn everybody(&mut self, conditions: &[Read<'_>], value: &Located<PrincipalValue>) {
        if conditions.is_empty() {
            self.at(SecurityWarning, "TP15", value, "Everybody may take the role: name the principals.");
            return;
        }
        let limits = |read: &Read<'_>| {
            let values = || read.entry.values.iter().map(|value| value.value.as_str());
            let fixed_account = |text: &str| text.split(':').nth(4).is_some_and(|account| AccountId::parse(account).is_ok());
            read.is_strict()
                && !read.is_open()
                && match read.key().as_str() {
                    "aws:principalorgid" | "aws:principalorgpaths" | "aws:principalaccount" | "aws:sourceaccount" => {
                        values().all(|text| !text.starts_with('*'))
                    }
                    "aws:principalarn" | "aws:sourcearn" => values().all(fixed_account),
                    "aws:sourceip" => values().all(|text| !text.ends_with("/0")),
                    "sts:externalid" | "aws:userid" => values().all(|text| !text.starts_with('*')),
                    // An audience is no identity: everybody can ask for it.
                    key => !key.starts_with("aws:") && !key.starts_with("sts:") && !key.ends_with(":aud"),
                }
        };
        if !conditions.iter().any(limits) {
            let message = "A stranger can meet every one of these conditions: fix the account, or aws:PrincipalOrgID.";
            self.at(SecurityWarning, "TP16", value, message);
        }
    }

    fn multi_factor(&mut self, conditions: &[Read<'_>]) {
        for read in conditions.iter().filter(|read| read.is_on("aws:MultiFactorAuthPresent")) {
            if read.operator.if_exists && read.entry.values.iter().any(|value| value.value.eq_ignore_ascii_case("true")) {
                let message = "Long-term keys carry no such key, and IfExists lets them in: use Bool without IfExists.";
                self.at(SecurityWarning, "TP21", &read.entry.key, message);
            }
        }
    }
}
