//! Our client at an OpenID provider: how it authenticates, and requests that it pushes (OpenID Connect Core 9, RFC 7523,
//! RFC 9126).

use super::discovery::Discovery;
use crate::{
    crypto::{Refusal, refusal},
    domain::{
        Error, ErrorKind, Secret,
        iam::{ClientAuthentication, IdentityProvider, OidcProvider},
    },
    federation::{Federation, Unidentified, http::unreachable},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use openidconnect::{
    AuthType, ClientId, ClientSecret, EndpointMaybeSet, EndpointNotSet, EndpointSet, RedirectUrl,
    core::{CoreClient, CoreClientAuthMethod},
};
use serde_json::{Value, json};
use url::Url;

/// How long an assertion of ours is good, in seconds.
const ASSERTION_SECONDS: i64 = 60;

type Core = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// The client of browser sign-in.
pub(super) struct Client<'f> {
    federation: &'f Federation,
    discovery: &'f Discovery,
    issuer: &'f str,
    id: String,
    secret: Option<Secret<String>>,
    method: ClientAuthentication,
    /// The library's.
    pub(super) core: Core,
}

impl<'f> Client<'f> {
    pub(super) async fn new(
        federation: &'f Federation,
        source: &IdentityProvider,
        oidc: &'f OidcProvider,
        discovery: &'f Discovery,
    ) -> Result<Self, Error> {
        let id = oidc.sign_in_client_id.clone().ok_or_else(|| Error::internal("the provider has no sign-in client"))?;
        let secret = oidc.client_secret.clone();
        let method = oidc.client_authentication.unwrap_or_else(|| preferred(discovery, secret.is_some()));
        let callback = RedirectUrl::new(federation.addresses.oidc_callback(source.name.as_str())).map_err(Error::internal)?;
        let with_secret = matches!(method, ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost);
        let shared = secret.as_ref().filter(|_| with_secret).map(|secret| ClientSecret::new(secret.expose().clone()));
        let core = CoreClient::from_provider_metadata(discovery.clone(), ClientId::new(id.clone()), shared)
            .set_redirect_uri(callback)
            .set_auth_type(match method {
                ClientAuthentication::ClientSecretBasic => AuthType::BasicAuth,
                _ => AuthType::RequestBody,
            });
        Ok(Self { federation, discovery, issuer: &oidc.issuer, id, secret, method, core })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Parameters that show with our key who we are; none for other ways.
    pub(super) async fn assertion(&self) -> Result<Vec<(&'static str, String)>, Error> {
        if self.method != ClientAuthentication::PrivateKeyJwt {
            return Ok(Vec::new());
        }
        let now = self.federation.clock.now();
        // For the issuer alone: an assertion for one provider is worth nothing at another.
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": self.issuer, "jti": self.federation.random.uuid(),
            "iat": now.seconds(), "exp": now.plus_seconds(ASSERTION_SECONDS).seconds(),
        });
        let assertion = self.federation.store.client_key().await?.sign(&claims)?;
        Ok(vec![
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()),
            ("client_assertion", assertion),
        ])
    }

    /// Where the browser goes: with the request in the address, or, where the provider takes that, with a name for a request
    /// that it has already got.
    pub(super) async fn pushed(&self, url: Url) -> Result<Url, Error> {
        let Some(endpoint) = &self.discovery.additional_metadata().pushed_authorization_request_endpoint else {
            return Ok(url);
        };
        let mut form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut headers = Vec::new();
        let secret = self.secret.as_ref().map(|secret| secret.expose().as_str()).unwrap_or_default();
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(&self.id), encoded(secret))));
        match self.method {
            ClientAuthentication::ClientSecretBasic => headers.push(("authorization", basic.as_str())),
            ClientAuthentication::ClientSecretPost => form.push(("client_secret".to_owned(), secret.to_owned())),
            ClientAuthentication::PrivateKeyJwt => {
                form.extend(self.assertion().await?.into_iter().map(|(name, value)| (name.to_owned(), value)));
            }
            ClientAuthentication::None => {}
        }
        let answer = self.federation.http.post_form(endpoint.as_str(), &form, &headers).await?;
        let request_uri = serde_json::from_slice::<Value>(&answer.body).ok();
        let request_uri = request_uri.and_then(|body| body.get("request_uri")?.as_str().map(str::to_owned));
        let Some(request_uri) = request_uri.filter(|_| answer.status == 201) else {
            let why = format!("{endpoint}: the pushed request was refused with status {}", answer.status);
            let public = "The identity provider did not accept the sign-in request.";
            return Err(Error::new(ErrorKind::IdentityProviderUnreachable, public).with_private(why));
        };
        let mut short = url;
        short.query_pairs_mut().clear().append_pair("client_id", &self.id).append_pair("request_uri", &request_uri);
        Ok(short)
    }
}

/// As the form of OAuth 2.0 wants credentials before they go into `Basic` (RFC 6749 2.3.1).
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// What the provider takes, in our order; `client_secret_basic` where it says nothing.
fn preferred(discovery: &Discovery, has_secret: bool) -> ClientAuthentication {
    let offered = discovery.token_endpoint_auth_methods_supported();
    let offers = |method: &CoreClientAuthMethod| offered.is_none_or(|list| list.contains(method));
    match has_secret {
        false => ClientAuthentication::None,
        true if offers(&CoreClientAuthMethod::ClientSecretBasic) => ClientAuthentication::ClientSecretBasic,
        true => ClientAuthentication::ClientSecretPost,
    }
}

fn is_invalid_grant(answer: Value) -> bool {
    answer.get("error").and_then(Value::as_str) == Some("invalid_grant")
}

/// Why a refresh failed: that the grant is over, or that the provider can't say anything now.
pub(super) fn refresh_failure<RE: std::error::Error, TE: openidconnect::ErrorResponse>(
    error: &openidconnect::RequestTokenError<RE, TE>,
) -> Unidentified {
    match error {
        // Only this says that the grant is over (RFC 6749 5.2); a secret that has run out, say, passes.
        openidconnect::RequestTokenError::ServerResponse(answer) if serde_json::to_value(answer).is_ok_and(is_invalid_grant) => {
            token_refusal(error).into()
        }
        _ => unreachable(token_refusal(error).to_string()).into(),
    }
}

/// Why an exchange failed, without a word of the answer: it may hold anything.
pub(super) fn token_refusal<RE: std::error::Error, TE: openidconnect::ErrorResponse>(
    error: &openidconnect::RequestTokenError<RE, TE>,
) -> Refusal {
    match error {
        openidconnect::RequestTokenError::ServerResponse(_) => refusal("code_refused", "the token endpoint refused the code"),
        openidconnect::RequestTokenError::Request(_) => refusal("code_refused", "the token endpoint gave no answer"),
        openidconnect::RequestTokenError::Parse(error, _) => {
            let member = error.path().to_string();
            refusal("token_answer_malformed", format!("the token endpoint's answer can't be read at `{member}`"))
        }
        openidconnect::RequestTokenError::Other(_) => refusal("code_refused", "the token endpoint's answer is no answer"),
    }
}
