//! Identity sources that administrators make, map and remove on the page; `daypass apply` does the same from a document.

use super::{
    Iam, invitation, mapping,
    sources::{Published, may},
};
use crate::{
    api::apply::check_namesakes,
    crypto::sha256_hex,
    domain::{
        Arn, Error, ErrorKind, Secret,
        iam::{AttributeMapping, IdentityProvider, OidcProvider, ProviderKind, ProviderOwner, SamlProvider, SecondFactor},
        name::ProviderName,
    },
    federation::metadata,
    gateway::{Access, Call, Operation, Scope, Write},
    store::{Ephemeral, Snapshot, WriteTx},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Longest text of a button, in characters.
const MAX_LABEL: usize = 60;
/// Longest client id, in characters (as audiences at AWS).
const MAX_CLIENT_ID: usize = 255;

/// What an OpenID provider knows us by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientRegistration {
    /// `client_id`.
    pub id: String,
    /// `client_secret`; none for a public client, or one with `private_key_jwt`.
    pub secret: Option<Secret<String>>,
}

/// Name, label, and what the provider publishes: a source to be.
pub(super) fn draft(
    name: ProviderName,
    label: &str,
    published: Published,
    client: Option<ClientRegistration>,
) -> Result<IdentityProvider, Error> {
    let label = checked_label(&name, label)?;
    let kind = match published {
        Published::Saml { metadata, url } => {
            metadata::parse(&metadata)
                .map_err(|refusal| Error::invalid(format!("This metadata can't be used: {}.", refusal.detail)))?;
            // What most providers call it; a sign-in shows what this one does, and there another mapping can be tried.
            let attributes = [("groups".to_owned(), "groups".to_owned())].into();
            ProviderKind::Saml(SamlProvider {
                metadata,
                metadata_url: url,
                mapping: AttributeMapping { attributes, ..AttributeMapping::default() },
                ..SamlProvider::default()
            })
        }
        Published::Oidc { issuer } => {
            let client = client.filter(|client| !client.id.trim().is_empty());
            let client = client.ok_or_else(|| Error::invalid("An OpenID provider needs the client id that it gave us."))?;
            let id = client.id.trim().to_owned();
            if id.chars().count() > MAX_CLIENT_ID || id.chars().any(char::is_control) {
                return Err(Error::invalid(format!("A client id has at most {MAX_CLIENT_ID} characters, in one line.")));
            }
            if !url::Url::parse(&issuer).is_ok_and(|url| metadata::is_safe(&url) && url.query().is_none()) {
                return Err(Error::invalid("The issuer is no https address."));
            }
            ProviderKind::Oidc(Box::new(OidcProvider {
                issuer,
                client_ids: vec![id.clone()],
                sign_in_client_id: Some(id),
                client_secret: client.secret.filter(|secret| !secret.expose().is_empty()),
                scopes: vec!["profile".to_owned(), "email".to_owned()],
                ..OidcProvider::default()
            }))
        }
    };
    Ok(IdentityProvider {
        owner: ProviderOwner::Organization,
        name,
        label,
        domains: Vec::new(),
        directory_user: None,
        second_factor: SecondFactor::default(),
        kind,
    })
}

/// The label, or the name where there is none.
pub(super) fn checked_label(name: &ProviderName, label: &str) -> Result<String, Error> {
    let label = label.trim();
    if label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) {
        return Err(Error::invalid(format!("The text of the button has at most {MAX_LABEL} characters, in one line.")));
    }
    Ok(if label.is_empty() { name.to_string() } else { label.to_owned() })
}

/// Refuses a name that a source has.
pub(super) fn check_free(name: &ProviderName, snapshot: &Snapshot) -> Result<(), Error> {
    match snapshot.identity_source(name.as_str()) {
        Some(_) => Err(Error::new(ErrorKind::AlreadyExists, format!("There is an identity source {name} already."))),
        None => Ok(()),
    }
}

/// Stores a new source. The record says whom the organization trusts from now on.
pub(super) async fn create(tx: &mut WriteTx<'_>, ephemeral: &Ephemeral, source: IdentityProvider) -> Result<(), Error> {
    check_free(&source.name, &tx.snapshot)?;
    check_namesakes(std::slice::from_ref(&source), &tx.snapshot, false)?;
    describe(tx, &source);
    // A link for this name has nothing to do any more.
    invitation::withdraw(ephemeral, &source.name).await?;
    tx.put_provider(&source).await
}

