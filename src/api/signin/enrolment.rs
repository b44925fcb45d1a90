//! Enrolling, removing and resetting second factors.

use super::{
    Signin, administered,
    factor::{BoundStep, JUST_GIVEN_SECONDS, PasskeyChallenge, Subject, challenge, own},
};
use crate::{
    crypto::{sha256_hex, totp},
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        factor::{Factor, FactorKind, MAX_FACTORS},
        iam::Authenticator,
        session::{IdentityAssertion, PortalSession},
    },
    gateway::{Access, Call, Issue, Operation, Read, Scope, Write},
    signin::{
        factor::{self, CEREMONY_SECONDS, Wanted, recovery_digest},
        passkey::Passkeys,
        step::Continuation,
    },
    store::{Ephemeral, EphemeralKind, Snapshot},
};
use serde::{Deserialize, Serialize};

/// A seed that waits for its first code.
const SEED: EphemeralKind = EphemeralKind::passing("totp-seed");
/// A link with which somebody who lost everything starts anew, by whose it is.
const RESET: EphemeralKind = EphemeralKind::lasting("factor-reset");
/// How long such a link is good, in seconds.
pub const RESET_SECONDS: i64 = 86_400;
/// Longest name of a factor, in characters.
const MAX_NAME: usize = 60;
/// Codes of one set.
const RECOVERY_CODES: usize = 10;

/// Refuses a change of factors by a session that somebody may have left open, or taken: the person gave a factor just now, or,
/// where there is none, signed in just now.
fn check_just_given(subject: &Subject, factors: &[Factor], snapshot: &Snapshot, now: Timestamp) -> Result<(), Error> {
    let enrolled = factors.iter().any(Factor::is_primary);
    let session = match subject {
        // Meanwhile the person may have enrolled one elsewhere: then this is not theirs.
        Subject::Waiting(..) if enrolled && subject.reset().is_none() => {
            return Err(Error::new(ErrorKind::StaleStep, "You have a second factor by now: sign in again."));
        }
        Subject::Waiting(..) => return Ok(()),
        Subject::SignedIn(session) => session,
    };
    let identity = &session.identity;
    let shown = match (enrolled, identity.asserted_authentication) {
        (true, _) => session.factor_given,
        (false, Some(asserted)) => Some(asserted),
        // A service without OpenID says nothing about when: that it vouched is all there is.
        (false, None) => snapshot.source_of(identity).filter(|source| source.is_oauth2()).map(|_| session.vouched()),
    };
    match shown.is_some_and(|at| now.seconds_since(at) <= JUST_GIVEN_SECONDS) {
        true => Ok(()),
        false if enrolled => Err(Error::new(ErrorKind::StepUpRequired, "Give a second factor first.")),
        false => Err(Error::new(ErrorKind::StepUpRequired, "Sign in again first: you authenticated some time ago.")),
    }
}

/// Begins to enrol a factor.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginEnrolment {
    /// A step; none for somebody signed in.
    pub step: Option<BoundStep>,
    /// The seed of a try before: who mistypes a code need not scan again.
    pub totp_handle: Option<String>,
}

/// What can be enrolled: both kinds at once, so that the page needs no choice first.
#[derive(Debug, Serialize)]
pub struct Enrolment {
    /// Whom it is for.
    pub person: String,
    /// For the browser's authenticator; none where passkeys can't be.
    pub passkey: Option<PasskeyChallenge>,
    /// Models that are allowed, by name; none: all, and authenticator apps.
    pub allowed: Vec<String>,
    /// Names the authenticator app's seed.
    pub totp_handle: String,
    /// The seed in base32, to type.
    #[serde(skip)]
    pub seed: Secret<String>,
    /// The seed as a picture: SVG of a QR code of the `otpauth` address.
    #[serde(skip)]
    pub picture: Secret<String>,
}

