//! OpenID Connect sign-in: code flow with PKCE, nonce and state (OpenID Connect Core 3.1, RFC 7636, RFC 9207, RFC 9700).

use super::{Departure, Failure, Federation, Identified, Pending, Unidentified, mapping, recorder::Recording};
use crate::{
    crypto::{Refusal, refusal},
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        iam::{IdentityProvider, OidcProvider},
        name::SourceIdentity,
        session::{FederationProtocol, IdentityAssertion, ProviderRef},
    },
};
use base64::Engine as _;
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _,
    core::{CoreAuthenticationFlow, CoreClient, CoreJwsSigningAlgorithm, CoreProviderMetadata},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Age limit of an ID token, in seconds.
const MAX_AGE_SECONDS: i64 = 600;
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

impl Federation {
    async fn discover(&self, oidc: &OidcProvider, outdated: bool) -> Result<Arc<CoreProviderMetadata>, Error> {
        let fetch = || async {
            let issuer = IssuerUrl::new(oidc.issuer.clone()).map_err(Error::internal)?;
            CoreProviderMetadata::discover_async(issuer, &self.http).await.map_err(|error| {
                Error::new(ErrorKind::IdentityProviderUnreachable, "The identity provider could not be reached.")
                    .with_private(format!("discovery of {}: {error:?}", oidc.issuer))
            })
        };
        self.discoveries.get(&oidc.issuer, outdated, self.clock.now(), fetch).await
    }
}

fn sign_in_client(oidc: &OidcProvider) -> Result<(ClientId, Option<ClientSecret>), Error> {
    let id = oidc.sign_in_client_id.clone().ok_or_else(|| Error::internal("the provider has no sign-in client"))?;
    Ok((ClientId::new(id), oidc.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().clone()))))
}

pub(super) async fn begin(
    federation: &Federation,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    handle: &str,
) -> Result<(Departure, Pending), Error> {
    let metadata = federation.discover(oidc, false).await?;
    let (id, secret) = sign_in_client(oidc)?;
    let callback = RedirectUrl::new(federation.addresses.oidc_callback(source.name.as_str())).map_err(Error::internal)?;
    let client = CoreClient::from_provider_metadata((*metadata).clone(), id, secret).set_redirect_uri(callback);
    let (nonce, verifier) = (federation.random.token(), federation.random.token());
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.clone()));
    let (state, sent_nonce) = (CsrfToken::new(handle.to_owned()), Nonce::new(nonce.clone()));
    let mut request = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || state, move || sent_nonce)
        .set_pkce_challenge(challenge);
    for scope in &oidc.scopes {
        request = request.add_scope(Scope::new(scope.clone()));
    }
    let (url, _, _) = request.url();
    if !super::metadata::is_safe(&url) {
        return Err(Error::internal(format!("the authorization endpoint `{url}` is not an https address")));
    }
    Ok((Departure::Redirect(url), Pending { nonce: Some(nonce), pkce_verifier: Some(verifier), ..Pending::default() }))
}

/// Where the browser ends its session at the provider (OpenID Connect RP-Initiated Logout 1.0).
pub(super) async fn end_session(
    _federation: &Federation,
    _oidc: &OidcProvider,
    _session: &crate::domain::session::PortalSession,
) -> Result<Option<Departure>, Error> {
    Ok(None)
}

pub(super) async fn complete(
    federation: &Federation,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    pending: &Pending,
    callback: Callback,
) -> Result<Identified, Failure> {
    let mut recording = Recording::default();
    match identify(federation, &mut recording, source, oidc, pending, callback).await {
        Ok(assertion) => Ok(Identified { assertion, at_provider: None, recording }),
        Err(Unidentified::Refused(refusal)) => Err(Failure { error: super::refused(&refusal), recording }),
        Err(Unidentified::Failed(error)) => Err(Failure { error, recording }),
    }
}

