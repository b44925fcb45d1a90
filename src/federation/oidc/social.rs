//! Sign-in at services that speak OAuth 2.0 and say over their own API who somebody is (GitHub, Facebook).
//!
//! There is no token to verify: the answer comes straight from the service over TLS, for a code that our secret and PKCE
//! verifier bought. The person is the `id` that the service never gives to another.

use super::{Callback, Vouched, assertion, code};
use crate::{
    crypto::{refusal, unique_json},
    domain::{
        Error, Secret,
        iam::{IdentityProvider, OAuth2Api, OidcProvider},
    },
    federation::{Departure, Federation, Pending, Unidentified, recorder::Recording},
};
use openidconnect::{PkceCodeChallenge, PkceCodeVerifier};
use serde_json::Value;
use url::Url;

/// Most pages of a list that are read, and entries of a page.
const MAX_PAGES: usize = 20;
const PAGE: usize = 100;

pub(super) fn begin(
    federation: &Federation,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    api: &OAuth2Api,
    handle: &str,
) -> Result<(Departure, Pending), Error> {
    let verifier = federation.random.token();
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.clone()));
    let mut url = Url::parse(&api.authorization_endpoint).map_err(Error::internal)?;
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", oidc.sign_in_client_id.as_deref().unwrap_or_default())
        .append_pair("redirect_uri", &federation.addresses.oidc_callback(source.name.as_str()))
        .append_pair("scope", &oidc.scopes.join(" "))
        .append_pair("state", handle)
        .append_pair("code_challenge", challenge.as_str())
        .append_pair("code_challenge_method", "S256");
    Ok((Departure::Redirect(url), Pending { pkce_verifier: Some(verifier), ..Pending::default() }))
}

pub(super) async fn identify(
    federation: &Federation,
    recording: &mut Recording,
    source: &IdentityProvider,
    oidc: &OidcProvider,
    api: &OAuth2Api,
    pending: &Pending,
    callback: Callback,
) -> Result<Vouched, Unidentified> {
    let code = code(recording, &callback)?;
    let verifier = pending.pkce_verifier.clone().ok_or_else(|| refusal("step_incomplete", "the step holds no verifier"))?;
    let client = oidc.sign_in_client_id.clone().unwrap_or_default();
    let secret = oidc.client_secret.clone().unwrap_or_else(|| Secret::new(String::new()));
    let form = [
        ("grant_type".to_owned(), "authorization_code".to_owned()),
        ("code".to_owned(), code.expose().clone()),
        ("redirect_uri".to_owned(), federation.addresses.oidc_callback(source.name.as_str())),
        ("client_id".to_owned(), client.clone()),
        ("client_secret".to_owned(), secret.expose().clone()),
        ("code_verifier".to_owned(), verifier),
    ];
    let answer = federation.http.post_form(&api.token_endpoint, &form, &[]).await?;
    // GitHub reports errors with status 200.
    let token = unique_json::object(&answer.body).ok().filter(|_| answer.status == 200);
    let token = token.and_then(|body| body.get("access_token")?.as_str().map(|token| Secret::new(token.to_owned())));
    let token =
        token.ok_or_else(|| refusal("code_refused", format!("the token endpoint answered with status {}", answer.status)));
    recording.note("code", &token);
    let token = token?;
    let person = federation.http.get(&api.user_endpoint, Some(token.expose())).await?;
    let person = unique_json::object(&person).map_err(|why| refusal("userinfo_malformed", why));
    recording.note("user", &person);
    let mut claims = person?;
    let subject = match claims.get("id") {
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    recording.require("subject", "subject_blank", "an id", &subject, !subject.is_empty())?;
    claims.insert("sub".to_owned(), Value::String(subject));
    // An address of the profile is whatever the person typed there, unless the service says otherwise.
    let verified = claims.get("email_verified").and_then(Value::as_bool) == Some(true);
    let typed = claims.remove("email");
    let email = match &api.emails_endpoint {
        None => typed.filter(|_| verified),
        Some(endpoint) => list(federation, endpoint, &token).await?.iter().find_map(verified_primary),
    };
    if let Some(email) = email {
        claims.insert("email".to_owned(), email);
    }
    if let Some(endpoint) = &api.organizations_endpoint {
        let logins = list(federation, endpoint, &token).await?.iter().filter_map(|org| org.get("login").cloned()).collect();
        claims.insert("organizations".to_owned(), Value::Array(logins));
    }
    if let Some(endpoint) = &api.teams_endpoint {
        let teams = list(federation, endpoint, &token).await?.iter().filter_map(team).collect();
        claims.insert("groups".to_owned(), Value::Array(teams));
    }
    if !claims.get("name").is_some_and(Value::is_string)
        && let Some(login) = claims.get("login").cloned()
    {
        claims.insert("name".to_owned(), login);
    }
    // Only what a profile says of itself is a claim: nothing of it is about the authentication.
    for name in ["iss", "aud", "exp", "iat", "nbf", "auth_time", "acr", "amr", "email_verified"] {
        claims.remove(name);
    }
    let now = federation.clock.now();
    Ok((assertion(recording, source, oidc, claims, &client, now)?, None, None))
}

fn verified_primary(entry: &Value) -> Option<Value> {
    let is = |name: &str| entry.get(name).and_then(Value::as_bool) == Some(true);
    if is("primary") && is("verified") { entry.get("email").cloned() } else { None }
}

/// `<organization>/<team>`.
fn team(entry: &Value) -> Option<Value> {
    let organization = entry.get("organization")?.get("login")?.as_str()?;
    Some(Value::String(format!("{organization}/{}", entry.get("slug")?.as_str()?)))
}

/// All pages of a list.
async fn list(federation: &Federation, endpoint: &str, token: &Secret<String>) -> Result<Vec<Value>, Unidentified> {
    let mut all = Vec::new();
    for page in 1..=MAX_PAGES {
        let mut url = Url::parse(endpoint).map_err(Error::internal)?;
        url.query_pairs_mut().append_pair("per_page", &PAGE.to_string()).append_pair("page", &page.to_string());
        let body = federation.http.get(url.as_str(), Some(token.expose())).await?;
        let malformed = |_| refusal("userinfo_malformed", format!("{endpoint} did not answer with a list"));
        let entries: Vec<Value> = serde_json::from_slice(&body).map_err(malformed)?;
        let full = entries.len() >= PAGE;
        all.extend(entries);
        if !full {
            return Ok(all);
        }
    }
    // Half of somebody's groups would be somebody else's rights.
    Err(refusal("userinfo_too_long", format!("{endpoint} has more than {} entries", MAX_PAGES * PAGE)).into())
}