impl Operation for BeginEnrolment {
    type Service = Signin;
    type Mode = Read;
    type Output = Enrolment;
    const NAME: &'static str = "BeginEnrolment";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(own(self.step.as_ref()))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Enrolment, Error> {
        let (broker, now) = (call.broker, call.caller.origin.time);
        let subject = Subject::of(call, self.step.as_ref()).await?;
        check_enrolment(&subject)?;
        let (person, identity) = (subject.owner(), subject.identity());
        let factors = call.tx.factors(&person).await?;
        check_just_given(&subject, &factors, &call.scope.snapshot, now)?;
        let account = short(identity.email.as_deref().unwrap_or_else(|| identity.display_name()));
        let present = factors.iter().filter_map(|factor| factor.kind.passkey_state());
        let allowed = allowed(&call.scope.snapshot, identity);
        let passkey = match Passkeys::at(&broker.federation.addresses.public_url) {
            Some(passkeys) => {
                let shown = short(identity.display_name());
                let asked = passkeys.register(&person, &account, &shown, &present.collect::<Vec<_>>(), allowed)?;
                Some(challenge(broker, &person, asked).await?)
            }
            None => None,
        };
        let ephemeral = broker.store.ephemeral();
        let handle = self.totp_handle.unwrap_or_else(|| broker.random.token());
        let known: Option<(String, Secret<Vec<u8>>)> = ephemeral.get(SEED, &handle).await?;
        let (handle, seed) = match known {
            Some((owner, seed)) if owner == person => (handle, seed),
            _ => (broker.random.token(), Secret::new(broker.random.bytes::<{ totp::SEED_BYTES }>().to_vec())),
        };
        ephemeral.put(SEED, &handle, &(&person, seed.expose()), now.plus_seconds(CEREMONY_SECONDS)).await?;
        let organization = call.tx.snapshot.organization.as_ref().map_or("Daypass", |organization| organization.name.as_str());
        let (text, picture) = totp::shown(&seed, &short(organization), &account)?;
        let person = identity.display_name().to_owned();
        let allowed = allowed.iter().map(|model| model.name.clone()).collect();
        Ok(Enrolment { person, passkey, allowed, totp_handle: handle, seed: text, picture })
    }
}

/// The models that people of this source may enrol; none: any.
fn allowed<'s>(snapshot: &'s Snapshot, identity: &IdentityAssertion) -> &'s [Authenticator] {
    snapshot.source_of(identity).map(|source| source.second_factor.authenticators.as_slice()).unwrap_or_default()
}

/// Authenticators have room for 64 bytes of a name, and a picture should stay readable.
fn short(name: &str) -> String {
    let mut name = name.trim().to_owned();
    name.truncate(name.floor_char_boundary(64));
    if name.is_empty() { "?".to_owned() } else { name }
}

fn check_enrolment(subject: &Subject) -> Result<(), Error> {
    if subject.identity().subject_type.as_deref() == Some("transient") {
        return Err(Error::invalid(
            "Your identity provider calls you differently each time: a second factor can't be kept for you.",
        ));
    }
    match subject {
        // Who has a factor gives it; only then another may be enrolled.
        Subject::Waiting(_, step) if step.wanted == Wanted::Factor => {
            Err(Error::new(ErrorKind::StaleStep, "Give your second factor first."))
        }
        Subject::Waiting(..) | Subject::SignedIn(_) => Ok(()),
    }
}

/// The proof that a factor works.
#[derive(Debug, Serialize, Deserialize)]
pub enum EnrolmentAnswer {
    /// The first code of an authenticator app.
    Totp {
        /// From [`BeginEnrolment`].
        handle: String,
        /// Six digits.
        code: Secret<String>,
    },
    /// A new passkey.
    Passkey {
        /// From [`BeginEnrolment`].
        handle: String,
        /// JSON of the browser's `PublicKeyCredential`.
        credential: Secret<String>,
    },
}

