//! Sign-in, consent and console: what pages do on behalf of a browser. Not on the wire, but through the same door.

use super::{
    sso::GetRoleCredentials,
    sso_oidc::{AUTHORIZATION_CODE_SECONDS, CODE, DECISION, DEVICE, USER_CODE, loopback, registration},
    sts,
};
use crate::{
    credentials::console::{ConsoleCredentials, open_signin_token, signin_token},
    crypto::sha256_hex,
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        iam::IdentityProvider,
        name::AccountId,
        session::{IdentityAssertion, PortalSession, ProviderSession, RoleSession},
        sso::{AuthorizationCode, DeviceAuthorization, DeviceDecision, OAuthClient},
    },
    federation::{
        Arrival, Departure, Failure, Identified, Recording,
        oidc::refresh::{RefreshGrant, Refreshable},
    },
    gateway::{Access, Broker, Call, Entry, FRESH, Fault, Issue, Operation, Protocol, Read, Scope, Service, fault::json_code},
    signin::{
        self, Next, SignIn,
        step::{self, Continuation, Step},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct Signin;

impl Service for Signin {
    const EVENT_SOURCE: &'static str = "signin.amazonaws.com";
    const SIGNING_NAME: &'static str = "signin";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        let (status, code) = json_code(error.kind);
        Fault::new(status, code, error)
    }
}

/// What pages call.
pub const TABLE: &[Entry] = &[
    Entry::inner::<BeginSignIn>(),
    Entry::inner::<ListIdentitySources>(),
    Entry::inner::<ParkSamlResponse>(),
    Entry::inner::<ArriveUnsolicited>(),
    Entry::inner::<LookUpArrival>(),
    Entry::inner::<CompleteSignIn>(),
    Entry::inner::<LookUpDevice>(),
    Entry::inner::<DecideDevice>(),
    Entry::inner::<LookUpClient>(),
    Entry::inner::<Authorize>(),
    Entry::inner::<GetSigninToken>(),
    Entry::inner::<ConsoleLogin>(),
    Entry::inner::<OpenConsole>(),
];

/// The ways to sign in, for the sign-in page.
#[derive(Debug, Deserialize)]
pub struct ListIdentitySources {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct IdentitySources {
    /// Name of the organization; none before the first `daypass apply`.
    pub organization: Option<String>,
    /// In order of name.
    pub sources: Vec<IdentitySourceInfo>,
}

/// A way to sign in.
#[derive(Clone, Debug, Serialize)]
pub struct IdentitySourceInfo {
    /// In addresses.
    pub name: String,
    /// On the button.
    pub label: String,
    /// E-mail domains of its people.
    pub domains: Vec<String>,
    /// Whether it asks for a password of ours.
    pub directory: bool,
}

impl Operation for ListIdentitySources {
    type Service = Signin;
    type Mode = Read;
    type Output = IdentitySources;
    const NAME: &'static str = "ListIdentitySources";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the sign-in page shows which ways there are" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<IdentitySources, Error> {
        let snapshot = &call.tx.snapshot;
        let info = |source: &std::sync::Arc<crate::domain::iam::IdentityProvider>| IdentitySourceInfo {
            name: source.name.to_string(),
            label: source.label.clone(),
            domains: source.domains.clone(),
            directory: source.kind == crate::domain::iam::ProviderKind::Directory,
        };
        Ok(IdentitySources {
            organization: snapshot.organization.as_ref().map(|organization| organization.name.clone()),
            sources: snapshot.identity_sources().map(info).collect(),
        })
    }
}

/// Begins a sign-in at a source.
#[derive(Debug, Deserialize)]
pub struct BeginSignIn {
    /// Name of the identity source.
    pub source: String,
    /// What follows.
    pub continuation: Continuation,
    /// The browser's binding.
    pub binding: Secret<String>,
}

/// Where to go.
#[derive(Debug, Serialize)]
pub struct BegunSignIn {
    /// To the provider, or to our own password form.
    #[serde(skip)]
    pub departure: Departure,
    /// Names the step.
    pub handle: String,
}

impl Operation for BeginSignIn {
    type Service = Signin;
    type Mode = Read;
    type Output = BegunSignIn;
    const NAME: &'static str = "BeginSignIn";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "nobody has signed in yet; the step grants nothing" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<BegunSignIn, Error> {
        let broker = call.broker;
        let source = call.tx.snapshot.identity_source(&self.source).cloned();
        let source = source.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "There is no such way to sign in."))?;
        let handle = broker.random.token();
        let (departure, pending) = broker.federation.begin(&source, &handle).await?;
        let step =
            Step { source: self.source, pending, continuation: self.continuation, browser: sha256_hex(self.binding.expose()) };
        step::keep(broker.store.ephemeral(), &handle, &step, call.caller.origin.time).await?;
        Ok(BegunSignIn { departure, handle })
    }
}

