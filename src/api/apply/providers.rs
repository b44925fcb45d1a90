//! Identity sources and providers of the document: their keys, well-known providers, and what is wrong with them.

use super::{Draft, Put, bad, differing};
use crate::{
    crypto::jose,
    domain::{
        Error, Secret,
        iam::{
            AttributeMapping, ClientAuthentication, IdentityProvider, MAX_CLOCK_SKEW_SECONDS, OAuth2Api, OidcProvider,
            ProviderKind, ProviderOwner, SamlProvider, SecondFactor,
        },
        name::{AccountId, ProviderName},
        session::SessionTags,
    },
    federation::metadata,
    signin::passkey,
    store::Snapshot,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[[identity_sources]]`, `[[identity_providers]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderEntry {
    /// Unique.
    pub name: ProviderName,
    /// The account, for `identity_providers` alone.
    pub account: Option<AccountId>,
    /// `saml`, `oidc` or `directory`, or a well-known provider.
    #[serde(rename = "type")]
    pub kind: KindEntry,
    /// Text of the button; default is the name.
    pub label: Option<String>,
    /// E-mail domains of its people.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Its people are in the directory: which of its values is their `userName` there.
    pub directory_user: Option<String>,
    /// What is asked of its people besides.
    #[serde(default)]
    pub second_factor: SecondFactor,
    /// SAML: the provider's metadata. The command line fills it from `metadata_file`.
    pub metadata: Option<String>,
    /// SAML: a file with the metadata, relative to the document.
    pub metadata_file: Option<String>,
    /// SAML: where the metadata is published. The command line fetches it, and the broker fetches it anew every hour.
    pub metadata_url: Option<String>,
    /// SAML: a PEM file with the certificate that signs the metadata. The command line fills `metadata_certificate` from it.
    pub metadata_certificate_file: Option<String>,
    /// SAML: that certificate, DER in base64.
    pub metadata_certificate: Option<String>,
    /// SAML: accept signatures over SHA-1.
    #[serde(default)]
    pub allow_sha1: bool,
    /// SAML: accept sign-ins that begin at the provider.
    #[serde(default)]
    pub allow_idp_initiated: bool,
    /// SAML: have people authenticate anew each time.
    #[serde(default)]
    pub force_authn: bool,
    /// SAML: authentication contexts one of which is required.
    #[serde(default)]
    pub authn_context: Vec<String>,
    /// SAML: send requests in a form.
    #[serde(default)]
    pub post_requests: bool,
    /// SAML: how far the provider's clock may be from ours, in seconds; default 60, at most 300.
    pub clock_skew_seconds: Option<u32>,
    /// Short name for trust policies ← attribute of assertions, or claim of tokens.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Session tag ← attribute or claim with one value.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The attribute or claim that names the person, instead of NameID or `sub`.
    pub subject: Option<String>,
    /// OIDC: the issuer.
    pub issuer: Option<String>,
    /// OIDC: the client of browser sign-in.
    pub client_id: Option<String>,
    /// OIDC: more audiences accepted by `AssumeRoleWithWebIdentity`.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// OIDC: the client's secret. Prefer `client_secret_file` or `client_secret_env`.
    pub client_secret: Option<Secret<String>>,
    /// OIDC: a file with the secret.
    pub client_secret_file: Option<String>,
    /// OIDC: an environment variable with the secret.
    pub client_secret_env: Option<String>,
    /// OIDC: scopes besides `openid`; default `profile` and `email`.
    pub scopes: Option<Vec<String>>,
    /// OIDC: how the client authenticates; default is what the provider prefers.
    pub client_authentication: Option<ClientAuthentication>,
    /// OIDC: signature algorithms accepted in tokens; default RS256, PS256, ES256 and EdDSA.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// OIDC: how old the person's authentication may be, in seconds.
    pub max_age_seconds: Option<u32>,
    /// OIDC: with the scope `offline_access`, how old claims may be before the provider is asked again, in seconds.
    pub refresh_seconds: Option<u32>,
    /// OIDC: authentication contexts one of which is required.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// `oauth2`: its addresses.
    pub oauth2: Option<OAuth2Api>,
    /// `entra`: the directory (tenant) id.
    pub tenant: Option<String>,
    /// `okta`, `auth0`: the domain.
    pub domain: Option<String>,
    /// `keycloak`: its address. `github`: that of GitHub Enterprise Server.
    pub url: Option<String>,
    /// `keycloak`: the realm.
    pub realm: Option<String>,
}

/// The protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindEntry {
    /// SAML 2.0.
    Saml,
    /// OpenID Connect.
    Oidc,
    /// The built-in directory.
    Directory,
    /// Microsoft Entra ID.
    Entra,
    /// Google.
    Google,
    /// Okta.
    Okta,
    /// Keycloak.
    Keycloak,
    /// Auth0.
    Auth0,
    /// GitHub.
    GitHub,
    /// Facebook.
    Facebook,
    /// Another service that speaks OAuth 2.0 alone: `oauth2` says where.
    OAuth2,
}

fn saml_provider(key: &str, entry: &ProviderEntry) -> Result<SamlProvider, Error> {
    let text = entry.metadata.clone();
    let text = text.ok_or_else(|| {
        bad(&format!("{key}.metadata_file"), "a provider of this type needs `metadata_file` or `metadata_url`".to_owned())
    })?;
    metadata::parse(&text).map_err(|refusal| bad(&format!("{key}.metadata"), refusal.detail))?;
    if let Some(url) = &entry.metadata_url
        && !url::Url::parse(url).is_ok_and(|url| metadata::is_safe(&url))
    {
        return Err(bad(&format!("{key}.metadata_url"), format!("`{url}` is not an https address")));
    }
    if let Some(skew) = entry.clock_skew_seconds.filter(|skew| *skew > MAX_CLOCK_SKEW_SECONDS) {
        let message = format!("{skew} seconds are too many: at most {MAX_CLOCK_SKEW_SECONDS}");
        return Err(bad(&format!("{key}.clock_skew_seconds"), message));
    }
    Ok(SamlProvider {
        metadata: text,
        metadata_url: entry.metadata_url.clone(),
        metadata_certificate: entry.metadata_certificate.clone(),
        mapping: mapping(key, entry)?,
        allow_sha1: entry.allow_sha1,
        allow_idp_initiated: entry.allow_idp_initiated,
        force_authn: entry.force_authn,
        authn_context: entry.authn_context.clone(),
        post_requests: entry.post_requests,
        clock_skew_seconds: entry.clock_skew_seconds,
    })
}

/// What a well-known provider's settings come to.
struct Known {
    issuer: String,
    scopes: &'static [&'static str],
    oauth2: Option<OAuth2Api>,
}