/// Enrols a factor.
#[derive(Debug, Serialize, Deserialize)]
pub struct CompleteEnrolment {
    /// A step; none for somebody signed in.
    pub step: Option<BoundStep>,
    /// What the person calls it; empty: what it is.
    pub name: String,
    /// The proof.
    pub answer: EnrolmentAnswer,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Enrolled {
    /// The session that it opened; none for somebody who had one.
    pub session: Option<PortalSession>,
    /// What follows.
    pub continuation: Continuation,
    /// Shown once, with the first factor.
    #[serde(skip)]
    pub recovery_codes: Vec<Secret<String>>,
}

impl Operation for CompleteEnrolment {
    type Service = Signin;
    type Mode = Write;
    type Output = Enrolled;
    const NAME: &'static str = "CompleteEnrolment";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(own(self.step.as_ref()))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Enrolled, Error> {
        let (broker, now) = (call.broker, call.caller.origin.time);
        let subject = Subject::of(call, self.step.as_ref()).await?;
        check_enrolment(&subject)?;
        let person = subject.owner();
        call.tx.note("person", &person);
        let factors = call.tx.factors(&person).await?;
        check_just_given(&subject, &factors, &call.scope.snapshot, now)?;
        let reset = subject.reset().map(str::to_owned);
        if reset.is_none() && factors.iter().filter(|factor| factor.is_primary()).count() >= MAX_FACTORS {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("You have {MAX_FACTORS} second factors: remove one first."),
            ));
        }
        let id = broker.random.uuid();
        let attested = !allowed(&call.scope.snapshot, subject.identity()).is_empty();
        let kind = self.answer.verified(call, &person, &id, now, attested).await?;
        let name = checked_name(&self.name, &kind)?;
        call.tx.note("factor", &id);
        call.tx.note("kind", kind.word());
        let factor = Factor { id, person: person.clone(), name, kind, created: now, used: None };
        if let Some(reset) = &reset {
            // One live link for each person; what there was goes when what comes is there.
            take_reset(broker.store.ephemeral(), &person, reset).await?;
            let removed = call.tx.delete_factors(&person).await?;
            call.tx.note("removed", removed);
        }
        call.tx.put_factor(&factor).await?;
        let has_codes = factors.iter().any(|factor| !factor.is_primary()) && reset.is_none();
        let recovery_codes = if has_codes { Vec::new() } else { new_codes(call, &person, now).await? };
        let (session, continuation) = subject.authenticated(call).await?;
        if let Some(session) = &session {
            call.tx.note("session", &session.id);
        }
        Ok(Enrolled { session, continuation, recovery_codes })
    }
}

impl EnrolmentAnswer {
    /// The factor that the answer proves; `id` will be its id.
    async fn verified(
        self,
        call: &Call<'_, CompleteEnrolment>,
        person: &str,
        id: &str,
        now: Timestamp,
        attested: bool,
    ) -> Result<FactorKind, Error> {
        let wrong = |public: &str| Error::new(ErrorKind::InvalidAuthenticationCode, public);
        let late = || wrong("This took too long. Start again.");
        let ephemeral = call.broker.store.ephemeral();
        match self {
            Self::Totp { .. } if attested => {
                Err(Error::invalid("Your organization allows authenticators of certain models alone."))
            }
            Self::Totp { handle, code } => {
                // Looked at only: who mistypes the code tries again with the same picture.
                let found: Option<(String, Secret<Vec<u8>>)> = ephemeral.get(SEED, &handle).await?;
                let (_, seed) = found.filter(|(owner, _)| owner == person).ok_or_else(late)?;
                let digits: String = code.expose().chars().filter(char::is_ascii_digit).collect();
                let step = totp::step(&seed, &digits, now);
                let step = step.ok_or_else(|| wrong("That code is not right. Is your phone's clock?"))?;
                factor::mark_used(ephemeral, id, step, now).await?;
                let burned: Option<(String, Secret<Vec<u8>>)> = ephemeral.take(SEED, &handle).await?;
                burned.ok_or_else(late)?;
                Ok(FactorKind::Totp { seed })
            }
            Self::Passkey { handle, credential } => {
                let ceremony = factor::take_ceremony(ephemeral, &handle, person).await?;
                let passkeys = Passkeys::at(&call.broker.federation.addresses.public_url);
                let passkeys = passkeys.ok_or_else(|| wrong("Passkeys can't be used at this address."))?;
                passkeys.registered(&ceremony, &credential, attested)
            }
        }
    }
}

