//! Temporary credentials for users: of their own (`GetSessionToken`), and for somebody they vouch for
//! (`GetFederationToken`).

use super::{Credentials, PolicyDescriptor, Sts, Tag, session_tags};
use crate::{
    credentials::{check_caps, issue_user, secret_access_key},
    domain::{
        Arn, Error, ErrorKind, Secret,
        name::FederatedUserName,
        session::{Principal, SessionTags},
        user::{UserCredentials, UserSession},
    },
    gateway::{Access, Call, Issue, Operation, Scope, factor::OneTimeCode},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Shortest session of a user, in seconds.
const LEAST_SECONDS: u32 = 900;
/// Longest session of a user, in seconds: 36 hours.
const MOST_SECONDS: u32 = 129_600;
/// What it lasts when nobody asks, in seconds: 12 hours.
const USUAL_SECONDS: u32 = 43_200;
/// Longest session of a root user, in seconds.
const MOST_ROOT_SECONDS: u32 = 3600;

/// The user who signed with a long-term key: only those can ask for sessions.
fn long_term<'s>(scope: &'s Scope, operation: &str) -> Result<&'s Arc<UserSession>, Error> {
    match scope.principal() {
        Principal::User(user) if user.credentials == UserCredentials::AccessKey => Ok(user),
        Principal::User(_) | Principal::Session(_) => {
            Err(Error::new(ErrorKind::AccessDenied, format!("Cannot call {operation} with session credentials")))
        }
        Principal::Anonymous
        | Principal::Certificate(_)
        | Principal::DpopKey(_)
        | Principal::Person(_)
        | Principal::Provisioner(_)
        | Principal::Operator => {
            scope.account()?;
            Err(Error::internal("a signed call without a signer"))
        }
    }
}

/// Longer than a root user may, is cut to what a root user may (STS API reference).
fn seconds(asked: Option<u32>, user: &UserSession) -> Result<u32, Error> {
    let seconds = asked.unwrap_or(USUAL_SECONDS);
    if !(LEAST_SECONDS..=MOST_SECONDS).contains(&seconds) {
        return Err(Error::invalid(format!(
            "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value between {LEAST_SECONDS} and {MOST_SECONDS}"
        )));
    }
    Ok(if user.is_root() { seconds.min(MOST_ROOT_SECONDS) } else { seconds })
}

/// Issues the session, and leaves its traces in the audit record.
pub(super) fn issue<O: Operation<Mode = Issue>>(
    call: &mut Call<'_, O>,
    session: UserSession,
    seconds: u32,
) -> Result<(UserSession, Credentials), Error> {
    let now = call.caller.origin.time;
    let session = UserSession {
        access_key_id: call.broker.random.access_key_id("ASIA", &session.account),
        secret_access_key: secret_access_key(&*call.broker.random),
        issued: now,
        expires: Some(now.plus_seconds(i64::from(seconds))),
        ..session
    };
    let credentials = issue_user(&session, call.broker.store.ring())?;
    call.tx.note("person", &session.person);
    call.tx.note("assumedRole", session.arn());
    call.tx.note("accessKeyId", &session.access_key_id);
    call.tx.note("expiration", credentials.expiration.to_string());
    Ok((session, credentials.into()))
}

/// Temporary credentials of the calling user, with a second factor or without.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetSessionToken {
    /// 900 to 129600 seconds, default 43200; a root user's last an hour at most.
    pub duration_seconds: Option<u32>,
    /// The caller's MFA device.
    pub serial_number: Option<String>,
    /// Its code, six digits.
    pub token_code: Option<Secret<String>>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionToken {
    /// The credentials.
    pub credentials: Credentials,
}

impl Operation for GetSessionToken {
    type Service = Sts;
    type Mode = Issue;
    type Output = SessionToken;
    const NAME: &'static str = "GetSessionToken";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        seconds(self.duration_seconds, long_term(scope, Self::NAME)?)?;
        let access = Access::Caller { because: "a user may lend themselves the permissions they have (STS: no policy is asked)" };
        Ok(access.with_factor(OneTimeCode::of(self.serial_number.as_deref(), self.token_code.as_ref())?))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SessionToken, Error> {
        let user = long_term(call.scope, Self::NAME)?;
        let seconds = seconds(self.duration_seconds, user)?;
        let mfa = self.serial_number.as_ref().map(|_| call.caller.origin.time);
        let session = UserSession { credentials: UserCredentials::Session, mfa, ..(**user).clone() };
        let (_, credentials) = issue(call, session, seconds)?;
        Ok(SessionToken { credentials })
    }
}

/// Temporary credentials for somebody the calling user vouches for: what the session policies and the user's own allow.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetFederationToken {
    /// Whom they are for, 2 to 32 characters.
    pub name: FederatedUserName,
    /// Inline session policy.
    pub policy: Option<String>,
    /// Managed session policies.
    #[serde(default)]
    pub policy_arns: Vec<PolicyDescriptor>,
    /// 900 to 129600 seconds, default 43200; a root user's last an hour at most.
    pub duration_seconds: Option<u32>,
    /// Session tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// Who the credentials are for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FederatedUser {
    /// `<account>:<name>`.
    pub federated_user_id: String,
    /// ARN of the session.
    pub arn: Arn,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FederationToken {
    /// The credentials.
    pub credentials: Credentials,
    /// Who they are for.
    pub federated_user: FederatedUser,
    /// Percent of the token's room that policies and tags take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed_policy_size: Option<u32>,
}

impl GetFederationToken {
    fn session_tags(&self) -> Result<SessionTags, Error> {
        session_tags(&self.tags, &[])
    }
}

impl Operation for GetFederationToken {
    type Service = Sts;
    type Mode = Issue;
    type Output = FederationToken;
    const NAME: &'static str = "GetFederationToken";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let user = long_term(scope, Self::NAME)?;
        seconds(self.duration_seconds, user)?;
        let tags = self.session_tags()?;
        let arn = Arn::federated_user(&user.account, self.name.as_str());
        let mut actions = vec!["sts:GetFederationToken"];
        if !tags.is_empty() {
            actions.push("sts:TagSession");
        }
        let check = |action: &str| {
            let check = Check::new(action, &arn);
            let check = check.with_key("aws:TagKeys", tags.iter().map(|(key, _)| key.to_owned()).collect());
            tags.iter()
                .fold(check, |check, (key, value)| check.with_key(&format!("aws:RequestTag/{key}"), vec![value.to_owned()]))
        };
        Ok(Access::Signed(actions.into_iter().map(check).collect()))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<FederationToken, Error> {
        let user = long_term(call.scope, Self::NAME)?;
        let seconds = seconds(self.duration_seconds, user)?;
        let tags = self.session_tags()?;
        let policy_arns = super::session_policy_arns(call.scope, Some(&user.account), self.policy_arns)?;
        let packed_policy_size = check_caps(self.policy.as_deref(), &policy_arns, &tags)?;
        let session = UserSession {
            credentials: UserCredentials::Federation(self.name),
            tags,
            session_policy: self.policy,
            session_policy_arns: policy_arns,
            ..(**user).clone()
        };
        let (session, credentials) = issue(call, session, seconds)?;
        let federated_user = FederatedUser { federated_user_id: session.unique_id(), arn: session.arn() };
        Ok(FederationToken { credentials, federated_user, packed_policy_size })
    }
}
