//! What clients read up before they begin (RFC 7644, section 4).

use super::{
    Scim, base,
    list::{MAX_COUNT, listed},
    not_found, provisioner,
    schema::{resource_types, schemas},
};
use crate::{
    domain::{Error, directory::TokenScope},
    gateway::{Access, Call, Operation, Read, Scope, scim::ScimAnswer},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What this server can do (RFC 7643, section 5).
#[derive(Debug, Serialize, Deserialize)]
pub struct GetServiceProviderConfig {}

/// The kinds of resource.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListResourceTypes {}

/// One kind of resource.
#[derive(Debug, Serialize, Deserialize)]
pub struct GetResourceType {
    /// `User` or `Group`.
    pub id: String,
}

/// The schemas.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListSchemas {}

/// One schema.
#[derive(Debug, Serialize, Deserialize)]
pub struct GetSchema {
    /// Its URN.
    pub id: String,
}

fn with_id(all: Vec<Value>, id: &str) -> Result<ScimAnswer, Error> {
    let found = all.into_iter().find(|one| one.get("id").and_then(Value::as_str).is_some_and(|own| own.eq_ignore_ascii_case(id)));
    match found {
        Some(Value::Object(found)) => Ok(ScimAnswer::new(found)),
        _ => Err(not_found()),
    }
}

fn all(all: Vec<Value>) -> ScimAnswer {
    let number = all.len();
    listed(number, 1, all)
}

macro_rules! discovery {
    ($operation:ident, $name:literal, |$self:ident, $base:ident| $answer:expr) => {
        impl Operation for $operation {
            type Service = Scim;
            type Mode = Read;
            type Output = ScimAnswer;
            const NAME: &'static str = $name;

            fn access(&self, _scope: &Scope) -> Result<Access, Error> {
                provisioner(TokenScope::Read)
            }

            async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
                let ($self, $base) = (self, base(call));
                $answer
            }
        }
    };
}

discovery!(ListResourceTypes, "ListResourceTypes", |_this, base| Ok(all(resource_types(&base))));
discovery!(GetResourceType, "GetResourceType", |this, base| with_id(resource_types(&base), &this.id));
discovery!(ListSchemas, "ListSchemas", |_this, base| Ok(all(schemas(&base))));
discovery!(GetSchema, "GetSchema", |this, base| with_id(schemas(&base), &this.id));
discovery!(GetServiceProviderConfig, "GetServiceProviderConfig", |_this, base| {
    let config = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": MAX_COUNT },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": true },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "A token that an administrator made on the People page",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": { "resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig") },
    });
    match config {
        Value::Object(config) => Ok(ScimAnswer::new(config)),
        _ => Err(Error::internal("no object")),
    }
});
