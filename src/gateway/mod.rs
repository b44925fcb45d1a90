//! The one door: wire codecs, pages, CLI and tests all come through [`Gateway::call`].

pub mod authenticate;
mod budget;
pub mod factor;
pub mod fault;
pub mod operation;
mod parameters;
mod person;
pub(crate) mod provider_logout;
pub mod query;
pub mod receipt;
pub mod scim;
pub mod scope;
pub mod wire;

pub use budget::Budget;
pub use fault::Fault;
pub use operation::{Access, Call, CertifiedAccess, Issue, Operation, Proof, Protocol, Read, Service, TrustedAccess, Write};
pub use person::KnownBearers;
pub(crate) use person::{Bearer, ENDED, FACTOR_GIVEN, FRESH};
pub use scope::Scope;
pub(crate) use scope::{base_context, person_context};
pub use wire::Entry;

use crate::{
    crypto::x509,
    domain::{
        Arn, Clock, Error, ErrorKind, Random,
        anywhere::{self, RevocationList},
        name::{AccountId, RoleSessionName},
        session::{Caller, IdentityAssertion, Principal, no_portal_session},
        time::Stopwatch,
        trace,
        user::{UserCredentials, UserSession},
    },
    federation::{Failure, Federation, Identified, Recording},
    policy::{
        Context, Decision, Denial, DocumentKind, Explanation, Named, Permit, Policy, PolicySet, aws_managed,
        evaluate::{Check, SignedCaller, authorize_federated, authorize_service, authorize_signed, companions},
    },
    store::{AuditRecord, Notes, REQUEST_PARAMETERS, Snapshot, Store},
};
use operation::Mode as _;
use receipt::Receipt;
use scope::certified_context;
use std::{
    borrow::Cow,
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};
use tracing::Instrument as _;

/// How long sessions last, as configured.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Longest portal session, in seconds.
    pub portal_seconds: i64,
    /// A browser that is not used for so long is signed out, in seconds.
    pub idle_seconds: i64,
    /// How long a command line stays signed in, in seconds.
    pub token_seconds: i64,
    /// Life of one access token of a command line that renews it, in seconds.
    pub access_token_seconds: i64,
    /// Longest session of a role taken from another role's session, in seconds.
    pub chained_seconds: u32,
}

/// A setting of the broker, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// As the settings file spells it: `sessions.idle_seconds`.
    pub key: String,
    /// What is in force.
    pub value: String,
    /// What it does.
    pub meaning: String,
}

/// Everything operations work with.
#[derive(Clone)]
pub struct Broker {
    /// The settings in force, to be looked at.
    pub settings: Arc<Vec<Setting>>,
    /// The store.
    pub store: Arc<Store>,
    /// Identity sources and providers.
    pub federation: Arc<Federation>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// How long sessions last.
    pub limits: SessionLimits,
    /// Sessions that signed a call lately.
    pub known_sessions: Arc<authenticate::KnownSessions>,
    /// Bearer tokens that called lately.
    pub known_bearers: Arc<KnownBearers>,
    /// Device codes that strangers had made for them of late.
    pub device_starts: Arc<Budget>,
    /// Inline session policies that are in use, compiled.
    pub session_policies: Arc<SessionPolicies>,
}

/// The pipeline.
#[derive(Clone)]
pub struct Gateway {
    /// What operations work with.
    pub broker: Broker,
}

