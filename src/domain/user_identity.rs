//! Who called, as audit records say it: the element `userIdentity` of CloudTrail (AWS CloudTrail User Guide, "CloudTrail userIdentity
//! element").

use super::{
    Arn, Timestamp,
    name::AccountId,
    session::{Caller, Principal, RoleSession},
    user::{UserCredentials, UserSession},
};
use serde_json::{Map, Value, json};

impl Caller {
    /// The element. People who chose no role yet are `IdentityCenterUser`, as with IAM Identity Center; who holds the machine is
    /// `Operator`, which AWS has no word for.
    #[must_use]
    pub fn user_identity(&self) -> Value {
        match &self.principal {
            Principal::Anonymous => json!({ "type": "Unknown" }),
            Principal::Session(session) => of_role(session),
            Principal::User(user) => of_user(user),
            Principal::Certificate(certificate) => {
                json!({ "type": "Unknown", "principalId": format!("x509:{}", certificate.serial) })
            }
            Principal::DpopKey(key) => json!({ "type": "Unknown", "principalId": format!("dpop:{}", key.thumbprint) }),
            Principal::Person(person) => json!({
                "type": "IdentityCenterUser",
                "principalId": person.identity.person(),
                "userName": person.identity.session_name(),
                "identityProvider": person.identity.provider.name,
                "credentialId": person.id,
                "sessionContext": { "attributes": {
                    "creationDate": person.started.to_string(),
                    "mfaAuthenticated": truth(person.factor_given.is_some()),
                } },
            }),
            Principal::Provisioner(token) => json!({ "type": "Unknown", "principalId": format!("scim:{}", token.name) }),
            Principal::Operator => json!({ "type": "Operator" }),
        }
    }
}

/// CloudTrail writes truth as text.
const fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn of_role(session: &RoleSession) -> Value {
    let role = Arn::iam(&session.account, &format!("role/{}", session.role_name));
    let issuer = json!({
        "type": "Role",
        "principalId": session.role_id,
        "arn": role,
        "accountId": session.account,
        "userName": session.role_name,
    });
    let mut context = Map::new();
    context.insert("sessionIssuer".to_owned(), issuer);
    if let Some(provider) = &session.federated_provider {
        context.insert("webIdFederationData".to_owned(), json!({ "federatedProvider": provider }));
    }
    if let Some(source) = &session.source_identity {
        context.insert("sourceIdentity".to_owned(), json!(source));
    }
    context.insert("attributes".to_owned(), json!({ "creationDate": session.issued.to_string() }));
    let mut element = element("AssumedRole", &session.user_id(), &session.arn(), &session.account, &session.access_key_id);
    element.insert("sessionContext".to_owned(), Value::Object(context));
    if let Some(person) = &session.person {
        element.insert("onBehalfOf".to_owned(), json!({ "userId": person }));
    }
    Value::Object(element)
}

fn of_user(user: &UserSession) -> Value {
    let kind = match user.credentials {
        UserCredentials::Federation(_) => "FederatedUser",
        UserCredentials::AssumedRoot => "AssumedRoot",
        UserCredentials::AccessKey | UserCredentials::Session if user.is_root() => "Root",
        UserCredentials::AccessKey | UserCredentials::Session => "IAMUser",
    };
    let mut element = element(kind, &user.unique_id(), &user.arn(), &user.account, &user.access_key_id);
    if kind == "IAMUser" {
        let resource = user.user.resource_name().to_owned();
        element.insert("userName".to_owned(), Value::String(resource));
    }
    if user.is_temporary() {
        let attributes = attributes(user.issued, user.mfa.is_some());
        let mut context = json!({ "attributes": attributes });
        if let Some(source) = &user.source_identity
            && let Some(context) = context.as_object_mut()
        {
            context.insert("sourceIdentity".to_owned(), json!(source));
        }
        element.insert("sessionContext".to_owned(), context);
    }
    Value::Object(element)
}

fn attributes(created: Timestamp, mfa: bool) -> Value {
    json!({ "creationDate": created.to_string(), "mfaAuthenticated": truth(mfa) })
}

fn element(kind: &str, id: &str, arn: &Arn, account: &AccountId, key: &str) -> Map<String, Value> {
    let members = [
        ("type", json!(kind)),
        ("principalId", json!(id)),
        ("arn", json!(arn)),
        ("accountId", json!(account)),
        ("accessKeyId", json!(key)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