/// The issuer, scopes and API of a type that is not written out.
fn known(key: &str, entry: &ProviderEntry) -> Result<Known, Error> {
    let needs = |name: &str| bad(&format!("{key}.{name}"), format!("a provider of this type needs `{name}`"));
    let plain = |name: &str, value: &Option<String>| {
        let value = value.clone().ok_or_else(|| needs(name))?;
        let fits = value.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) && !value.is_empty();
        if fits { Ok(value) } else { Err(bad(&format!("{key}.{name}"), format!("`{value}` is no {name}"))) }
    };
    let address = |value: &str| {
        let safe = url::Url::parse(value).is_ok_and(|url| metadata::is_safe(&url) && url.query().is_none());
        let value = value.trim_end_matches('/').to_owned();
        if safe { Ok(value) } else { Err(bad(&format!("{key}.url"), format!("`{value}` is not an https address"))) }
    };
    let oidc = |issuer: String, scopes| Known { issuer, scopes, oauth2: None };
    const PROFILE: &[&str] = &["profile", "email"];
    const GROUPS: &[&str] = &["profile", "email", "groups"];
    Ok(match entry.kind {
        KindEntry::Entra => oidc(format!("https://login.microsoftonline.com/{}/v2.0", plain("tenant", &entry.tenant)?), PROFILE),
        KindEntry::Google => oidc("https://accounts.google.com".to_owned(), PROFILE),
        KindEntry::Okta => oidc(format!("https://{}", plain("domain", &entry.domain)?), GROUPS),
        KindEntry::Auth0 => oidc(format!("https://{}/", plain("domain", &entry.domain)?), PROFILE),
        KindEntry::Keycloak => {
            let url = address(entry.url.as_deref().ok_or_else(|| needs("url"))?)?;
            oidc(format!("{url}/realms/{}", plain("realm", &entry.realm)?), PROFILE)
        }
        KindEntry::GitHub => {
            let (web, api) = match &entry.url {
                None => ("https://github.com".to_owned(), "https://api.github.com".to_owned()),
                Some(url) => {
                    let url = address(url)?;
                    (url.clone(), format!("{url}/api/v3"))
                }
            };
            let api = OAuth2Api {
                authorization_endpoint: format!("{web}/login/oauth/authorize"),
                token_endpoint: format!("{web}/login/oauth/access_token"),
                user_endpoint: format!("{api}/user"),
                emails_endpoint: Some(format!("{api}/user/emails")),
                teams_endpoint: Some(format!("{api}/user/teams")),
                organizations_endpoint: Some(format!("{api}/user/orgs")),
            };
            Known { issuer: web, scopes: &["read:user", "user:email", "read:org"], oauth2: Some(api) }
        }
        KindEntry::Facebook => {
            let api = OAuth2Api {
                authorization_endpoint: "https://www.facebook.com/v21.0/dialog/oauth".to_owned(),
                token_endpoint: "https://graph.facebook.com/v21.0/oauth/access_token".to_owned(),
                user_endpoint: "https://graph.facebook.com/v21.0/me?fields=id,name,email".to_owned(),
                ..OAuth2Api::default()
            };
            // AWS knows it by its API's name (IAM user guide, "Available keys for AWS web identity federation").
            Known { issuer: "https://graph.facebook.com".to_owned(), scopes: &["public_profile", "email"], oauth2: Some(api) }
        }
        KindEntry::OAuth2 => {
            let api = entry.oauth2.clone().ok_or_else(|| needs("oauth2"))?;
            let optional = [&api.emails_endpoint, &api.teams_endpoint, &api.organizations_endpoint];
            let endpoints = [&api.authorization_endpoint, &api.token_endpoint, &api.user_endpoint].into_iter();
            for endpoint in endpoints.chain(optional.into_iter().flatten()) {
                address(endpoint)?;
            }
            Known { issuer: entry.issuer.clone().ok_or_else(|| needs("issuer"))?, scopes: &[], oauth2: Some(api) }
        }
        KindEntry::Oidc | KindEntry::Saml | KindEntry::Directory => {
            oidc(entry.issuer.clone().ok_or_else(|| needs("issuer"))?, PROFILE)
        }
    })
}

