//! A person lends their session to a command line: by device code, or by authorization code.

use super::{
    Signin,
    oauth::{CARRIED_CODE_SECONDS, CONFIRMATION, CROSS_DEVICE, SAME_DEVICE},
};
use crate::{
    api::{
        sso::GetRoleCredentials,
        sso_oidc::{AUTHORIZATION_CODE_SECONDS, CODE, DECISION, DEVICE, USER_CODE, loopback, registration},
    },
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        session::PortalSession,
        sso::{AuthorizationCode, DeviceAuthorization, DeviceDecision, LentRole},
    },
    gateway::{Access, Broker, Call, Issue, Operation, Read, Scope},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// What a person is about to approve.
#[derive(Debug, Serialize, Deserialize)]
pub struct LookUpDevice {
    /// As typed or linked.
    pub user_code: String,
}

/// What the page shows.
#[derive(Debug, Serialize)]
pub struct DeviceRequest {
    /// The client's own words for itself.
    pub client_name: String,
    /// Where it calls from.
    pub source_ip: String,
    /// In its normal spelling.
    pub user_code: String,
}

/// Codes are typed in any case, with or without the dash.
fn normal(user_code: &str) -> String {
    let letters: String = user_code.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_uppercase();
    if letters.len() == 8 {
        format!("{}-{}", letters.get(..4).unwrap_or_default(), letters.get(4..).unwrap_or_default())
    } else {
        letters
    }
}

/// The person's session as they lend it: it ends when the page said.
fn lent<O: Operation>(call: &Call<'_, O>) -> Result<PortalSession, Error> {
    let session = call.caller.person().ok_or_else(|| Error::internal("a person's call without a person"))?;
    let longest = call.caller.origin.time.plus_seconds(call.broker.limits.token_seconds);
    Ok(PortalSession { expires: session.expires.min(longest), ..session.clone() })
}

async fn device(broker: &Broker, user_code: &str) -> Result<(String, DeviceAuthorization), Error> {
    let unknown =
        || Error::new(ErrorKind::NoSuchEntity, "That code is not known. It may have expired: start again where you got it.");
    let ephemeral = broker.store.ephemeral();
    let code: String = ephemeral.get(USER_CODE, &normal(user_code)).await?.ok_or_else(unknown)?;
    let device = ephemeral.get(DEVICE, &code).await?.ok_or_else(unknown)?;
    Ok((code, device))
}

impl Operation for LookUpDevice {
    type Service = Signin;
    type Mode = Read;
    type Output = DeviceRequest;
    const NAME: &'static str = "LookUpDevice";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "the code came from the person's own screen" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<DeviceRequest, Error> {
        let (_, device) = device(call.broker, &self.user_code).await?;
        Ok(DeviceRequest { client_name: device.client_name, source_ip: device.source_ip, user_code: device.user_code })
    }
}

/// Approves or refuses a device.
#[derive(Debug, Serialize, Deserialize)]
pub struct DecideDevice {
    /// As shown.
    pub user_code: String,
    /// Yes or no.
    pub approve: bool,
}

impl Operation for DecideDevice {
    type Service = Signin;
    type Mode = Issue;
    type Output = ();
    const NAME: &'static str = "DecideDevice";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person may lend their own session to a command line" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let session = lent(call)?;
        let (code, device) = device(call.broker, &self.user_code).await?;
        call.tx.note("clientName", &device.client_name);
        call.tx.note("approved", self.approve);
        let decision = if self.approve { DeviceDecision::Approved(Box::new(session)) } else { DeviceDecision::Denied };
        let ephemeral = call.broker.store.ephemeral();
        ephemeral.put(DECISION, &code, &decision, device.expires).await?;
        ephemeral.delete(USER_CODE, &device.user_code).await
    }
}

/// An authorization request, as it came (RFC 6749 section 4.1.1, RFC 7636).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct AuthorizationRequest {
    /// `code`.
    pub response_type: String,
    /// From the registration, or one of those of `aws login`, which nobody registers.
    pub client_id: String,
    /// A loopback address, with the port the client listens on; or where a person sees a code to carry over.
    pub redirect_uri: String,
    /// Comes back unchanged.
    pub state: String,
    /// PKCE.
    pub code_challenge: String,
    /// `S256`; `aws login` writes `SHA-256`.
    pub code_challenge_method: String,
}

/// Who asks, and what for.
#[derive(Debug, Serialize)]
pub struct AskingClient {
    /// The client's own words for itself.
    pub name: String,
    /// Whether it asks for one role (`aws login`) and not for all.
    pub one_role: bool,
    /// Whether the person carries the code over by hand.
    pub carried: bool,
}

