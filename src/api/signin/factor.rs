//! Giving a second factor: between identity and session, or when a role asks somebody who is signed in.

use super::{Signin, answer::open_session};
use crate::{
    crypto::sha256_hex,
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        factor::{Factor, FactorKind},
        session::PortalSession,
    },
    federation::SIGN_IN_SECONDS,
    gateway::{Access, Broker, Call, FACTOR_GIVEN, Operation, Read, Scope, Write},
    signin::{
        SignIn,
        factor::{self, FactorAnswer, FactorStep, Wanted},
        passkey::{Challenge, Passkeys},
        step::Continuation,
    },
};
use serde::{Deserialize, Serialize};

/// A step of this browser, between identity and session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoundStep {
    /// Names it.
    pub handle: String,
    /// The browser's binding; none when it brought no cookie.
    pub binding: Option<Secret<String>>,
}

/// Who an operation on factors is about.
pub(super) enum Subject {
    /// Somebody who has no session yet.
    Waiting(String, Box<FactorStep>),
    /// Somebody who has.
    SignedIn(Box<PortalSession>),
}

impl Subject {
    /// The step's, or the caller's.
    pub(super) async fn of<O: Operation>(call: &Call<'_, O>, step: Option<&BoundStep>) -> Result<Self, Error> {
        if let Some(BoundStep { handle, binding }) = step {
            let step = FactorStep::find(call.broker.store.ephemeral(), handle, binding.as_ref()).await?;
            // Meanwhile the person may have set another password, or have been let go: then this is nobody's any more.
            let (identity, vouched) = (step.sign_in.identity(), step.sign_in.vouched());
            let ended = call.broker.store.snapshot().revocations.end_identity(identity, vouched);
            if ended || call.broker.federation.current(identity.clone()).await?.is_none() {
                return Err(Error::new(ErrorKind::StaleStep, "This sign-in is over. Please sign in again."));
            }
            return Ok(Self::Waiting(handle.clone(), Box::new(step)));
        }
        Ok(Self::SignedIn(Box::new(call.caller.portal_session()?.clone())))
    }

    /// The reset link that the person came with.
    pub(super) fn reset(&self) -> Option<&str> {
        match self {
            Self::Waiting(_, step) => step.reset.as_deref(),
            Self::SignedIn(_) => None,
        }
    }

    pub(super) const fn identity(&self) -> &crate::domain::session::IdentityAssertion {
        match self {
            Self::Waiting(_, step) => step.sign_in.identity(),
            Self::SignedIn(session) => &session.identity,
        }
    }

    pub(super) fn owner(&self) -> String {
        self.identity().factor_owner()
    }

    /// The session that the factor opens; for somebody signed in it is noted that one was given.
    pub(super) async fn authenticated<O: Operation>(
        self,
        call: &Call<'_, O>,
    ) -> Result<(Option<PortalSession>, Continuation), Error> {
        let (broker, now) = (call.broker, call.caller.origin.time);
        match self {
            Self::Waiting(handle, step) => {
                let continuation = step.continuation.clone();
                let authenticated = step.given(broker.store.ephemeral(), &handle, now).await?;
                Ok((Some(open_session(broker, authenticated, &call.caller.origin).await?), continuation))
            }
            Self::SignedIn(session) => {
                note_given(broker, &session, now).await?;
                Ok((None, Continuation::Portal))
            }
        }
    }
}

/// Remembers that the person gave a factor: for this session and those it lent itself to.
async fn note_given(broker: &Broker, session: &PortalSession, now: Timestamp) -> Result<(), Error> {
    let root = session.lent_by.as_ref().unwrap_or(&session.id);
    broker.store.ephemeral().put(FACTOR_GIVEN, root, &now, session.expires).await
}

/// Who may call what is about a step or about the caller.
pub(super) fn own(step: Option<&BoundStep>) -> Access {
    match step {
        Some(_) => Access::Public { because: "somebody their source vouched for, whose step is bound to this browser" },
        None => Access::Person { because: "a person's own second factors" },
    }
}