/// Refuses a mapping whose names can't be condition keys or session tags.
pub(in crate::api) fn check_mapping(key: &str, mapping: &AttributeMapping) -> Result<(), Error> {
    let reserved = ["aud", "iss", "sub", "sub_type", "doc", "namequalifier"];
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
    let odd = mapping.attributes.keys().find(|name| reserved.contains(&name.to_lowercase().as_str()) || !plain(name));
    if let Some(name) = odd {
        return Err(bad(
            &format!("{key}attributes"),
            format!("`{name}` can't be a short name: it is AWS's own, or not plain letters"),
        ));
    }
    SessionTags::new(mapping.tags.keys().map(|tag| (tag.clone(), String::new())), &[])
        .map_err(|error| bad(&format!("{key}tags"), error.public))?;
    Ok(())
}

fn mapping(key: &str, entry: &ProviderEntry) -> Result<AttributeMapping, Error> {
    let (attributes, tags, subject) = (entry.attributes.clone(), entry.tags.clone(), entry.subject.clone());
    let mapping = AttributeMapping { attributes, tags, subject };
    check_mapping(&format!("{key}."), &mapping)?;
    Ok(mapping)
}

fn oidc_provider(key: &str, entry: &ProviderEntry, sign_in: bool) -> Result<OidcProvider, Error> {
    let needs = |name: &str| bad(&format!("{key}.{name}"), format!("a provider of this type needs `{name}`"));
    let Known { issuer, scopes, oauth2 } = known(key, entry)?;
    let safe = url::Url::parse(&issuer).is_ok_and(|url| metadata::is_safe(&url) && url.query().is_none());
    if !safe {
        return Err(bad(&format!("{key}.issuer"), format!("`{issuer}` is not an https address")));
    }
    if entry.oauth2.is_some() && entry.kind != KindEntry::OAuth2 {
        return Err(bad(&format!("{key}.oauth2"), "only a provider of type `oauth2` has it"));
    }
    if !matches!(entry.kind, KindEntry::Oidc | KindEntry::OAuth2) && entry.issuer.as_ref().is_some_and(|other| *other != issuer) {
        return Err(bad(&format!("{key}.issuer"), format!("the issuer of this type is `{issuer}`")));
    }
    if sign_in && entry.client_id.is_none() {
        return Err(needs("client_id"));
    }
    let with_secret = matches!(
        entry.client_authentication,
        Some(ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost)
    );
    if sign_in && entry.client_secret.is_none() && (with_secret || oauth2.is_some()) {
        return Err(needs("client_secret_file"));
    }
    if let Some(odd) = entry.algorithms.iter().find(|name| !jose::is_known_algorithm(name)) {
        return Err(bad(&format!("{key}.algorithms"), format!("`{odd}` is not an algorithm that can be allowed")));
    }
    let client_ids: Vec<String> = entry.client_id.iter().chain(&entry.audiences).cloned().collect();
    if client_ids.is_empty() {
        return Err(needs("audiences"));
    }
    Ok(OidcProvider {
        issuer,
        client_ids,
        sign_in_client_id: entry.client_id.clone(),
        client_secret: entry.client_secret.clone(),
        client_authentication: entry.client_authentication,
        scopes: entry.scopes.clone().unwrap_or_else(|| scopes.iter().map(|scope| (*scope).to_owned()).collect()),
        algorithms: entry.algorithms.clone(),
        max_age_seconds: entry.max_age_seconds,
        acr_values: entry.acr_values.clone(),
        refresh_seconds: entry.refresh_seconds,
        mapping: mapping(key, entry)?,
        oauth2,
    })
}