/// Keeps a SAML response that was posted across sites, where the browser sends no `SameSite=Lax` cookie, until the browser
/// comes back for it with one (a redirect later). Only for a step that waits; any other may be [`ArriveUnsolicited`].
#[derive(Deserialize)]
pub struct ParkSamlResponse {
    /// `RelayState`: names the step.
    pub handle: String,
    /// XML.
    pub response: Vec<u8>,
}

const PARKED: &str = "parked-response";
const UNSOLICITED: &str = "unsolicited-response";
const PARKED_SECONDS: i64 = 60;
/// How long somebody may take to confirm, in seconds.
const ARRIVED_SECONDS: i64 = 300;

impl Operation for ParkSamlResponse {
    type Service = Signin;
    type Mode = Read;
    type Output = bool;
    const NAME: &'static str = "ParkSamlResponse";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "it is kept unread for a minute, for a step of ours that waits for it" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<bool, Error> {
        let ephemeral = call.broker.store.ephemeral();
        if self.response.len() > crate::crypto::xml::MAX_MESSAGE {
            return Err(stale_response("document_too_large: the response is too large"));
        }
        if !step::waits(ephemeral, &self.handle).await? {
            return Ok(false);
        }
        // Under the step's own handle: posting again replaces, so that a step costs one document at most.
        let expires = call.caller.origin.time.plus_seconds(PARKED_SECONDS);
        ephemeral.put(PARKED, &self.handle, &STANDARD.encode(&self.response), expires).await?;
        Ok(true)
    }
}

fn stale_response(why: impl std::fmt::Display) -> Error {
    let public = "This sign-in has expired or was not begun here. Please sign in again.";
    Error::new(ErrorKind::StaleStep, public).with_private(why)
}

/// Takes a response that no step of ours asked for, from a source that may begin sign-ins. It is verified and its one use is
/// burned at once: strangers can't leave documents here. The person confirms before a session comes of it.
#[derive(Deserialize)]
pub struct ArriveUnsolicited {
    /// XML.
    pub response: Vec<u8>,
}

/// Somebody who arrived, and has not confirmed yet.
#[derive(Debug, Serialize, Deserialize)]
struct Arrived {
    source: String,
    label: String,
    assertion: IdentityAssertion,
    at_provider: Option<ProviderSession>,
    recording: Recording,
    /// When the provider vouched.
    at: Timestamp,
    /// SHA-256 of the binding of the browser that was shown it: no other can confirm.
    browser: Option<String>,
}

impl Arrived {
    /// The name, and what nobody chooses for themselves.
    fn person(&self) -> String {
        let (name, subject) = (self.assertion.display_name(), self.assertion.subject.as_str());
        if name == subject { name.to_owned() } else { format!("{name} ({subject})") }
    }
}

impl Operation for ArriveUnsolicited {
    type Service = Signin;
    type Mode = Issue;
    type Output = String;
    const NAME: &'static str = "ArriveUnsolicited";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the provider's signature is the proof; a session comes only after the person confirms" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<String, Error> {
        let broker = call.broker;
        let source = broker.federation.unsolicited_source(&self.response).map_err(stale_response)?;
        call.tx.note("source", &source.name);
        let identified = match broker.federation.complete_unsolicited(&source, self.response).await {
            Ok(identified) => identified,
            Err(failure) => {
                call.tx.note("checks", &failure.recording);
                return Err(failure.error);
            }
        };
        let handle = broker.random.token();
        let arrived = Arrived {
            source: source.name.to_string(),
            label: source.label.clone(),
            assertion: identified.assertion,
            at_provider: identified.at_provider,
            recording: identified.recording,
            at: call.caller.origin.time,
            browser: None,
        };
        let expires = call.caller.origin.time.plus_seconds(ARRIVED_SECONDS);
        broker.store.ephemeral().put(UNSOLICITED, &handle, &arrived, expires).await?;
        Ok(handle)
    }
}

