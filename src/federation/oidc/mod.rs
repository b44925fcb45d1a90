//! OpenID Connect sign-in: code flow with PKCE, nonce and state (OpenID Connect Core 3.1, RFC 7636, RFC 9126, RFC 9207,
//! RFC 9700). What only speaks OAuth 2.0 is in [`social`].

mod client;
mod discovery;
mod id_token;
pub mod logout;
pub mod refresh;
mod social;

pub(super) use discovery::Discovery;

use super::{
    Departure, Failure, Federation, Identified, Pending, Unidentified,
    mapping::{self, Mapped},
    recorder::Recording,
};
use crate::{
    crypto::{Refusal, refusal, unique_json},
    domain::{
        Error, Secret, Timestamp,
        iam::{IdentityProvider, OidcProvider},
        name::SourceIdentity,
        session::{FederationProtocol, IdentityAssertion, ProviderRef, ProviderSession},
    },
};
use client::Client;
use openidconnect::{
    AuthorizationCode, CsrfToken, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, Scope,
    TokenResponse as _,
    core::{CoreAuthenticationFlow, CoreTokenType},
};
use refresh::RefreshGrant;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Whether bytes can be read as a discovery document: what a fuzzer asks.
#[must_use]
pub fn is_discovery(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Discovery>(bytes).is_ok()
}

/// Age limit of an ID token, in seconds.
const MAX_AGE_SECONDS: i64 = 600;
/// How far the provider's clock may be from ours, in seconds.
const SKEW_SECONDS: i64 = 60;

/// The parameters of the callback: exactly one of each, or the request was refused before.
#[derive(Clone, Debug, Deserialize)]
pub struct Callback {
    /// The authorization code.
    pub code: Option<Secret<String>>,
    /// The provider's refusal.
    pub error: Option<String>,
    /// The issuer, where the provider sends it (RFC 9207).
    pub iss: Option<String>,
}

pub(super) async fn begin(
    federation: &Federation,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    handle: &str,
) -> Result<(Departure, Pending), Error> {
    if let Some(api) = &oidc.oauth2 {
        return social::begin(federation, source, oidc, api, handle);
    }
    let discovery = federation.discover(oidc, false).await?;
    let client = Client::new(federation, source, oidc, &discovery).await?;
    let (nonce, verifier) = (federation.random.token(), federation.random.token());
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.clone()));
    let (state, sent_nonce) = (CsrfToken::new(handle.to_owned()), Nonce::new(nonce.clone()));
    let mut request = client
        .core
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || state, move || sent_nonce)
        .set_pkce_challenge(challenge);
    for scope in &oidc.scopes {
        request = request.add_scope(Scope::new(scope.clone()));
    }
    if let Some(seconds) = oidc.max_age_seconds {
        request = request.add_extra_param("max_age", seconds.to_string());
    }
    if !oidc.acr_values.is_empty() {
        request = request.add_extra_param("acr_values", oidc.acr_values.join(" "));
    }
    let (url, _, _) = request.url();
    if !super::metadata::is_safe(&url) {
        return Err(Error::internal(format!("the authorization endpoint `{url}` is not an https address")));
    }
    let url = client.pushed(url).await?;
    Ok((Departure::Redirect(url), Pending { nonce: Some(nonce), pkce_verifier: Some(verifier), ..Pending::default() }))
}

pub(super) async fn complete(
    federation: &Federation,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    pending: &Pending,
    callback: Callback,
) -> Result<Identified, Failure> {
    let mut recording = Recording::default();
    let outcome = match &oidc.oauth2 {
        Some(api) => social::identify(federation, &mut recording, source, oidc, api, pending, callback).await,
        None => identify(federation, &mut recording, source, oidc, pending, callback).await,
    };
    match outcome {
        Ok((assertion, at_provider, refresh)) => Ok(Identified { assertion, at_provider, refresh, recording }),
        Err(Unidentified::Refused(refusal)) => Err(Failure { error: super::refused(&refusal), recording }),
        Err(Unidentified::Failed(error)) => Err(Failure { error, recording }),
    }
}

/// Who it is, their session at the provider, and what fresh claims can be had with.
type Vouched = (IdentityAssertion, Option<ProviderSession>, Option<RefreshGrant>);

/// The code of a callback that reports success.
fn code(recording: &mut Recording, callback: &Callback) -> Result<Secret<String>, Refusal> {
    let answered = match (&callback.error, &callback.code) {
        (Some(error), _) => error.clone(),
        (None, Some(_)) => "a code".to_owned(),
        (None, None) => "neither code nor error".to_owned(),
    };
    recording.require(
        "received",
        "status_not_success",
        "a code",
        answered,
        callback.error.is_none() && callback.code.is_some(),
    )?;
    callback.code.clone().ok_or_else(|| refusal("status_not_success", "there is no code"))
}

