//! Dry runs: what a trust policy says to a person, without anything happening. For pages.

use super::{Iam, sign_ins};
use crate::{
    domain::{
        Arn, Error, ErrorKind,
        name::RoleName,
        session::{FederationProtocol, IdentityAssertion, ProviderRef, SessionTags},
    },
    gateway::{Access, Call, Operation, Read, Scope, person_context},
    policy::{
        Explanation,
        evaluate::{Check, Guardrails, explain_federated},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Lays a role's trust policy out for a person: one who signed in, or one made up of pasted claims.
#[derive(Debug, Deserialize)]
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
#[derive(Debug, Deserialize)]
pub enum SimulatedIdentity {
    /// The assertion of a recent sign-in, by event id.
    SignIn(String),
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
        if matches!(self.identity, SimulatedIdentity::SignIn(_)) {
            checks.push(sign_ins::access(scope)?);
        }
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Simulation, Error> {
        let role = super::roles::find(&call.tx.snapshot, call.scope, &self.role_name)?;
        let on_trial;
        let tried = match &self.policy_document {
            Some(text) => {
                let tried = role.with_trust(text);
                on_trial = tried.map_err(|error| Error::new(ErrorKind::MalformedPolicy, error.to_string()))?;
                &on_trial
            }
            None => &**role,
        };
        let identity = match self.identity {
            SimulatedIdentity::SignIn(event) => call.tx.recording(&event).await?.and_then(|attempt| attempt.identity),
            SimulatedIdentity::Claims { provider, claims } => Some(pasted(call.scope, &provider, &claims)?),
        };
        let identity =
            identity.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "That sign-in is not among the recent ones any more."))?;
        // As the person would come: with the keys of a request, and none of the administrator who tries it.
        let context = person_context(&call.tx.snapshot, &identity, None, &call.caller.origin);
        let context = tried.trust_context(&identity, &context);
        let mut explanation = explain_federated(tried, &identity, Guardrails::NONE, &context);
        let refused = if call.tx.snapshot.standing(&identity.provider, &tried.role.account).is_none() {
            Some("because another provider stands under this ARN in the role's account")
        } else if !identity.is_for(&tried.role.arn()) {
            Some("because the assertion lists the roles it is for, and this one is not among them")
        } else {
            None
        };
        if let Some(reason) = refused.filter(|_| explanation.allowed) {
            explanation.allowed = false;
            reason.clone_into(&mut explanation.reason);
        }
        Ok(Simulation { explanation, person: identity.display_name().to_owned() })
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