fn checked_name(name: &str, kind: &FactorKind) -> Result<String, Error> {
    let name = name.trim();
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("A name has at most {MAX_NAME} characters, in one line.")));
    }
    Ok(match (name.is_empty(), kind) {
        (false, _) => name.to_owned(),
        (true, FactorKind::Passkey { .. }) => "Passkey".to_owned(),
        (true, FactorKind::Totp { .. }) => "Authenticator app".to_owned(),
        (true, FactorKind::RecoveryCodes { .. }) => "Recovery codes".to_owned(),
    })
}

/// Makes a new set of recovery codes; an old one is over.
async fn new_codes<O: Operation<Mode = Write>>(
    call: &mut Call<'_, O>,
    person: &str,
    now: Timestamp,
) -> Result<Vec<Secret<String>>, Error> {
    for old in call.tx.factors(person).await?.iter().filter(|factor| !factor.is_primary()) {
        call.tx.delete_factor(person, &old.id).await?;
    }
    let random = &call.broker.random;
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| random.recovery_code()).collect();
    let kind = FactorKind::RecoveryCodes { hashes: codes.iter().map(|code| recovery_digest(code)).collect() };
    let name = checked_name("", &kind)?;
    let factor = Factor { id: random.uuid(), person: person.to_owned(), name, kind, created: now, used: None };
    call.tx.put_factor(&factor).await?;
    let grouped = |code: String| code.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-");
    Ok(codes.into_iter().map(|code| Secret::new(grouped(code))).collect())
}

/// The caller's factors.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListFactors {}

/// One factor, as its owner sees it.
#[derive(Clone, Debug, Serialize)]
pub struct FactorInfo {
    /// Its id.
    pub id: String,
    /// What the person calls it.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// When it was enrolled.
    pub created: Timestamp,
    /// When it was last given.
    pub used: Option<Timestamp>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Factors {
    /// Oldest first.
    pub factors: Vec<FactorInfo>,
    /// Recovery codes that are left; none where there never were any.
    pub recovery_codes: Option<usize>,
}

impl From<Vec<Factor>> for Factors {
    fn from(all: Vec<Factor>) -> Self {
        let left = all.iter().find_map(|factor| match &factor.kind {
            FactorKind::RecoveryCodes { hashes } => Some(hashes.len()),
            FactorKind::Passkey { .. } | FactorKind::Totp { .. } => None,
        });
        let info = |factor: Factor| FactorInfo {
            kind: factor.kind.word(),
            id: factor.id,
            name: factor.name,
            created: factor.created,
            used: factor.used,
        };
        Self { factors: all.into_iter().filter(Factor::is_primary).map(info).collect(), recovery_codes: left }
    }
}

fn person<O: Operation>(call: &Call<'_, O>) -> Result<String, Error> {
    Ok(call.caller.portal_session()?.identity.factor_owner())
}

const OWN: &str = "a person's own second factors";

impl Operation for ListFactors {
    type Service = Signin;
    type Mode = Read;
    type Output = Factors;
    const NAME: &'static str = "ListFactors";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: OWN })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Factors, Error> {
        Ok(call.tx.factors(&person(call)?).await?.into())
    }
}

/// Removes one of the caller's factors. With the last one go the recovery codes.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemoveFactor {
    /// Its id.
    pub id: String,
}

impl Operation for RemoveFactor {
    type Service = Signin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "RemoveFactor";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: OWN })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let person = person(call)?;
        let factors = call.tx.factors(&person).await?;
        check_just_given(&Subject::of(call, None).await?, &factors, &call.scope.snapshot, call.caller.origin.time)?;
        let gone = || Error::new(ErrorKind::NoSuchEntity, "You have no such second factor.");
        let factor = factors.iter().find(|factor| factor.id == self.id && factor.is_primary()).ok_or_else(gone)?;
        call.tx.note("person", &person);
        call.tx.note("factor", &factor.id);
        call.tx.note("kind", factor.kind.word());
        match factors.iter().filter(|factor| factor.is_primary()).count() {
            1 => call.tx.delete_factors(&person).await.map(drop),
            _ => call.tx.delete_factor(&person, &factor.id).await.map(drop),
        }
    }
}