/// Who arrived, for the page that asks them to confirm.
#[derive(Debug, Deserialize)]
pub struct LookUpArrival {
    /// From [`ArriveUnsolicited`].
    pub handle: String,
    /// The browser's binding: the first that looks keeps it.
    pub binding: Secret<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct ArrivedPerson {
    /// Label of the source.
    pub source: String,
    /// Name of the person.
    pub person: String,
}

impl Operation for LookUpArrival {
    type Service = Signin;
    type Mode = Read;
    type Output = ArrivedPerson;
    const NAME: &'static str = "LookUpArrival";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "only the browser that brought the provider's answer knows the handle" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ArrivedPerson, Error> {
        let ephemeral = call.broker.store.ephemeral();
        let arrived: Option<Arrived> = ephemeral.get(UNSOLICITED, &self.handle).await?;
        let mut arrived = arrived.ok_or_else(|| stale_response("arrival_unknown: used, expired or never made"))?;
        let browser = sha256_hex(self.binding.expose());
        if arrived.browser.get_or_insert_with(|| browser.clone()) != &browser {
            return Err(stale_response("arrival_other_browser: the arrival was shown to another browser"));
        }
        ephemeral.put(UNSOLICITED, &self.handle, &arrived, arrived.at.plus_seconds(ARRIVED_SECONDS)).await?;
        Ok(ArrivedPerson { person: arrived.person(), source: arrived.label })
    }
}

/// Completes a sign-in with what the provider (or the password form) sent.
#[derive(Deserialize)]
pub struct CompleteSignIn {
    /// The source the answer came for, where its address says so.
    pub source: Option<String>,
    /// The browser's binding; none when it brought no cookie.
    pub binding: Option<Secret<String>>,
    /// The answer.
    pub answer: Answer,
}

/// An answer to a step.
#[derive(Deserialize)]
pub enum Answer {
    /// It came with the browser's cookie.
    Direct {
        /// Names the step.
        handle: String,
        /// What came.
        arrival: Arrival,
    },
    /// It waits under the step's own handle, see [`ParkSamlResponse`].
    Parked {
        /// Good once.
        handle: String,
    },
    /// The same, where the sign-in began at the provider.
    Unsolicited {
        /// Good once.
        handle: String,
    },
}

/// Someone signed in.
#[derive(Debug, Serialize)]
pub struct CompletedSignIn {
    /// Their session; none when it was a test.
    pub session: Option<PortalSession>,
    /// What follows.
    pub continuation: Continuation,
}

impl Operation for CompleteSignIn {
    type Service = Signin;
    type Mode = Issue;
    type Output = CompletedSignIn;
    const NAME: &'static str = "CompleteSignIn";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the provider's answer is the proof; it is verified before anything else" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<CompletedSignIn, Error> {
        let (broker, now) = (call.broker, call.caller.origin.time);
        let ephemeral = broker.store.ephemeral();
        let stale = || Error::new(ErrorKind::StaleStep, "This sign-in has expired. Please sign in again.");
        let mut vouched = now;
        let (outcome, continuation) = match self.answer {
            Answer::Unsolicited { handle } => {
                let arrived: Option<Arrived> = ephemeral.take(UNSOLICITED, &handle).await?;
                let arrived = arrived.ok_or_else(stale)?;
                let binding = self.binding.as_ref().map(|binding| sha256_hex(binding.expose()));
                if binding.is_none() || arrived.browser != binding {
                    return Err(stale_response("arrival_other_browser: the arrival was shown to another browser"));
                }
                let Arrived { source: name, assertion, at_provider, recording, at, .. } = arrived;
                source(call, &name)?;
                vouched = at;
                let identified = Identified { assertion, at_provider, refresh: None, recording };
                (Ok(identified), Continuation::Portal)
            }
            Answer::Direct { handle, arrival } => {
                let binding = self.binding.as_ref();
                answer_step(call, self.source.as_deref(), binding, &handle, arrival).await?
            }
            Answer::Parked { handle } => {
                let parked: Option<String> = ephemeral.take(PARKED, &handle).await?;
                let arrival = Arrival::Saml(STANDARD.decode(parked.ok_or_else(stale)?).map_err(Error::internal)?);
                let binding = self.binding.as_ref();
                answer_step(call, self.source.as_deref(), binding, &handle, arrival).await?
            }
        };
        let identified = match outcome {
            Ok(identified) => identified,
            Err(failure) => {
                call.tx.note("checks", &failure.recording);
                return Err(failure.error);
            }
        };
        call.tx.note("checks", &identified.recording);
        call.tx.note("identity", &identified.assertion);
        if continuation == Continuation::Test {
            call.tx.note("test", true);
            return Ok(CompletedSignIn { session: None, continuation });
        }
        let Next::Session(authenticated) =
            signin::next(SignIn::identified(identified.assertion, identified.at_provider, vouched));
        let session = authenticated.session(broker.random.uuid(), broker.limits.portal_seconds, now);
        if let Some(grant) = identified.refresh {
            let RefreshGrant { refresh_token, id_claims } = grant;
            let refreshable = Refreshable { refresh_token, asked: now, identity: session.identity.clone(), id_claims };
            ephemeral.put(FRESH, &session.id, &refreshable, session.expires).await?;
        }
        call.tx.note("session", &session.id);
        Ok(CompletedSignIn { session: Some(session), continuation })
    }
}