impl Gateway {
    /// Calls an operation: decide, open, run, close, in this order and for everybody.
    ///
    /// # Errors
    /// The operation's error, or why it was not let in. The caller's wire turns it into a [`Fault`].
    pub async fn call<O: Operation>(&self, caller: &Caller, operation: O) -> Result<O::Output, Error> {
        let watch = Stopwatch::start();
        let span = trace::step(O::NAME, O::Service::SIGNING_NAME);
        let outcome = if O::Mode::OWN_TASK {
            // On a task of its own: a client that hangs up can't leave a half-open record.
            let (gateway, caller) = (self.clone(), caller.clone());
            let work = async move { gateway.pipeline(&caller, operation).await };
            match tokio::spawn(work.instrument(span.clone())).await {
                Ok(outcome) => outcome,
                Err(error) => Err(Error::internal(error)),
            }
        } else {
            self.pipeline(caller, operation).instrument(span.clone()).await
        };
        if let Err(error) = &outcome {
            log::<O>(caller, error);
        }
        let code =
            outcome.as_ref().err().map_or_else(|| "ok".into(), |error| Cow::<'static, str>::Owned(format!("{:?}", error.kind)));
        if outcome.is_err() {
            span.record("error.type", &*code);
        }
        metrics::counter!("daypass_requests_total", "operation" => O::NAME, "code" => code).increment(1);
        metrics::histogram!("daypass_request_seconds", "service" => O::Service::SIGNING_NAME).record(watch.seconds());
        outcome
    }

    /// Whether a caller's own policies would let them call an operation now, without calling it: pages show what is not
    /// allowed, and why. The answer may have changed when they do; [`Gateway::call`] decides.
    ///
    /// # Errors
    /// Why not.
    pub async fn ask<O: Operation>(&self, caller: &Caller, operation: &O) -> Result<(), Error> {
        let scope = Scope::new(self.broker.store.snapshot(), caller.clone());
        match operation.access(&scope)? {
            signed @ Access::Signed(_) => self.decide(caller, signed, &scope, &mut Notes::default()).await.map(drop),
            _ => Ok(()),
        }
    }

    // Boxed: the compiler can't see through the transaction's lifetime from where handlers are checked (rust-lang/rust#100013).
    fn pipeline<'a, O: Operation>(
        &'a self,
        caller: &'a Caller,
        operation: O,
    ) -> Pin<Box<dyn Future<Output = Result<O::Output, Error>> + Send + 'a>> {
        Box::pin(async move {
            loop {
                self.broker.store.fresh()?;
                let scope = Scope::new(self.broker.store.snapshot(), caller.clone());
                let state = scope.snapshot.state();
                let access = operation.access(&scope)?;
                let of_role = match &access {
                    Access::Trusted(trusted) => trusted.role.account(),
                    _ => None,
                };
                let mut notes = Notes::default();
                let decided = self.decide(caller, access, &scope, &mut notes).await;
                // Made only where one is kept: looking leaves no trace.
                let record = || {
                    let known = of_role.as_ref().or(scope.account.as_ref()).or_else(|| scope.snapshot.management_account());
                    let account = known.map(ToString::to_string).unwrap_or_default();
                    let mut record =
                        AuditRecord::open(self.broker.random.uuid(), O::Service::EVENT_SOURCE, O::NAME, account, caller, notes);
                    record.note(REQUEST_PARAMETERS, parameters::request_parameters(&operation, caller.is_stranger()));
                    record
                };
                let word = match &decided {
                    Ok(_) => "allow",
                    Err(error) if error.kind == ErrorKind::AccessDenied => "deny",
                    Err(_) => "refuse",
                };
                metrics::counter!("daypass_decisions_total", "decision" => word).increment(1);
                let permit = match decided {
                    Ok(permit) => permit,
                    Err(error) => return Err(self.refuse(caller, record, error).await),
                };
                // Somebody else's change came between the decision and the pen: decide again.
                let Some(tx) = O::Mode::begin(&self.broker.store, &permit, state, record).await? else { continue };
                let mut call = Call { tx, permit: &permit, scope: &scope, caller, broker: &self.broker };
                let outcome = operation.run(&mut call).await;
                O::Mode::finish(call.tx, outcome.as_ref().map(drop)).await?;
                return outcome;
            }
        })
    }

    /// Asks the policy engine, after everything it needs has been verified.
    async fn decide(&self, caller: &Caller, access: Access, scope: &Scope, record: &mut Notes) -> Result<Permit, Error> {
        let over = match &caller.principal {
            Principal::Session(session) if scope.snapshot.revocations.end(session) => Some(ErrorKind::ExpiredCredentials),
            Principal::User(user) if scope.snapshot.revocations.end_user(user) => Some(ErrorKind::ExpiredCredentials),
            Principal::Person(session) if scope.snapshot.revocations.end_portal(session) => Some(ErrorKind::InvalidBearer),
            Principal::Session(_)
            | Principal::User(_)
            | Principal::Certificate(_)
            | Principal::DpopKey(_)
            | Principal::Person(_)
            | Principal::Provisioner(_)
            | Principal::Anonymous
            | Principal::Operator => None,
        };
        if let Some(kind) = over {
            return Err(Error::new(kind, "The security token included in the request has been revoked"));
        }
        if let Access::WithFactor(access, given) = access {
            if let (Access::Signed(checks), Principal::User(session)) = (&*access, &caller.principal) {
                barred(session, checks)?;
            }
            factor::verify(&self.broker, caller, scope, &given).await?;
            record.note("serialNumber", &given.serial_number);
            let mut context = scope.context().clone();
            context.set("aws:MultiFactorAuthPresent", "true");
            context.set("aws:MultiFactorAuthAge", "0");
            let scope = scope.with_context(context);
            return Box::pin(self.decide(caller, *access, &scope, record)).await;
        }
        match (access, &caller.principal) {
            (Access::Public { because }, _)
            | (Access::Caller { because }, Principal::Session(_) | Principal::User(_))
            | (Access::Person { because }, Principal::Person(_))
            | (Access::Operator { because }, Principal::Operator) => Ok(Permit::open(because)),
            (Access::Signed(checks), Principal::Session(session)) => {
                let role = scope.snapshot.role_by_id(&session.role_id).ok_or_else(unknown_key)?;
                let caps = self.caps(session.session_policy.as_deref(), &session.session_policy_arns, false, scope)?;
                self.authorize(&SignedCaller::of_role(session, role, caps.as_ref()), caller, scope, &checks)
            }
            (Access::Signed(checks), Principal::User(session)) => {
                barred(session, &checks)?;
                let user = session.user_id.as_deref().and_then(|id| scope.snapshot.user_by_id(id));
                let task = session.credentials == UserCredentials::AssumedRoot;
                let caps = self.caps(session.session_policy.as_deref(), &session.session_policy_arns, task, scope)?;
                self.authorize(&SignedCaller::of_user(session, user.map(|user| &**user), caps.as_ref()), caller, scope, &checks)
            }
            (
                Access::Caller { .. } | Access::Signed(_),
                Principal::Anonymous
                | Principal::Certificate(_)
                | Principal::DpopKey(_)
                | Principal::Person(_)
                | Principal::Provisioner(_),
            ) => Err(missing_credentials()),
            (Access::Provisioner { needs, because }, Principal::Provisioner(token)) => match token.scope >= needs {
                true => Ok(Permit::open(because)),
                false => Err(Error::new(ErrorKind::AccessDenied, "The scope of this token does not allow it.")),
            },
            (Access::Provisioner { .. }, _) => Err(missing_credentials()),
            (Access::WithFactor(..), _) => Err(Error::internal("a factor within a factor")),
            (Access::Trusted(trusted), _) => self.trust(caller, *trusted, scope, record).await,
            (Access::Person { .. }, _) => Err(no_portal_session()),
            (Access::Operator { .. } | Access::Caller { .. } | Access::Signed(_), _) => {
                Err(Error::new(ErrorKind::AccessDenied, "only the operator of this broker may do this"))
            }
        }
    }

    /// Asks the policies of whoever signed. A refused `sts` action carries a receipt.
    fn authorize(&self, asking: &SignedCaller<'_>, caller: &Caller, scope: &Scope, checks: &[Check]) -> Result<Permit, Error> {
        let own = asking.who.account();
        let caps = |owner: Option<&AccountId>| scope.snapshot.caps(own, owner);
        match authorize_signed(asking, caps, scope.context(), checks) {
            Decision::Allow(permit) => Ok(permit),
            Decision::Deny(Denial { message, explanation, .. }) => {
                let refused = Error::new(ErrorKind::AccessDenied, message);
                let Some(explanation) = explanation else { return Err(refused) };
                let owners = checks.iter().filter_map(|check| check.account.clone());
                let mut accounts: Vec<AccountId> = owners.chain(caller.account().cloned()).collect();
                accounts.sort();
                accounts.dedup();
                Err(self.with_receipt(refused, caller, accounts, caller.describe(), *explanation))
            }
        }
    }

    /// A session's caps. A managed one that has been deleted since allows nothing.
    fn caps(&self, inline: Option<&str>, managed: &[Arn], task: bool, scope: &Scope) -> Result<Option<PolicySet>, Error> {
        if inline.is_none() && managed.is_empty() {
            return Ok(None);
        }
        let mut caps = Vec::new();
        if let Some(text) = inline {
            caps.push(Named {
                label: "the session's inline policy".into(),
                policy: self.broker.session_policies.compiled(text)?,
            });
        }
        // A task only takes away: within it, root may do what is left.
        if task && let Some(everything) = scope.snapshot.policy(&Arn::parse(aws_managed::ADMINISTRATOR_ACCESS)?) {
            caps.push(Named { label: "what the task leaves".into(), policy: everything });
        }
        for arn in managed {
            if let Some(policy) = scope.snapshot.policy(arn) {
                caps.push(Named { label: format!("managed policy {}", arn.resource_name()).into(), policy });
            }
        }
        Ok(Some(PolicySet::new(caps)))
    }

    /// Verifies a provider's word, then asks the role's trust policy.
    async fn trust(&self, caller: &Caller, trusted: TrustedAccess, scope: &Scope, record: &mut Notes) -> Result<Permit, Error> {
        if let Proof::Certificate(certified) = trusted.proof {
            return self.certified(caller, &trusted.role, &certified, trusted.session_name, scope, record);
        }
        let federation = &self.broker.federation;
        let by_person = matches!(trusted.proof, Proof::Person);
        let account = trusted.role.account().ok_or_else(|| Error::invalid(format!("{} is invalid", trusted.role)))?;
        record.note("roleArn", &trusted.role);
        let identified: Result<Identified, Failure> = match trusted.proof {
            Proof::Saml { provider, response } => {
                record.note("principalArn", &provider);
                if provider.account().as_ref() == Some(&account) {
                    federation.verify_presented_saml(&provider, response).await
                } else {
                    Err(Failure {
                        error: not_authorized("provider_other_account: the provider is in another account than the role"),
                        recording: Recording::default(),
                    })
                }
            }
            Proof::Certificate(_) => return Err(Error::internal("a certificate is no assertion")),
            Proof::WebIdentity(token) => federation.verify_web_identity(&account, token.expose()).await,
            Proof::Person => Ok(Identified {
                assertion: caller.portal_session()?.identity.clone(),
                at_provider: None,
                refresh: None,
                recording: Recording::default(),
            }),
        };
        let mut assertion = match identified {
            Ok(identified) => {
                note_recording(record, &identified.recording);
                identified.assertion
            }
            Err(failure) => {
                note_recording(record, &failure.recording);
                return Err(failure.error);
            }
        };
        if let Some(name) = trusted.session_name {
            assertion.role_session_name = Some(name);
        }
        record.note("subject", &assertion.subject);
        record.note("provider", &assertion.provider.name);
        let who = assertion.person();
        let action = assertion.provider.protocol.action();
        let given = caller.person().filter(|_| by_person).and_then(|person| person.factor_given);
        // Whoever presents a provider's word about a workload is no person with a factor: at AWS such calls have no such keys.
        let context = match by_person || scope.snapshot.asserted_factor(&assertion).is_some() {
            true => person_context(&scope.snapshot, &assertion, given, &caller.origin),
            false => base_context(&caller.origin),
        };
        // A person sees in the portal what they may take: nobody has to be told why by a receipt. But a factor can be given.
        let fresh = by_person
            .then(|| (assertion.clone(), person_context(&scope.snapshot, &assertion, Some(caller.origin.time), &caller.origin)));
        let refusal = match trusted_role(&trusted.role, &account, assertion, scope, &context) {
            Ok(permit) => return Ok(permit),
            Err(refusal) => refusal,
        };
        let refused = not_authorized(&refusal.message);
        if let Some((assertion, context)) = fresh {
            let would = trusted_role(&trusted.role, &account, assertion, scope, &context).is_ok();
            return Err(if would { self.step_up_required() } else { refused });
        }
        let explanation = refusal.explanation.map_or_else(
            || Explanation {
                action: action.to_owned(),
                resource: trusted.role.to_string(),
                allowed: false,
                explicit_deny: false,
                reason: refusal.message.clone(),
                policies: Vec::new(),
            },
            |explanation| *explanation,
        );
        Err(self.with_receipt(refused, caller, vec![account], who, explanation))
    }

    /// Verifies a certificate against its trust anchor, then asks the profile and the role's trust policy.
    fn certified(
        &self,
        caller: &Caller,
        arn: &Arn,
        asked: &CertifiedAccess,
        session_name: Option<RoleSessionName>,
        scope: &Scope,
        record: &mut Notes,
    ) -> Result<Permit, Error> {
        record.note("roleArn", arn);
        record.note("trustAnchorArn", &asked.trust_anchor);
        record.note("profileArn", &asked.profile);
        let refused = |why: &str| {
            Error::new(ErrorKind::AccessDenied, "Not authorized to take this role with this certificate").with_private(why)
        };
        let Principal::Certificate(presented) = &caller.principal else { return Err(missing_credentials()) };
        let snapshot = &scope.snapshot;
        let anchor = snapshot.trust_anchor(&asked.trust_anchor).filter(|anchor| anchor.enabled);
        let anchor = anchor.ok_or_else(|| refused("there is no such trust anchor, or it is off"))?;
        let profile = snapshot.anywhere_profile(&asked.profile).filter(|profile| profile.enabled);
        let profile = profile.ok_or_else(|| refused("there is no such profile, or it is off"))?;
        let role = snapshot.role_by_arn(arn).ok_or_else(|| refused("no_such_role: there is no such role"))?;
        if anchor.account != role.role.account || profile.account != role.role.account {
            return Err(refused("trust anchor, profile and role are not of one account"));
        }
        let lists = snapshot.revocation_lists.iter().filter(|list| list.enabled && list.trust_anchor == asked.trust_anchor);
        let lists: Vec<&RevocationList> = lists.map(|list| &**list).collect();
        let identity = x509::certify(presented, anchor, &lists, caller.origin.time)?;
        if !profile.role_arns.contains(arn) {
            return Err(refused("the profile does not list the role"));
        }
        let who = identity.person();
        record.note("subject", &identity.serial);
        record.note("provider", &identity.anchor_name);
        let mut context = base_context(&caller.origin);
        certified_context(&mut context, &identity, session_name.as_ref(), &role.role.account);
        match authorize_service(role, anywhere::SERVICE, identity, scope.snapshot.caps(None, Some(&role.role.account)), &context)
        {
            Decision::Allow(permit) => Ok(permit),
            Decision::Deny(Denial { message, explanation, .. }) => {
                let error = refused(&message);
                let Some(explanation) = explanation else { return Err(error) };
                Err(self.with_receipt(error, caller, vec![role.role.account.clone()], who, *explanation))
            }
        }
    }

    fn step_up_required(&self) -> Error {
        let place = self.broker.federation.addresses.at("/second-factor");
        Error::new(
            ErrorKind::StepUpRequired,
            format!(
                "This role wants a second factor now. Give it at {place}, in the browser you signed in with, and try again; or sign in again."
            ),
        )
    }

    /// Adds the sealed reasons to a refusal.
    fn with_receipt(
        &self,
        refused: Error,
        caller: &Caller,
        accounts: Vec<AccountId>,
        principal: String,
        explanation: Explanation,
    ) -> Error {
        let receipt = Receipt { accounts, time: caller.origin.time, principal, explanation };
        match receipt.seal(self.broker.store.ring()) {
            Ok(text) => Error { public: format!("{} Encoded authorization failure message: {text}", refused.public), ..refused },
            Err(error) => error,
        }
    }

    async fn refuse(&self, caller: &Caller, record: impl FnOnce() -> AuditRecord, error: Error) -> Error {
        // Nobody proved anything and nothing was tried with a provider's word: the log has it, the audit need not.
        let unproved = matches!(error.kind, ErrorKind::MissingCredentials | ErrorKind::InvalidBearer);
        if unproved && matches!(caller.principal, Principal::Anonymous) {
            return error;
        }
        let mut record = record();
        record.fail(&error);
        match self.broker.store.record(record).await {
            Ok(()) => error,
            Err(unrecorded) => unrecorded,
        }
    }

    /// The current snapshot, for names that pages show beside what operations answered.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.broker.store.snapshot()
    }
}