async fn identify(
    federation: &Federation,
    recording: &mut Recording,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    pending: &Pending,
    callback: Callback,
) -> Result<IdentityAssertion, Unidentified> {
    let answered = callback.error.clone().unwrap_or_else(|| "a code".to_owned());
    recording.require(
        "authorization",
        "status_not_success",
        "a code",
        answered,
        callback.error.is_none() && callback.code.is_some(),
    )?;
    let iss = callback.iss.clone().unwrap_or_else(|| oidc.issuer.clone());
    recording.require("response.iss", "issuer_wrong", &oidc.issuer, &iss, iss == oidc.issuer)?;
    let (Some(code), Some(nonce), Some(verifier)) = (callback.code, pending.nonce.clone(), pending.pkce_verifier.clone()) else {
        return Err(refusal("step_incomplete", "the step holds no nonce").into());
    };
    let metadata = federation.discover(oidc, false).await?;
    let (id, secret) = sign_in_client(oidc)?;
    let redirect = RedirectUrl::new(federation.addresses.oidc_callback(source.name.as_str())).map_err(Error::internal)?;
    let client = CoreClient::from_provider_metadata((*metadata).clone(), id.clone(), secret.clone()).set_redirect_uri(redirect);
    let request = client.exchange_code(AuthorizationCode::new(code.expose().clone())).map_err(Error::internal)?;
    let tokens = request.set_pkce_verifier(PkceCodeVerifier::new(verifier)).request_async(&federation.http).await;
    // The library's error may quote the answer; only its kind is kept.
    let tokens = tokens
        .map_err(|error| refusal("code_refused", format!("the token endpoint refused the code: {}", token_error(&error))))?;
    let id_token = tokens.id_token().ok_or_else(|| refusal("id_token_missing", "the token endpoint returned no ID token"))?;

    let now = federation.clock.now();
    let nonce = Nonce::new(nonce);
    let verify = |metadata: &CoreProviderMetadata| {
        let client = CoreClient::from_provider_metadata(metadata.clone(), id.clone(), secret.clone());
        let at = jiff::Timestamp::from_second(now.seconds()).unwrap_or_default().to_string();
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs([
                CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
                CoreJwsSigningAlgorithm::RsaSsaPssSha256,
                CoreJwsSigningAlgorithm::EcdsaP256Sha256,
                CoreJwsSigningAlgorithm::EdDsa,
            ])
            .set_time_fn(move || at.parse().unwrap_or_default());
        id_token.claims(&verifier, &nonce).map(|_| ()).map_err(|error| refusal("id_token_invalid", format!("{error:?}")))
    };
    let mut verified = verify(&metadata);
    if verified.is_err() {
        // The provider may have rotated its keys since we last looked.
        verified = verify(&*federation.discover(oidc, true).await?);
    }
    recording.note("id_token.signature", &verified);
    verified?;
    let mut claims = payload(&id_token.to_string())?;
    check_claims(recording, &claims, id.as_str(), tokens.access_token().secret(), now)?;

    if let Some(endpoint) = metadata.userinfo_endpoint() {
        let body = federation.http.get(endpoint.as_str(), Some(tokens.access_token().secret())).await?;
        let more: Map<String, Value> =
            serde_json::from_slice(&body).map_err(|_| refusal("userinfo_malformed", "userinfo is not a JSON object"))?;
        let same = more.get("sub").is_some() && more.get("sub") == claims.get("sub");
        recording.require("userinfo.sub", "userinfo_other_person", "the subject of the ID token", "another", same)?;
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
    }
    assertion(source, oidc, claims, id.as_str(), now).map_err(Into::into)
}

fn token_error<RE: std::error::Error, TE: openidconnect::ErrorResponse>(
    error: &openidconnect::RequestTokenError<RE, TE>,
) -> &'static str {
    match error {
        openidconnect::RequestTokenError::ServerResponse(_) => "an OAuth error",
        openidconnect::RequestTokenError::Request(_) => "no answer",
        openidconnect::RequestTokenError::Parse(..) => "an answer that can't be read",
        openidconnect::RequestTokenError::Other(_) => "something else",
    }
}