/// What a browser's authenticator is asked.
#[derive(Debug, Serialize)]
pub struct PasskeyChallenge {
    /// Names the ceremony: good once.
    pub handle: String,
    /// JSON of the options.
    pub options: String,
}

/// Keeps a challenge's ceremony for its owner.
pub(super) async fn challenge(broker: &Broker, owner: &str, asked: Challenge) -> Result<PasskeyChallenge, Error> {
    let (handle, now) = (broker.random.token(), broker.clock.now());
    factor::keep_ceremony(broker.store.ephemeral(), &handle, owner, &asked.ceremony, now).await?;
    Ok(PasskeyChallenge { handle, options: asked.options })
}

/// Which factors can be given.
#[derive(Debug, Serialize, Deserialize)]
pub struct LookUpFactors {
    /// A step; none for somebody signed in.
    pub step: Option<BoundStep>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct FactorChoice {
    /// Whom it is about.
    pub person: String,
    /// Whether a first factor has to be enrolled instead.
    pub enrolment: bool,
    /// What the authenticator is asked, where the person has passkeys.
    pub passkey: Option<PasskeyChallenge>,
    /// Whether the person has an authenticator app.
    pub totp: bool,
    /// Whether the person has recovery codes left.
    pub recovery: bool,
}

impl Operation for LookUpFactors {
    type Service = Signin;
    type Mode = Read;
    type Output = FactorChoice;
    const NAME: &'static str = "LookUpFactors";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(own(self.step.as_ref()))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<FactorChoice, Error> {
        let subject = Subject::of(call, self.step.as_ref()).await?;
        let person = subject.owner();
        let factors = call.tx.factors(&person).await?;
        let keys: Vec<&Secret<String>> = factors.iter().filter_map(|factor| factor.kind.passkey_state()).collect();
        let passkeys = Passkeys::at(&call.broker.federation.addresses.public_url).filter(|_| !keys.is_empty());
        let passkey = match passkeys {
            Some(passkeys) => Some(challenge(call.broker, &person, passkeys.ask(&keys)?).await?),
            None => None,
        };
        let recovery = |factor: &Factor| matches!(&factor.kind, FactorKind::RecoveryCodes { hashes } if !hashes.is_empty());
        let enrolment = match &subject {
            Subject::Waiting(_, step) => step.wanted == Wanted::Enrolment,
            Subject::SignedIn(_) => !factors.iter().any(Factor::is_primary),
        };
        Ok(FactorChoice {
            person: subject.identity().display_name().to_owned(),
            enrolment,
            passkey,
            totp: factors.iter().any(|factor| matches!(factor.kind, FactorKind::Totp { .. })),
            recovery: factors.iter().any(recovery),
        })
    }
}

/// Gives a second factor.
#[derive(Debug, Serialize, Deserialize)]
pub struct GiveFactor {
    /// A step; none for somebody signed in.
    pub step: Option<BoundStep>,
    /// The factor.
    pub answer: FactorAnswer,
}

/// What came of a factor.
#[derive(Debug, Serialize)]
pub struct FactorGiven {
    /// The session that it opened; none for somebody who had one.
    pub session: Option<PortalSession>,
    /// What follows.
    pub continuation: Continuation,
    /// What kind it was.
    pub kind: &'static str,
}