/// Keeps the flight recording of a sign-in or a presented assertion with the audit record.
pub fn note_recording(record: &mut Notes, recording: &Recording) {
    if !recording.checks().is_empty() {
        record.note("checks", recording);
    }
}

/// What temporary credentials of a user can't call, whatever policies say (IAM user guide, "Compare AWS STS credentials").
fn barred(user: &UserSession, checks: &[Check]) -> Result<(), Error> {
    let calls = |service: &str| checks.iter().any(|check| check.action.to_lowercase().starts_with(service));
    let sts_but_assume = || {
        checks.iter().any(|check| {
            let companion = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"].contains(&check.action.as_str());
            check.action.starts_with("sts:") && !companion
        })
    };
    match &user.credentials {
        UserCredentials::AccessKey | UserCredentials::AssumedRoot => {}
        UserCredentials::Session if calls("iam:") && user.mfa.is_none() => return Err(unknown_key()),
        UserCredentials::Session if sts_but_assume() => {
            return Err(Error::new(ErrorKind::AccessDenied, "Cannot call this operation with session credentials"));
        }
        UserCredentials::Session => {}
        UserCredentials::Federation(_) if calls("iam:") => return Err(unknown_key()),
        UserCredentials::Federation(_) if calls("sts:") => {
            return Err(Error::new(ErrorKind::AccessDenied, "Cannot call this operation with federation credentials"));
        }
        UserCredentials::Federation(_) => {}
    }
    if user.is_root() && checks.iter().any(|check| check.action == "sts:AssumeRole") {
        return Err(Error::new(ErrorKind::AccessDenied, "Roles may not be assumed by root accounts."));
    }
    Ok(())
}