async fn identify(
    federation: &Federation,
    recording: &mut Recording,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    pending: &Pending,
    callback: Callback,
) -> Result<Vouched, Unidentified> {
    let discovery = federation.discover(oidc, false).await?;
    // Before the answer is looked at: whose it is (RFC 9207 2.4).
    let promised = discovery.additional_metadata().authorization_response_iss_parameter_supported == Some(true);
    let iss = callback.iss.clone();
    let issuer_fits = iss.as_ref().map_or(!promised, |iss| *iss == oidc.issuer);
    let shown = iss.unwrap_or_else(|| "nothing".to_owned());
    recording.require("response.iss", "issuer_wrong", &oidc.issuer, shown, issuer_fits)?;
    let code = code(recording, &callback)?;
    let (Some(nonce), Some(verifier)) = (pending.nonce.clone(), pending.pkce_verifier.clone()) else {
        return Err(refusal("step_incomplete", "the step holds no nonce").into());
    };
    let client = Client::new(federation, source, oidc, &discovery).await?;
    let request = client.core.exchange_code(AuthorizationCode::new(code.expose().clone())).map_err(Error::internal)?;
    let mut request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier));
    for (name, value) in client.assertion().await? {
        request = request.add_extra_param(name, value);
    }
    let tokens = request.request_async(&federation.http).await.map_err(|error| client::token_refusal(&error));
    recording.note("code", &tokens);
    let tokens = tokens?;
    let bearer = *tokens.token_type() == CoreTokenType::Bearer;
    recording.require("token_type", "token_type_wrong", "Bearer", if bearer { "Bearer" } else { "another" }, bearer)?;
    let id_token = tokens.id_token().ok_or_else(|| refusal("id_token_missing", "the token endpoint returned no ID token"));
    recording.note("id_token", &id_token);
    let id_token = id_token?;
    let now = federation.clock.now();
    let mut claims = id_token::verify(federation, recording, oidc, id_token, &nonce, now).await?;
    let access_token = tokens.access_token().secret();
    id_token::check(recording, oidc, &claims, client.id(), access_token, now)?;
    let at_provider = ProviderSession::Oidc {
        subject: claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned(),
        sid: claims.get("sid").and_then(Value::as_str).map(str::to_owned),
        id_token: Secret::new(id_token.to_string()),
    };
    let id_claims = claims.clone();
    if let Some(endpoint) = discovery.userinfo_endpoint() {
        let body = federation.http.get(endpoint.as_str(), Some(access_token)).await?;
        let more = unique_json::object(&body).map_err(|why| refusal("userinfo_malformed", why));
        recording.note("userinfo", &more);
        let more = more?;
        let same = more.get("sub").is_some() && more.get("sub") == claims.get("sub");
        let whose = if same { "it" } else { "another" };
        recording.require("userinfo.sub", "userinfo_other_person", "the subject of the ID token", whose, same)?;
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
    }
    let assertion = assertion(recording, source, oidc, claims, client.id(), now)?;
    let grant =
        tokens.refresh_token().map(|token| RefreshGrant { refresh_token: Secret::new(token.secret().clone()), id_claims });
    Ok((assertion, Some(at_provider), grant))
}

/// How the provider says that the person authenticated (OpenID Connect core 2: `acr`, `amr`).
fn methods(claims: &Map<String, Value>) -> Vec<String> {
    let several = claims.get("amr").and_then(Value::as_array).into_iter().flatten();
    several.chain(claims.get("acr")).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Verified claims as an assertion; shared with `AssumeRoleWithWebIdentity`.
pub(super) fn assertion(
    recording: &mut Recording,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    claims: Map<String, Value>,
    audience: &str,
    now: Timestamp,
) -> Result<IdentityAssertion, Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let methods = methods(&claims);
    recording.state("factors", if methods.is_empty() { "the provider names none".to_owned() } else { methods.join(", ") });
    let issuer = oidc.issuer_path();
    let mut keys = mapping::token_claims(issuer, &claims);
    // An address that the provider itself does not stand behind is nobody's name: people could choose a colleague's.
    let verified_mail =
        claims.get("email_verified").is_none_or(|verified| *verified == Value::Bool(true) || verified.as_str() == Some("true"));
    if !verified_mail {
        keys.remove(&format!("{issuer}:email"));
    }
    let given = keys.clone();
    let values = |name: &str| given.get(&format!("{issuer}:{name}")).cloned().unwrap_or_default();
    let mapped = mapping::token_tags(&claims).and_then(|own| Mapped::new(&oidc.mapping, &own, values));
    recording.mapping(&mapped);
    let Mapped { attributes, tags, subject } = mapped?;
    // A mapped name whose claim is absent hides a claim of that name: it would be taken for the mapped one.
    oidc.mapping.attributes.keys().for_each(|short| drop(keys.remove(&format!("{issuer}:{short}"))));
    keys.extend(attributes.into_iter().map(|(short, values)| (format!("{issuer}:{short}"), values)));
    // A list-valued `aud` is matched first; the key then holds the value that matched.
    keys.insert(format!("{issuer}:aud"), vec![audience.to_owned()]);
    let subject = subject.or_else(|| text("sub").filter(|sub| !sub.is_empty()));
    let mapped = |short: &str| {
        let mapped = oidc.mapping.attributes.contains_key(short);
        keys.get(&format!("{issuer}:{short}")).filter(|_| mapped).and_then(|values| values.first()).cloned()
    };
    let stated = claims.get("auth_time").and_then(Value::as_i64).map(Timestamp::from_seconds);
    let named = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let source_identity = text(mapping::SOURCE_IDENTITY_CLAIM).map(|text| SourceIdentity::parse(&text)).transpose();
    Ok(IdentityAssertion {
        provider: ProviderRef {
            owner: source.owner.clone(),
            name: source.name.to_string(),
            resource: source.resource(),
            protocol: FederationProtocol::WebIdentity,
        },
        issuer: oidc.issuer.clone(),
        subject: subject.ok_or_else(|| refusal("subject_blank", "sub is missing"))?,
        subject_type: None,
        audience: audience.to_owned(),
        name: named(mapped("name")).or_else(|| named(text("name"))).or_else(|| named(text("preferred_username"))),
        email: named(mapped("email")).or_else(|| named(text("email")).filter(|_| verified_mail)),
        authenticated: stated.unwrap_or(now),
        asserted_authentication: stated,
        methods,
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: source_identity.map_err(|_| refusal("attribute_malformed", "the source identity is malformed"))?,
        tags,
        roles: Vec::new(),
        claims: keys,
    })
}