/// An entry as a provider.
pub(super) fn provider(key: &str, entry: &ProviderEntry, owner: ProviderOwner) -> Result<IdentityProvider, Error> {
    let sign_in = owner == ProviderOwner::Organization;
    let kind = match entry.kind {
        KindEntry::Saml => ProviderKind::Saml(saml_provider(key, entry)?),
        KindEntry::Directory if sign_in => ProviderKind::Directory,
        KindEntry::Directory => {
            return Err(bad(
                &format!("{key}.type"),
                "the directory is one for the organization: list it under [[identity_sources]]",
            ));
        }
        _ => ProviderKind::Oidc(Box::new(oidc_provider(key, entry, sign_in)?)),
    };
    passkey::models(&entry.second_factor.authenticators)
        .map_err(|error| bad(&format!("{key}.second_factor.authenticators"), error.public))?;
    if let Some(named) = &entry.directory_user
        && (kind == ProviderKind::Directory || !sign_in || (named != "subject" && !named.contains(':')))
    {
        let message = "for people of a SAML or OIDC identity source, \"subject\" or a condition key such as \"saml:mail\"";
        return Err(bad(&format!("{key}.directory_user"), message));
    }
    Ok(IdentityProvider {
        owner,
        directory_user: entry.directory_user.clone(),
        name: entry.name.clone(),
        label: entry.label.clone().unwrap_or_else(|| entry.name.to_string()),
        domains: entry.domains.iter().map(|domain| domain.to_lowercase()).collect(),
        second_factor: entry.second_factor.clone(),
        kind,
    })
}