fn source(call: &mut Call<'_, CompleteSignIn>, name: &str) -> Result<std::sync::Arc<IdentityProvider>, Error> {
    call.tx.note("source", name);
    let source = call.tx.snapshot.identity_source(name).cloned();
    source.ok_or_else(|| Error::new(ErrorKind::StaleStep, "This way to sign in does not exist any more."))
}

/// Uses up the step that was answered, and checks the answer.
async fn answer_step(
    call: &mut Call<'_, CompleteSignIn>,
    from: Option<&str>,
    binding: Option<&Secret<String>>,
    handle: &str,
    arrival: Arrival,
) -> Result<(Result<Identified, Failure>, Continuation), Error> {
    let broker = call.broker;
    let step = step::take(broker.store.ephemeral(), handle, binding.map(|binding| binding.expose().as_str())).await?;
    let source = source(call, &step.source)?;
    if from.is_some_and(|from| from != step.source) {
        return Err(Error::new(ErrorKind::StaleStep, "This sign-in is for another source."));
    }
    let outcome = broker.federation.complete(&source, &step.pending, arrival, call.caller.origin.source_ip).await;
    Ok((outcome, step.continuation))
}

/// What a person is about to approve.
#[derive(Debug, Deserialize)]
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
#[derive(Debug, Deserialize)]
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
        let session = call.caller.person().ok_or_else(|| Error::internal("a person's call without a person"))?;
        let (code, device) = device(call.broker, &self.user_code).await?;
        call.tx.note("clientName", &device.client_name);
        call.tx.note("approved", self.approve);
        let decision = if self.approve { DeviceDecision::Approved(Box::new(session.clone())) } else { DeviceDecision::Denied };
        let ephemeral = call.broker.store.ephemeral();
        ephemeral.put(DECISION, &code, &decision, device.expires).await?;
        ephemeral.delete(USER_CODE, &device.user_code).await
    }
}

/// An authorization request, checked (RFC 6749 section 4.1.1, RFC 7636).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct AuthorizationRequest {
    /// `code`.
    pub response_type: String,
    /// From the registration.
    pub client_id: String,
    /// A loopback address, with the port the client listens on.
    pub redirect_uri: String,
    /// Comes back unchanged.
    pub state: String,
    /// PKCE.
    pub code_challenge: String,
    /// `S256`.
    pub code_challenge_method: String,
}

fn check(broker: &Broker, request: &AuthorizationRequest, now: Timestamp) -> Result<OAuthClient, Error> {
    let client = registration(broker, &request.client_id, now).ok_or_else(|| {
        Error::new(ErrorKind::InvalidClient, "This command line is not registered here any more. Start the sign-in again.")
    })?;
    // Nothing is sent to an address that was not registered, not even an error.
    let wanted = loopback(&request.redirect_uri);
    let registered = client.redirect_uris.iter().any(|uri| wanted.is_some() && loopback(uri) == wanted);
    if !registered {
        return Err(Error::new(ErrorKind::InvalidRedirect, "The address to return to is not one this command line registered."));
    }
    let pkce = request.code_challenge_method == "S256" && request.code_challenge.len() == 43;
    if request.response_type != "code" || !pkce || request.state.is_empty() || request.state.len() > 512 {
        return Err(Error::invalid(
            "The request of the command line is not complete (code, state and an S256 challenge are needed).",
        ));
    }
    Ok(client)
}

/// Which client asks, for the approval page.
#[derive(Debug, Deserialize)]
pub struct LookUpClient {
    /// The request.
    pub request: AuthorizationRequest,
}

impl Operation for LookUpClient {
    type Service = Signin;
    type Mode = Read;
    type Output = String;
    const NAME: &'static str = "LookUpClient";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "the request came from the person's own machine" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<String, Error> {
        Ok(check(call.broker, &self.request, call.caller.origin.time)?.name)
    }
}

/// Answers an authorization request. Returns where to send the browser.
#[derive(Debug, Deserialize)]
pub struct Authorize {
    /// The request.
    pub request: AuthorizationRequest,
    /// Yes or no.
    pub approve: bool,
}

