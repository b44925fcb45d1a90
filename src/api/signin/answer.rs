//! What comes back from a provider, or from the password form, and the session that it makes.

use super::{Signin, enrolment, own_sessions};
use crate::store::EphemeralKind;
use crate::{
    crypto::sha256_hex,
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        factor::Factor,
        iam::{FactorRequirement, IdentityProvider},
        secret::hidden,
        session::{IdentityAssertion, PortalSession, ProviderSession, RequestOrigin},
    },
    federation::{
        Arrival, Failure, Identified, Recording,
        mapping::takeable_roles,
        oidc::refresh::{RefreshGrant, Refreshable},
    },
    gateway::{Access, Broker, Call, FRESH, Issue, Operation, Read, Scope, person_context},
    signin::{
        self, Authenticated, FactorState, Next, SignIn,
        factor::{FactorStep, Wanted},
        step::{self, Continuation},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// Keeps a SAML response that was posted across sites, where the browser sends no `SameSite=Lax` cookie, until the browser
/// comes back for it with one (a redirect later). Only for a step that waits; any other may be [`ArriveUnsolicited`].
#[derive(Serialize, Deserialize)]
pub struct ParkSamlResponse {
    /// `RelayState`: names the step.
    pub handle: String,
    /// XML.
    #[serde(serialize_with = "hidden")]
    pub response: Vec<u8>,
}

const PARKED: EphemeralKind = EphemeralKind::passing("parked-response");
const UNSOLICITED: EphemeralKind = EphemeralKind::passing("unsolicited-response");
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
#[derive(Serialize, Deserialize)]
pub struct ArriveUnsolicited {
    /// XML.
    #[serde(serialize_with = "hidden")]
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
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Serialize, Deserialize)]
pub struct CompleteSignIn {
    /// The source the answer came for, where its address says so.
    pub source: Option<String>,
    /// The browser's binding; none when it brought no cookie.
    pub binding: Option<Secret<String>>,
    /// The answer.
    pub answer: Answer,
    /// The reset link that this browser opened, if any.
    pub reset: Option<Secret<String>>,
}

/// An answer to a step.
#[derive(Serialize, Deserialize)]
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
    /// What came of it.
    pub outcome: SignInOutcome,
    /// What follows.
    pub continuation: Continuation,
}

impl CompletedSignIn {
    /// The session, where nothing more was asked.
    #[must_use]
    pub fn session(self) -> Option<PortalSession> {
        match self.outcome {
            SignInOutcome::Session(session) => Some(*session),
            SignInOutcome::Factor { .. } | SignInOutcome::Test => None,
        }
    }
}

/// What comes of somebody's having been identified.
#[derive(Debug, Serialize)]
pub enum SignInOutcome {
    /// A session.
    Session(Box<PortalSession>),
    /// A second factor is to be given, or enrolled.
    Factor {
        /// Names the step.
        handle: String,
    },
    /// Nothing: it was a test.
    Test,
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
        let mut identified = match outcome {
            Ok(identified) => identified,
            Err(failure) => {
                call.tx.note("checks", &failure.recording);
                return Err(failure.error);
            }
        };
        let context = person_context(&call.tx.snapshot, &identified.assertion, None, &call.caller.origin);
        let roles = takeable_roles(&call.tx.snapshot, &identified.assertion, &context);
        identified.recording.roles(roles.iter().map(|role| &role.role));
        call.tx.note("checks", &identified.recording);
        call.tx.note("identity", &identified.assertion);
        if continuation == Continuation::Test {
            call.tx.note("test", true);
            return Ok(CompletedSignIn { outcome: SignInOutcome::Test, continuation });
        }
        let reset = enrolment::reset_of(ephemeral, &identified.assertion.factor_owner(), self.reset.as_ref()).await?;
        let factors = FactorState { anew: reset.is_some(), ..factor_state(call, &identified.assertion).await? };
        let Identified { assertion, at_provider, refresh, .. } = identified;
        let (sign_in, wanted) = match signin::next(SignIn::identified(assertion, at_provider, refresh, vouched), factors) {
            Next::Session(authenticated) => {
                let session = open_session(broker, authenticated, &call.caller.origin).await?;
                call.tx.note("session", &session.id);
                return Ok(CompletedSignIn { outcome: SignInOutcome::Session(Box::new(session)), continuation });
            }
            Next::Factor(sign_in) => (sign_in, Wanted::Factor),
            Next::Enrolment(sign_in) => (sign_in, Wanted::Enrolment),
        };
        call.tx.note("waitsFor", wanted);
        let binding = self.binding.ok_or_else(stale)?;
        let handle = broker.random.token();
        let step = FactorStep::new(sign_in, wanted, continuation.clone(), binding.expose(), now);
        FactorStep { reset, ..step }.keep(ephemeral, &handle).await?;
        Ok(CompletedSignIn { outcome: SignInOutcome::Factor { handle }, continuation })
    }
}

/// What the dispatcher has to know of the person's factors.
async fn factor_state(call: &mut Call<'_, CompleteSignIn>, identity: &IdentityAssertion) -> Result<FactorState, Error> {
    let snapshot = call.tx.snapshot.clone();
    let settings = snapshot.source_of(identity).map(|source| source.second_factor.clone()).unwrap_or_default();
    let (person, now) = (identity.factor_owner(), call.caller.origin.time);
    let enrolled = call.broker.store.read().factors(&person).await?.iter().any(Factor::is_primary);
    let may_wait = settings.required == FactorRequirement::Always && settings.grace_days > 0 && !enrolled;
    let grace = may_wait && {
        let since = call.tx.factor_grace(&person, now).await?;
        now.seconds_since(since) < i64::from(settings.grace_days) * 86_400
    };
    Ok(FactorState {
        required: settings.required,
        asserted: snapshot.asserted_factor(identity).is_some(),
        enrolled,
        grace,
        anew: false,
    })
}

/// The session of somebody who has shown everything, with what its claims can be renewed by.
pub(super) async fn open_session(
    broker: &Broker,
    authenticated: SignIn<Authenticated>,
    origin: &RequestOrigin,
) -> Result<PortalSession, Error> {
    let (session, grant) = authenticated.session(broker.random.uuid(), broker.limits.portal_seconds, origin.time);
    let ephemeral = broker.store.ephemeral();
    if let Some(RefreshGrant { refresh_token, id_claims }) = grant {
        let refreshable = Refreshable { refresh_token, asked: origin.time, identity: session.identity.clone(), id_claims };
        ephemeral.put(FRESH, &session.id, &refreshable, session.expires).await?;
    }
    own_sessions::remember(ephemeral, &session, origin, None).await?;
    Ok(session)
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
    let place = matches!(arrival, Arrival::Password { .. }).then(|| broker.federation.password_place());
    let _place = place.transpose()?;
    let step = step::take(broker.store.ephemeral(), handle, binding.map(|binding| binding.expose().as_str())).await?;
    let source = source(call, &step.source)?;
    if from.is_some_and(|from| from != step.source) {
        return Err(Error::new(ErrorKind::StaleStep, "This sign-in is for another source."));
    }
    let source = step.continuation.demands(source);
    let outcome = broker.federation.complete(&source, &step.pending, arrival, call.caller.origin.source_ip).await;
    Ok((outcome, step.continuation))
}