/// Inline session policies by text. A session signs many calls; its policy is compiled once.
#[derive(Debug, Default)]
pub struct SessionPolicies(Mutex<HashMap<String, Arc<Policy>>>);

impl SessionPolicies {
    /// So many are kept; then all are forgotten, and compiled again when they are needed.
    const ROOM: usize = 1024;

    fn compiled(&self, text: &str) -> Result<Arc<Policy>, Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = kept.get(text) {
            return Ok(policy.clone());
        }
        let policy = Arc::new(Policy::parse(text, DocumentKind::Identity).map_err(Error::internal)?);
        if kept.len() >= Self::ROOM {
            kept.clear();
        }
        kept.insert(text.to_owned(), policy.clone());
        Ok(policy)
    }
}

/// The one public sentence for every refusal of a federated caller.
fn not_authorized(private: &str) -> Error {
    Error::new(ErrorKind::AccessDenied, "Not authorized to assume this role with this identity").with_private(private)
}

fn missing_credentials() -> Error {
    Error::new(ErrorKind::MissingCredentials, "Request is missing Authentication Token")
}

fn unknown_key() -> Error {
    Error::new(ErrorKind::UnknownKey, "The security token included in the request is invalid.")
}

fn log<O: Operation>(caller: &Caller, error: &Error) {
    let private = error.private.as_deref().unwrap_or_default();
    let (request, operation, kind) = (&caller.origin.request_id, O::NAME, error.kind);
    match error.kind {
        ErrorKind::Internal | ErrorKind::Unavailable => {
            tracing::error!(request, operation, ?kind, public = error.public, private, "failed");
        }
        ErrorKind::AuthorizationPending | ErrorKind::SlowDown => {}
        _ => tracing::info!(request, operation, ?kind, public = error.public, private, "refused"),
    }
}