/// Makes a new set of recovery codes for the caller.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenewRecoveryCodes {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct RecoveryCodes {
    /// Shown once.
    #[serde(skip)]
    pub codes: Vec<Secret<String>>,
}

impl Operation for RenewRecoveryCodes {
    type Service = Signin;
    type Mode = Write;
    type Output = RecoveryCodes;
    const NAME: &'static str = "RenewRecoveryCodes";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: OWN })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RecoveryCodes, Error> {
        let (person, now) = (person(call)?, call.caller.origin.time);
        let factors = call.tx.factors(&person).await?;
        check_just_given(&Subject::of(call, None).await?, &factors, &call.scope.snapshot, now)?;
        if !factors.iter().any(Factor::is_primary) {
            return Err(Error::invalid("Set up a second factor first."));
        }
        call.tx.note("person", &person);
        Ok(RecoveryCodes { codes: new_codes(call, &person, now).await? })
    }
}

/// Who owns the factors of `<source>:<subject>`.
fn owner_of(snapshot: &Snapshot, person: &str) -> Result<String, Error> {
    let (name, subject) = person.split_once(':').unwrap_or((person, ""));
    let source = snapshot.identity_source(name);
    let source = source.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, format!("There is no identity source {name}.")))?;
    Ok(crate::domain::factor::owner(&source.resource(), subject))
}

/// The factors of a person, for an administrator.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListFactorsOf {
    /// `<source>:<subject>`.
    pub person: String,
}

impl Operation for ListFactorsOf {
    type Service = Signin;
    type Mode = Read;
    type Output = Factors;
    const NAME: &'static str = "ListFactorsOf";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:ListMfaDevicesForUser"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Factors, Error> {
        Ok(call.tx.factors(&owner_of(&call.tx.snapshot, &self.person)?).await?.into())
    }
}

/// Makes a link with which a person who lost every factor starts anew. Nothing is removed until the person, signed in with
/// their first factor, uses it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResetFactors {
    /// `<source>:<subject>`.
    pub person: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct ResetLink {
    /// Shown once: the address to give to the person.
    #[serde(skip)]
    pub url: Secret<String>,
    /// Until when it is good.
    pub expires: Timestamp,
}

impl Operation for ResetFactors {
    type Service = Signin;
    type Mode = Issue;
    type Output = ResetLink;
    const NAME: &'static str = "ResetFactors";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:DeleteMfaDeviceForUser"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ResetLink, Error> {
        let (broker, token) = (call.broker, call.broker.random.token());
        let expires = call.caller.origin.time.plus_seconds(RESET_SECONDS);
        let owner = owner_of(&call.tx.snapshot, &self.person)?;
        call.tx.note("person", &self.person);
        // A new link for somebody replaces the old one.
        broker.store.ephemeral().put(RESET, &owner, &sha256_hex(&token), expires).await?;
        Ok(ResetLink { url: Secret::new(broker.federation.addresses.at(&format!("/second-factor/reset/{token}"))), expires })
    }
}

/// The hash of a reset link, if it is this person's live one.
pub(super) async fn reset_of(
    ephemeral: &Ephemeral,
    owner: &str,
    token: Option<&Secret<String>>,
) -> Result<Option<String>, Error> {
    let Some(token) = token else { return Ok(None) };
    let hash = sha256_hex(token.expose());
    let live: Option<String> = ephemeral.get(RESET, owner).await?;
    Ok(live.filter(|live| *live == hash))
}

/// Uses a reset link up.
async fn take_reset(ephemeral: &Ephemeral, owner: &str, hash: &str) -> Result<(), Error> {
    // Looked at first: a link that came instead is not this one's to burn.
    let live: Option<String> = ephemeral.get(RESET, owner).await?;
    let burned = match live.filter(|live| live == hash) {
        Some(_) => ephemeral.take::<String>(RESET, owner).await?.filter(|burned| burned == hash),
        None => None,
    };
    burned.map(drop).ok_or_else(|| Error::new(ErrorKind::StaleStep, "This link was used or replaced. Sign in again."))?;
    factor::forgive(ephemeral, owner).await
}