/// In an account, one ARN is one provider: a namesake would make a trust policy mean two.
pub(in crate::api) fn check_namesakes(providers: &[IdentityProvider], snapshot: &Snapshot, prune: bool) -> Result<(), Error> {
    let replaced = |old: &IdentityProvider| prune || providers.iter().any(|new| new.owner == old.owner && new.name == old.name);
    let kept: Vec<&IdentityProvider> = snapshot.providers.iter().map(|old| &**old).filter(|old| !replaced(old)).collect();
    let all: Vec<&IdentityProvider> = providers.iter().chain(kept).collect();
    check_entities(&all)?;
    for (index, one) in all.iter().enumerate() {
        let overlaps = |other: &&&IdentityProvider| {
            let anywhere = one.owner == ProviderOwner::Organization || other.owner == ProviderOwner::Organization;
            other.resource() == one.resource() && (anywhere || other.owner == one.owner)
        };
        if let Some(other) = all.iter().skip(index + 1).find(overlaps) {
            let message = format!(
                "{} and {} would both be {} in one account; rename or remove one",
                named(one),
                named(other),
                one.resource()
            );
            return Err(Error::invalid(message));
        }
    }
    Ok(())
}

/// Two sources of one SAML entity: nobody could say to which a message belongs.
fn check_entities(all: &[&IdentityProvider]) -> Result<(), Error> {
    let entity = |provider: &IdentityProvider| match (&provider.owner, &provider.kind) {
        (ProviderOwner::Organization, ProviderKind::Saml(saml)) => metadata::parse(&saml.metadata).ok().map(|idp| idp.entity_id),
        _ => None,
    };
    let mut known = BTreeMap::new();
    for one in all {
        let Some(id) = entity(one) else { continue };
        if let Some(other) = known.insert(id.clone(), one) {
            return Err(Error::invalid(format!("{} and {} are the same SAML entity `{id}`", named(other), named(one))));
        }
    }
    Ok(())
}

fn named(provider: &IdentityProvider) -> String {
    match &provider.owner {
        ProviderOwner::Organization => format!("identity source {}", provider.name),
        ProviderOwner::Account(account) => format!("identity provider {account}/{}", provider.name),
    }
}

pub(super) fn put_providers(draft: &mut Draft, providers: Vec<IdentityProvider>, snapshot: &Snapshot) {
    let same = |a: &IdentityProvider, b: &IdentityProvider| a.owner == b.owner && a.name == b.name;
    for old in &snapshot.providers {
        if !providers.iter().any(|new| same(new, old)) {
            draft.unlisted(named(old), Put::NoProvider(old.owner.clone(), old.name.clone()));
        }
    }
    for new in providers {
        let old = snapshot.providers.iter().find(|old| same(old, &new));
        let parts = old.map(|old| {
            // All of them, by name: one that is forgotten here would never change.
            let IdentityProvider { owner: _, name: _, label, domains, directory_user, second_factor, kind } = &**old;
            differing(&[
                ("label", *label != new.label),
                ("domains", *domains != new.domains),
                ("directory_user", *directory_user != new.directory_user),
                ("second_factor", *second_factor != new.second_factor),
                ("settings", *kind != new.kind),
            ])
        });
        draft.put(named(&new), old.is_some(), parts.unwrap_or_default(), Put::Provider(new));
    }
}