fn describe(tx: &mut WriteTx<'_>, source: &IdentityProvider) {
    tx.note("source", &source.name);
    tx.note("resource", source.resource());
    match &source.kind {
        ProviderKind::Saml(saml) => {
            if let Ok(idp) = metadata::parse(&saml.metadata) {
                tx.note("certificates", idp.certificates.iter().map(|held| sha256_hex(&held.der)).collect::<Vec<_>>());
                tx.note("entityId", idp.entity_id);
            }
            tx.note("metadataUrl", &saml.metadata_url);
        }
        ProviderKind::Oidc(oidc) => {
            tx.note("issuer", &oidc.issuer);
            tx.note("clientId", &oidc.sign_in_client_id);
        }
        ProviderKind::Directory => {}
    }
}

/// Trust policies that name a source which is not there yet: whoever becomes it meets them at once.
pub(super) fn trusted_already(resource: &str, snapshot: &Snapshot) -> Option<Arn> {
    fn names(value: &serde_json::Value, resource: &str) -> bool {
        match value {
            serde_json::Value::String(text) => text.strip_suffix(resource).is_some_and(|before| before.ends_with(':')),
            serde_json::Value::Array(list) => list.iter().any(|value| names(value, resource)),
            serde_json::Value::Object(members) => members.values().any(|value| names(value, resource)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
        }
    }
    let trusts = |text: &str| serde_json::from_str(text).is_ok_and(|policy| names(&policy, resource));
    snapshot.roles.values().find(|role| trusts(&role.role.trust_policy)).map(|role| role.role.arn())
}

/// Creates an identity source of what a provider publishes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateSource {
    /// In addresses and provider ARNs.
    pub name: ProviderName,
    /// On its button; empty: the name.
    pub label: String,
    /// From [`super::sources::PreviewSource`].
    pub published: Published,
    /// For an OpenID provider.
    pub client: Option<ClientRegistration>,
}

impl Operation for CreateSource {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "CreateSource";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let action = match self.published {
            Published::Saml { .. } => "iam:CreateSAMLProvider",
            Published::Oidc { .. } => "iam:CreateOpenIDConnectProvider",
        };
        may(scope, action, self.name.as_str())
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let source = draft(self.name, &self.label, self.published, self.client)?;
        create(&mut call.tx, call.broker.store.ephemeral(), source).await
    }
}

/// The action on a SAML source, or on an OpenID source.
fn by_kind(scope: &Scope, name: &ProviderName, [saml, oidc]: [&'static str; 2]) -> &'static str {
    let source = scope.snapshot.identity_source(name.as_str());
    if source.is_some_and(|source| matches!(source.kind, ProviderKind::Oidc(_))) { oidc } else { saml }
}

fn existing(name: &ProviderName, snapshot: &Snapshot) -> Result<Arc<IdentityProvider>, Error> {
    let found = snapshot.identity_source(name.as_str()).cloned();
    found.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, format!("There is no identity source {name}.")))
}

/// Gives a source another attribute mapping, for sign-ins from now on.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateSourceMapping {
    /// The source.
    pub name: ProviderName,
    /// The mapping, as lines of the organization's document.
    pub lines: String,
}

impl Operation for UpdateSourceMapping {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdateSourceMapping";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        // A mapping decides who somebody is: it is worth as much as the provider's keys.
        let actions = ["iam:UpdateSAMLProvider", "iam:UpdateOpenIDConnectProviderThumbprint"];
        may(scope, by_kind(scope, &self.name, actions), self.name.as_str())
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let mut source = (*existing(&self.name, &call.tx.snapshot)?).clone();
        let new = mapping::read(&self.lines)?;
        match &mut source.kind {
            ProviderKind::Saml(saml) => saml.mapping = new,
            ProviderKind::Oidc(oidc) => oidc.mapping = new,
            ProviderKind::Directory => return Err(Error::invalid("The directory has no attribute mapping.")),
        }
        call.tx.note("source", &self.name);
        call.tx.note("mapping", &self.lines);
        call.tx.put_provider(&source).await
    }
}

/// Removes a source: nobody signs in with it any more, and the sessions of its people end.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteSource {
    /// The source.
    pub name: ProviderName,
}

impl Operation for DeleteSource {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteSource";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let actions = ["iam:DeleteSAMLProvider", "iam:DeleteOpenIDConnectProvider"];
        may(scope, by_kind(scope, &self.name, actions), self.name.as_str())
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let source = existing(&self.name, &call.tx.snapshot)?;
        if matches!(source.kind, ProviderKind::Directory) {
            return Err(Error::invalid("The directory holds people: it is removed with `daypass apply --prune` alone."));
        }
        describe(&mut call.tx, &source);
        invitation::withdraw(call.broker.store.ephemeral(), &self.name).await?;
        call.tx.delete_provider(&source.owner, &source.name).await
    }
}
