//! The flight recorder: sign-ins that succeeded and that did not, check by check. For pages.
//!
//! Sign-ins are the organization's: the management account alone reads them.

use super::Iam;
use crate::{
    domain::{Arn, Error, ErrorKind, session::IdentityAssertion},
    federation::{
        mapping::{RoleOffer, role_offers},
        recorder::RecordedCheck,
    },
    gateway::{Access, Call, Operation, Read, Scope, person_context},
    policy::evaluate::Check,
    store::{RecordedAttempt, RecordingFilter},
};
use serde::{Deserialize, Serialize};

/// Most attempts of one answer.
const MOST_LISTED: u32 = 100;

/// The most recent attempts to sign in, or to present an assertion, that fit.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListSignIns {
    /// Part of a subject, name or e-mail address.
    pub person: String,
    /// Name of a source.
    pub source: String,
    /// What the person read out.
    pub reference: String,
    /// Failures alone.
    pub failed: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SignIns {
    /// Newest first.
    pub sign_ins: Vec<SignInAttempt>,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct SignInAttempt {
    /// Its audit record.
    pub event_id: String,
    /// When, ISO 8601.
    pub time: String,
    /// The operation.
    pub event_name: String,
    /// Name of the source.
    pub source: String,
    /// What the person read out.
    pub reference: String,
    /// Why it failed; none when it succeeded.
    pub error: Option<String>,
    /// Every check, in order.
    pub checks: Vec<RecordedCheck>,
    /// Whether an administrator tried a source: no session came of it.
    pub test: bool,
    /// Who it was, with every claim; none where nobody was identified.
    pub identity: Option<IdentityAssertion>,
}

impl SignInAttempt {
    /// Whether it was about signing in; others presented an assertion, or ended sessions.
    #[must_use]
    pub fn is_sign_in(&self) -> bool {
        self.event_name == "CompleteSignIn"
    }
    /// Whether a session came of it.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.is_sign_in() && self.error.is_none() && !self.test
    }
}

impl From<RecordedAttempt> for SignInAttempt {
    fn from(attempt: RecordedAttempt) -> Self {
        Self {
            event_id: attempt.event_id,
            time: attempt.time.to_string(),
            event_name: attempt.event_name,
            source: attempt.source,
            reference: attempt.reference,
            error: attempt.error.map(|(_, message)| message),
            checks: serde_json::from_value(attempt.checks).unwrap_or_default(),
            test: attempt.test,
            identity: attempt.identity,
        }
    }
}

impl Operation for ListSignIns {
    type Service = Iam;
    type Mode = Read;
    type Output = SignIns;
    const NAME: &'static str = "ListSignIns";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![access(scope)?]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SignIns, Error> {
        let Self { person, source, reference, failed } = self;
        let found = call.tx.recordings(&RecordingFilter { person, source, reference, failed }, MOST_LISTED).await?;
        Ok(SignIns { sign_ins: found.into_iter().map(Into::into).collect() })
    }
}

/// One attempt, with the roles that its claims lead to now.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetSignIn {
    /// Its audit record.
    pub event_id: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SignIn {
    /// The attempt.
    pub attempt: SignInAttempt,
    /// Roles whose trust policies let the person in.
    #[serde(skip)]
    pub offers: Vec<RoleOffer>,
    /// The source's attribute mapping, as lines of the organization's document; none where it has none, or is gone.
    pub mapping: Option<String>,
}

impl Operation for GetSignIn {
    type Service = Iam;
    type Mode = Read;
    type Output = SignIn;
    const NAME: &'static str = "GetSignIn";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![access(scope)?]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SignIn, Error> {
        let attempt = call.tx.recording(&self.event_id).await?;
        let attempt: SignInAttempt =
            attempt.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "That sign-in is not on record any more."))?.into();
        // As the person would come, not as the administrator who looks.
        let offers = attempt.identity.as_ref().map(|identity| {
            let context = person_context(&call.tx.snapshot, identity, None, &call.caller.origin);
            role_offers(&call.tx.snapshot, identity, &context)
        });
        let source = attempt.identity.as_ref().and_then(|identity| call.tx.snapshot.identity_source(&identity.provider.name));
        let mapping = source.and_then(|source| super::mapping::lines(source));
        Ok(SignIn { attempt, mapping, offers: offers.unwrap_or_default() })
    }
}

/// Sign-ins are records of the management account; from another account this is a cross-account request, which is refused.
pub(super) fn access(scope: &Scope) -> Result<Check, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    Ok(Check::new("iam:ListSignIns", Arn::iam(&owner, "sign-in/*")).owned_by(owner))
}
