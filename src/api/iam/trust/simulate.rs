//! Dry runs: what a trust policy says to a person, without anything happening. For pages.

use super::{
    super::{Iam, roles, sign_ins},
    mappings, trial,
};
use crate::{
    api::signin::administered,
    domain::{
        Arn, Error, ErrorKind,
        iam::ProviderKind,
        name::RoleName,
        session::{FederationProtocol, IdentityAssertion, ProviderRef, SessionTags},
    },
    gateway::{Access, Call, Operation, Read, Scope},
    policy::{CompiledRole, Explanation, StatementTrace, evaluate::Check},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Lays a role's trust policy out for a person: one who signed in, or one made up of pasted claims.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulateTrust {
    /// The role.
    pub role_name: RoleName,
    /// Try this trust policy instead of the stored one.
    pub policy_document: Option<String>,
    /// Who.
    pub identity: SimulatedIdentity,
}

/// Who to try.
#[derive(Debug, Serialize, Deserialize)]
pub enum SimulatedIdentity {
    /// The assertion of a recent sign-in, by event id.
    SignIn(String),
    /// Somebody of the built-in directory, by id, as they would sign in now.
    Person(String),
    /// A provider of the account and claims, as condition keys: `{"saml:groups": ["admins"]}`.
    Claims {
        /// ARN of the provider.
        provider: Arn,
        /// JSON object of strings or lists of strings.
        claims: String,
    },
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Simulation {
    /// Every statement and condition.
    pub explanation: Explanation,
    /// Who was tried, for the page.
    pub person: String,
}

impl Operation for SimulateTrust {
    type Service = Iam;
    type Mode = Read;
    type Output = Simulation;
    const NAME: &'static str = "SimulateTrust";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let mut checks = vec![
            Check::new("iam:SimulateCustomPolicy", "*"),
            Check::new("iam:GetRole", scope.role_arn(self.role_name.as_str())?),
        ];
        self.identity.checks(scope, &mut checks)?;
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Simulation, Error> {
        let role = roles::find(&call.tx.snapshot, call.scope, &self.role_name)?;
        let on_trial;
        let tried = match &self.policy_document {
            Some(text) => {
                let tried = role.with_trust(text);
                on_trial = tried.map_err(|error| Error::new(ErrorKind::MalformedPolicy, error.to_string()))?;
                &on_trial
            }
            None => &**role,
        };
        let (identity, person) = self.identity.find(call).await?;
        let explanation = trial::explain(&call.tx.snapshot, tried, &identity, None, &call.caller.origin);
        Ok(Simulation { explanation, person })
    }
}

/// Lays the trust policies of all roles out for somebody.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SimulateAccess {
    /// Who.
    pub identity: SimulatedIdentity,
    /// Of every account of the organization, or of the caller's.
    #[serde(default)]
    pub organization: bool,
    /// Part of a role's name; empty: all roles.
    #[serde(default)]
    pub text: String,
    /// Whether a second factor is taken as given.
    #[serde(default)]
    pub factor: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SimulatedAccess {
    /// Who was tried, for the page.
    pub person: String,
    /// Their claims, as trust policies see them.
    pub claims: Vec<(String, Vec<String>)>,
    /// Roles that they may take, by account and name.
    #[serde(skip)]
    pub granted: Vec<SimulatedRole>,
    /// Roles that they may not take, the nearest first; at most [`MOST_MISSED`].
    #[serde(skip)]
    pub missed: Vec<SimulatedRole>,
    /// How many they may not take.
    pub missed_count: usize,
}

/// Most roles that are shown of those that somebody may not take.
pub const MOST_MISSED: usize = 100;

/// One role.
#[derive(Debug)]
pub struct SimulatedRole {
    /// The role.
    pub role: Arc<CompiledRole>,
    /// Every statement and condition.
    pub explanation: Explanation,
    /// How many checks of the nearest statement fail.
    pub missing: usize,
}