impl Operation for GiveFactor {
    type Service = Signin;
    type Mode = Write;
    type Output = FactorGiven;
    const NAME: &'static str = "GiveFactor";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(own(self.step.as_ref()))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<FactorGiven, Error> {
        let subject = Subject::of(call, self.step.as_ref()).await?;
        let person = subject.owner();
        call.tx.note("person", &person);
        if matches!(&subject, Subject::Waiting(_, step) if step.wanted == Wanted::Enrolment) {
            return Err(Error::new(ErrorKind::StaleStep, "Set up a second factor first."));
        }
        let origin = &call.caller.origin;
        let factors = call.tx.factors(&person).await?;
        let federation = &call.broker.federation;
        let factor = factor::check(federation, &person, factors, self.answer, origin.source_ip, origin.time).await?;
        call.tx.note("factor", &factor.id);
        let kind = factor.kind.word();
        call.tx.note("kind", kind);
        call.tx.put_factor(&factor).await?;
        let (session, continuation) = subject.authenticated(call).await?;
        if let Some(session) = &session {
            call.tx.note("session", &session.id);
        }
        Ok(FactorGiven { session, continuation, kind })
    }
}

/// Asks the browser for any passkey: a sign-in without a name.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginPasskeySignIn {
    /// The browser's binding.
    pub binding: Secret<String>,
}

impl Operation for BeginPasskeySignIn {
    type Service = Signin;
    type Mode = Read;
    type Output = Option<PasskeyChallenge>;
    const NAME: &'static str = "BeginPasskeySignIn";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "nobody has signed in yet; the challenge grants nothing" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Option<PasskeyChallenge>, Error> {
        let Some(passkeys) = Passkeys::at(&call.broker.federation.addresses.public_url) else { return Ok(None) };
        let browser = format!("browser {}", sha256_hex(self.binding.expose()));
        challenge(call.broker, &browser, passkeys.discover()?).await.map(Some)
    }
}

/// Signs a person of the directory in with a passkey alone: whoever unlocked it gave possession and knowledge, or biometry.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignInWithPasskey {
    /// The browser's binding.
    pub binding: Option<Secret<String>>,
    /// Names the ceremony.
    pub handle: String,
    /// JSON of the browser's `PublicKeyCredential`.
    pub credential: Secret<String>,
    /// What follows.
    pub continuation: Continuation,
}

impl Operation for SignInWithPasskey {
    type Service = Signin;
    type Mode = Write;
    type Output = FactorGiven;
    const NAME: &'static str = "SignInWithPasskey";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the authenticator's signature is the proof; it is verified before anything else" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<FactorGiven, Error> {
        let broker = call.broker;
        let binding = self.binding.ok_or_else(|| Error::new(ErrorKind::StaleStep, "Please sign in again."))?;
        let browser = format!("browser {}", sha256_hex(binding.expose()));
        let ceremony = factor::take_ceremony(broker.store.ephemeral(), &self.handle, &browser).await?;
        let known = broker.store.read().passkey(&Passkeys::credential_id(&self.credential)?).await?;
        let mut factor = factor::by_passkey(&broker.federation, known, ceremony, &self.credential)?;
        let now = call.caller.origin.time;
        factor.used = Some(now);
        call.tx.note("person", &factor.person);
        call.tx.note("factor", &factor.id);
        let identity = broker.federation.person_of_directory(&factor.person).await?;
        let identity = identity.ok_or_else(|| {
            let public = "This passkey is a second factor: sign in with your identity provider first.";
            Error::new(ErrorKind::RejectedIdentity, public).with_private("passkey_not_of_directory: or the person is disabled")
        })?;
        call.tx.note("source", &identity.provider.name);
        call.tx.note("identity", &identity);
        // Between our look and the pen it may have been removed.
        let present = call.tx.factors(&factor.person).await?;
        if !present.iter().any(|other| other.id == factor.id) {
            return Err(Error::new(ErrorKind::InvalidAuthenticationCode, "This passkey is not known here."));
        }
        call.tx.put_factor(&factor).await?;
        let session = open_session(broker, SignIn::by_passkey(identity, now), &call.caller.origin).await?;
        call.tx.note("session", &session.id);
        Ok(FactorGiven { session: Some(session), continuation: self.continuation, kind: factor.kind.word() })
    }
}

/// How long a factor counts as just given, in seconds: for changes of the person's own factors.
pub(super) const JUST_GIVEN_SECONDS: i64 = SIGN_IN_SECONDS;