fn check(broker: &Broker, request: &AuthorizationRequest, now: Timestamp) -> Result<AskingClient, Error> {
    let (client, registered, method) = match request.client_id.as_str() {
        SAME_DEVICE => {
            let wanted = loopback(&request.redirect_uri).is_some_and(|uri| uri.path() == "/oauth/callback");
            (AskingClient { name: "aws login".to_owned(), one_role: true, carried: false }, wanted, "SHA-256")
        }
        CROSS_DEVICE => {
            let wanted = request.redirect_uri == broker.federation.addresses.at(CONFIRMATION);
            (AskingClient { name: "aws login --remote".to_owned(), one_role: true, carried: true }, wanted, "SHA-256")
        }
        id => {
            let client = registration(broker, id, now).ok_or_else(|| {
                let message = "This command line is not registered here any more. Start the sign-in again.";
                Error::new(ErrorKind::InvalidClient, message)
            })?;
            let wanted = loopback(&request.redirect_uri);
            let registered = client.redirect_uris.iter().any(|uri| wanted.is_some() && loopback(uri) == wanted);
            (AskingClient { name: client.name, one_role: false, carried: false }, registered, "S256")
        }
    };
    // Nothing is sent to an address that was not registered, not even an error.
    if !registered {
        return Err(Error::new(ErrorKind::InvalidRedirect, "The address to return to is not one this command line registered."));
    }
    let pkce = request.code_challenge_method == method && request.code_challenge.len() == 43;
    if request.response_type != "code" || !pkce || request.state.is_empty() || request.state.len() > 512 {
        return Err(Error::invalid(
            "The request of the command line is not complete (code, state and an SHA-256 challenge are needed).",
        ));
    }
    Ok(client)
}

/// Which client asks, for the approval page.
#[derive(Debug, Serialize, Deserialize)]
pub struct LookUpClient {
    /// The request.
    pub request: AuthorizationRequest,
}

impl Operation for LookUpClient {
    type Service = Signin;
    type Mode = Read;
    type Output = AskingClient;
    const NAME: &'static str = "LookUpClient";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "the request came from the person's own machine" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AskingClient, Error> {
        check(call.broker, &self.request, call.caller.origin.time)
    }
}

/// Answers an authorization request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Authorize {
    /// The request.
    pub request: AuthorizationRequest,
    /// Yes or no.
    pub approve: bool,
    /// The one role that is lent, for a client that asks for one.
    #[serde(default)]
    pub role: Option<LentRole>,
}

/// What becomes of it.
#[derive(Debug, Serialize)]
pub enum Authorized {
    /// The browser goes there.
    Redirect(String),
    /// The person carries this over: `state` and `code`, as base64.
    Carried(#[serde(serialize_with = "Secret::reveal")] Secret<String>),
    /// Nothing more happens.
    Refused,
}

impl Operation for Authorize {
    type Service = Signin;
    type Mode = Issue;
    type Output = Authorized;
    const NAME: &'static str = "Authorize";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        // Only a role that the person can take can be lent: its trust policy is asked, and again with every use.
        match &self.role {
            Some(role) if self.approve => Ok(GetRoleCredentials::access_to(scope, &role.account, role.name.as_str())),
            _ => Ok(Access::Person { because: "a person may lend their own session to a command line" }),
        }
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Authorized, Error> {
        let session = lent(call)?;
        let now = call.caller.origin.time;
        let client = check(call.broker, &self.request, now)?;
        call.tx.note("clientName", &client.name);
        call.tx.note("approved", self.approve);
        let state = self.request.state;
        let given = if self.approve {
            if client.one_role != self.role.is_some() {
                return Err(Error::invalid("Choose the role that the command line gets."));
            }
            let code = call.broker.random.token();
            let grant = AuthorizationCode {
                client_id: self.request.client_id,
                redirect_uri: self.request.redirect_uri.clone(),
                code_challenge: self.request.code_challenge,
                session,
                role: self.role,
            };
            let seconds = if client.carried { CARRIED_CODE_SECONDS } else { AUTHORIZATION_CODE_SECONDS };
            call.broker.store.ephemeral().put(CODE, &code, &grant, now.plus_seconds(seconds)).await?;
            ("code", code)
        } else {
            ("error", "access_denied".to_owned())
        };
        if client.carried {
            let mut answer = url::form_urlencoded::Serializer::new(String::new());
            let answer = answer.append_pair("state", &state).append_pair(given.0, &given.1).finish();
            return Ok(match self.approve {
                true => Authorized::Carried(Secret::new(STANDARD.encode(answer))),
                false => Authorized::Refused,
            });
        }
        let mut target =
            url::Url::parse(&self.request.redirect_uri).map_err(|_| Error::invalid("the redirect address is malformed"))?;
        let issuer = call.broker.federation.addresses.at("");
        // `iss`: RFC 9207.
        target.query_pairs_mut().append_pair(given.0, &given.1).append_pair("state", &state).append_pair("iss", &issuer);
        Ok(Authorized::Redirect(target.to_string()))
    }
}