impl Operation for SimulateAccess {
    type Service = Iam;
    type Mode = Read;
    type Output = SimulatedAccess;
    const NAME: &'static str = "SimulateAccess";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let mut checks = vec![Check::new("iam:SimulateCustomPolicy", "*")];
        checks.push(match self.organization {
            true => mappings::of_the_organization(scope)?,
            false => Check::new("iam:GetRole", Arn::iam(scope.account()?, "role/*")),
        });
        self.identity.checks(scope, &mut checks)?;
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SimulatedAccess, Error> {
        let origin = &call.caller.origin;
        let (identity, person) = self.identity.find(call).await?;
        let (snapshot, account) = (&call.tx.snapshot, call.account()?);
        let factor = self.factor.then_some(origin.time);
        let text = self.text.trim().to_lowercase();
        let (mut granted, mut missed, mut missed_count) = (Vec::new(), Vec::new(), 0);
        for ((owner, name), role) in &snapshot.roles {
            if (!self.organization && owner != account) || !name.contains(&text) {
                continue;
            }
            let explanation = trial::explain(snapshot, role, &identity, factor, origin);
            let missing = explanation.statements().filter(|statement| statement.allow).map(StatementTrace::failing).min();
            let found = SimulatedRole { role: role.clone(), missing: missing.unwrap_or(usize::MAX), explanation };
            if found.explanation.allowed {
                granted.push(found);
                continue;
            }
            missed_count += 1;
            missed.push(found);
            // Of very many, only the nearest are kept.
            if missed.len() >= 8 * MOST_MISSED {
                nearest(&mut missed);
            }
        }
        nearest(&mut missed);
        let claims = identity.claims.into_iter().collect();
        Ok(SimulatedAccess { person, claims, granted, missed, missed_count })
    }
}

fn nearest(missed: &mut Vec<SimulatedRole>) {
    missed.sort_by_key(|role| role.missing);
    missed.truncate(MOST_MISSED);
}

impl SimulatedIdentity {
    /// What else has to be allowed to try this one.
    fn checks(&self, scope: &Scope, checks: &mut Vec<Check>) -> Result<(), Error> {
        match self {
            Self::SignIn(_) => checks.push(sign_ins::access(scope)?),
            Self::Person(_) => {
                if let Access::Signed(of_people) = administered(scope, &["sso-directory:SearchUsers"])? {
                    checks.extend(of_people);
                }
            }
            Self::Claims { .. } => {}
        }
        Ok(())
    }

    /// The assertion, and the person's name.
    async fn find<O: Operation<Mode = Read>>(self, call: &Call<'_, O>) -> Result<(IdentityAssertion, String), Error> {
        let identity = match self {
            Self::SignIn(event) => call.tx.recording(&event).await?.and_then(|attempt| attempt.identity),
            Self::Claims { provider, claims } => Some(pasted(call.scope, &provider, &claims)?),
            Self::Person(id) => {
                let snapshot = &call.tx.snapshot;
                let directory = snapshot.identity_sources().find(|source| source.kind == ProviderKind::Directory);
                let user = call.tx.user_by_id(&id).await?;
                directory.zip(user).map(|(source, user)| call.broker.federation.directory_assertion(source, &user))
            }
        };
        let gone = || Error::new(ErrorKind::NoSuchEntity, "That person, or sign-in, is not on record any more.");
        let identity = identity.ok_or_else(gone)?;
        let name = identity.display_name().to_owned();
        Ok((identity, name))
    }
}

fn pasted(scope: &Scope, provider: &Arn, claims: &str) -> Result<IdentityAssertion, Error> {
    let account = scope.account()?;
    let known = scope.snapshot.provider(provider).filter(|_| provider.account().as_ref() == Some(account));
    let known =
        known.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "There is no such identity provider in this account."))?;
    let shape = || Error::invalid("Claims are a JSON object of condition keys, for example {\"saml:groups\": [\"admins\"]}");
    let members: Map<String, Value> = serde_json::from_str(claims).map_err(|_| shape())?;
    let mut keys = BTreeMap::new();
    for (key, value) in members {
        let values = match value {
            Value::Array(list) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>(),
            Value::String(one) => Some(vec![one]),
            Value::Bool(one) => Some(vec![one.to_string()]),
            Value::Number(one) => Some(vec![one.to_string()]),
            Value::Null | Value::Object(_) => None,
        };
        keys.insert(key, values.ok_or_else(shape)?);
    }
    let one = |suffix: &str| {
        let found = keys.iter().find(|(key, _)| key.ends_with(suffix));
        found.and_then(|(_, values)| values.first()).cloned()
    };
    let saml = provider.resource().starts_with("saml-provider/");
    Ok(IdentityAssertion {
        provider: ProviderRef {
            owner: known.owner.clone(),
            name: known.name.to_string(),
            resource: known.resource(),
            protocol: if saml { FederationProtocol::Saml } else { FederationProtocol::WebIdentity },
        },
        issuer: one(":iss").unwrap_or_default(),
        subject: one(":sub").unwrap_or_else(|| "pasted".to_owned()),
        subject_type: None,
        audience: one(":aud").unwrap_or_default(),
        name: Some("Somebody with these claims".to_owned()),
        email: one(":email"),
        authenticated: crate::domain::Timestamp(0),
        asserted_authentication: None,
        methods: Vec::new(),
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: None,
        tags: SessionTags::default(),
        roles: Vec::new(),
        claims: keys,
    })
}