impl Operation for Authorize {
    type Service = Signin;
    type Mode = Issue;
    type Output = String;
    const NAME: &'static str = "Authorize";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person may lend their own session to a command line" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<String, Error> {
        let session = call.caller.person().ok_or_else(|| Error::internal("a person's call without a person"))?.clone();
        let client = check(call.broker, &self.request, call.caller.origin.time)?;
        call.tx.note("clientName", &client.name);
        call.tx.note("approved", self.approve);
        let mut target =
            url::Url::parse(&self.request.redirect_uri).map_err(|_| Error::invalid("the redirect address is malformed"))?;
        if self.approve {
            let code = call.broker.random.token();
            let grant = AuthorizationCode {
                client_id: self.request.client_id,
                redirect_uri: self.request.redirect_uri,
                code_challenge: self.request.code_challenge,
                session,
            };
            let expires = call.caller.origin.time.plus_seconds(AUTHORIZATION_CODE_SECONDS);
            call.broker.store.ephemeral().put(CODE, &code, &grant, expires).await?;
            target.query_pairs_mut().append_pair("code", &code);
        } else {
            target.query_pairs_mut().append_pair("error", "access_denied");
        }
        let issuer = call.broker.federation.addresses.at("");
        target.query_pairs_mut().append_pair("state", &self.request.state).append_pair("iss", &issuer);
        Ok(target.to_string())
    }
}

/// `getSigninToken`: session credentials for a one-time console link.
#[derive(Debug, Deserialize)]
pub struct GetSigninToken {
    /// The credentials.
    pub credentials: ConsoleCredentials,
    /// Length of the console session, in seconds.
    pub session_duration: Option<u32>,
}

impl Operation for GetSigninToken {
    type Service = Signin;
    type Mode = Issue;
    type Output = SigninTokenAnswer;
    const NAME: &'static str = "GetSigninToken";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the session credentials in the request are the proof" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SigninTokenAnswer, Error> {
        let broker = call.broker;
        let now = call.caller.origin.time;
        let (token, session) = signin_token(&self.credentials, self.session_duration, broker.store.ring(), &*broker.random, now)?;
        standing(&call.tx.snapshot, &session)?;
        call.tx.note("assumedRole", session.arn());
        Ok(SigninTokenAnswer { signin_token: token })
    }
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SigninTokenAnswer {
    /// Good once, for fifteen minutes.
    #[serde(rename = "SigninToken", serialize_with = "Secret::reveal")]
    pub signin_token: Secret<String>,
}

/// A session whose role has gone opens nothing.
fn standing(snapshot: &crate::store::Snapshot, session: &RoleSession) -> Result<(), Error> {
    match snapshot.role_by_id(&session.role_id) {
        Some(_) => Ok(()),
        None => Err(Error::new(ErrorKind::UnknownKey, "The role of these credentials does not exist any more")),
    }
}

/// `login`: a one-time token for a console session.
#[derive(Debug, Deserialize)]
pub struct ConsoleLogin {
    /// From `getSigninToken`.
    pub signin_token: Secret<String>,
}

/// A console session.
#[derive(Debug, Serialize)]
pub struct ConsoleSession {
    /// The role session whose console it is.
    pub session: RoleSession,
    /// When it ends.
    pub until: Timestamp,
}

impl Operation for ConsoleLogin {
    type Service = Signin;
    type Mode = Issue;
    type Output = ConsoleSession;
    const NAME: &'static str = "ConsoleLogin";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the sign-in token is the proof; it is good once" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ConsoleSession, Error> {
        let store = &call.broker.store;
        let token = open_signin_token(store.ring(), self.signin_token.expose(), call.caller.origin.time)?;
        if !store.ephemeral().put_new("signin-token", &token.id, &(), token.expires.plus_seconds(1)).await? {
            let public = "This console link was used before. Open the console again from the portal.";
            return Err(Error::new(ErrorKind::StaleStep, public).with_private("signin_token_replayed"));
        }
        standing(&call.tx.snapshot, &token.session)?;
        call.tx.note("assumedRole", token.session.arn());
        Ok(ConsoleSession { session: token.session, until: token.console_until })
    }
}

/// The portal's console button: takes the role and opens its console in one step, with no token in any address.
#[derive(Debug, Deserialize)]
pub struct OpenConsole {
    /// The account.
    pub account_id: AccountId,
    /// The role.
    pub role_name: String,
}

impl Operation for OpenConsole {
    type Service = Signin;
    type Mode = Issue;
    type Output = ConsoleSession;
    const NAME: &'static str = "OpenConsole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(GetRoleCredentials::access_to(scope, &self.account_id, &self.role_name))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ConsoleSession, Error> {
        let request = GetRoleCredentials::request(call)?;
        let session = sts::issue(call, request)?.session;
        Ok(ConsoleSession { until: session.expires, session })
    }
}