/// The claims of a token that was just verified, all of them.
fn payload(token: &str) -> Result<Map<String, Value>, Refusal> {
    let malformed = || refusal("id_token_malformed", "the ID token's claims can't be read");
    let part = token.split('.').nth(1).ok_or_else(malformed)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed())?;
    serde_json::from_slice(&bytes).map_err(|_| malformed())
}

/// What the library leaves to us: `azp`, `nbf`, future and old `iat`, `at_hash`.
fn check_claims(
    recording: &mut Recording,
    claims: &Map<String, Value>,
    client: &str,
    access_token: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    recording.require("azp", "azp_wrong", client, text("azp").unwrap_or(client), text("azp").is_none_or(|azp| azp == client))?;
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64).map(Timestamp::from_seconds);
    if let Some(not_before) = seconds("nbf") {
        recording.require(
            "nbf",
            "assertion_not_yet_valid",
            format!("at most {now}"),
            not_before,
            not_before.seconds_since(now) <= SKEW_SECONDS,
        )?;
    }
    let issued = seconds("iat").ok_or_else(|| refusal("id_token_malformed", "iat is missing"))?;
    let age = now.seconds_since(issued);
    recording.require(
        "iat",
        "assertion_too_old",
        format!("within {MAX_AGE_SECONDS} s of {now}"),
        issued,
        (-SKEW_SECONDS..=MAX_AGE_SECONDS).contains(&age),
    )?;
    if let Some(expected) = text("at_hash") {
        // Half of the hash that belongs to the signature algorithm; every algorithm we allow uses SHA-256, but Ed25519.
        let half = |algorithm: &'static aws_lc_rs::digest::Algorithm, length: usize| {
            let digest = aws_lc_rs::digest::digest(algorithm, access_token.as_bytes());
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest.as_ref().get(..length).unwrap_or_default())
        };
        let fits = expected == half(&aws_lc_rs::digest::SHA256, 16) || expected == half(&aws_lc_rs::digest::SHA512, 32);
        recording.require("at_hash", "at_hash_wrong", "the hash of the access token", "another", fits)?;
    }
    Ok(())
}

/// Verified claims as an assertion; shared with `AssumeRoleWithWebIdentity`.
pub(super) fn assertion(
    source: &IdentityProvider,
    oidc: &OidcProvider,
    claims: Map<String, Value>,
    audience: &str,
    now: Timestamp,
) -> Result<IdentityAssertion, Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let issuer = oidc.issuer_path();
    let mut keys = mapping::token_claims(issuer, &claims);
    // A list-valued `aud` is matched first; the key then holds the value that matched.
    keys.insert(format!("{issuer}:aud"), vec![audience.to_owned()]);
    // An address that the provider itself does not stand behind is nobody's name: people could choose a colleague's.
    let verified_mail =
        claims.get("email_verified").is_none_or(|verified| *verified == Value::Bool(true) || verified.as_str() == Some("true"));
    if !verified_mail {
        keys.remove(&format!("{issuer}:email"));
    }
    let source_identity = text(mapping::SOURCE_IDENTITY_CLAIM).map(|text| SourceIdentity::parse(&text)).transpose();
    Ok(IdentityAssertion {
        provider: ProviderRef {
            owner: source.owner.clone(),
            name: source.name.to_string(),
            resource: source.resource(),
            protocol: FederationProtocol::WebIdentity,
        },
        issuer: oidc.issuer.clone(),
        subject: text("sub").filter(|sub| !sub.is_empty()).ok_or_else(|| refusal("subject_blank", "sub is missing"))?,
        subject_type: None,
        audience: audience.to_owned(),
        name: text("name").or_else(|| text("preferred_username")),
        email: text("email").filter(|_| verified_mail),
        authenticated: claims.get("auth_time").and_then(Value::as_i64).map_or(now, Timestamp::from_seconds),
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: source_identity.map_err(|_| refusal("attribute_malformed", "the source identity is malformed"))?,
        tags: mapping::token_tags(&claims)?,
        roles: Vec::new(),
        claims: keys,
    })
}