/// The role, if it trusts a verified assertion.
fn trusted_role(
    arn: &Arn,
    account: &AccountId,
    assertion: IdentityAssertion,
    scope: &Scope,
    context: &Context,
) -> Result<Permit, Denial> {
    let refused = |why: &str| Denial { explicit: false, message: why.to_owned(), explanation: None };
    // Authorization precedes existence: a role that is not there is refused like one that does not trust.
    let role = scope.snapshot.role_by_arn(arn).ok_or_else(|| refused("no_such_role: there is no such role"))?;
    // Who vouched must be the provider that stands under this ARN in the role's account, not a namesake.
    if scope.snapshot.standing(&assertion.provider, account).is_none() {
        return Err(refused("provider_shadowed: another provider stands under this ARN in the role's account"));
    }
    if !assertion.is_for(arn) {
        return Err(refused("role_not_listed: the assertion lists the roles it is for, and this one is not among them"));
    }
    // Whoever signs such a call brings nothing into it: at AWS it is unsigned.
    let context = role.trust_context(&assertion, context);
    let companions = companions(&assertion);
    match authorize_federated(role, assertion, scope.snapshot.caps(None, Some(account)), &context, &companions) {
        Decision::Allow(permit) => Ok(permit),
        Decision::Deny(denial) => Err(denial),
    }
}
