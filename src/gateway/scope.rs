//! What an operation may know before it is allowed to do anything, and the condition keys that policies see of a request.

use crate::{
    domain::{
        Arn, Error, Timestamp,
        anywhere::{self, CertifiedIdentity},
        name::{AccountId, RoleSessionName},
        session::{Caller, IdentityAssertion, Principal, RequestOrigin, RoleSession},
        user::{UserCredentials, UserSession},
    },
    policy::Context,
    store::Snapshot,
};
use std::sync::{Arc, OnceLock};

/// What an operation may know before it is allowed to do anything.
#[derive(Debug)]
pub struct Scope {
    /// The organization as of now.
    pub snapshot: Arc<Snapshot>,
    /// Who is asking, and from where.
    pub caller: Caller,
    /// The caller's account; none for people and for nobody.
    pub account: Option<AccountId>,
    /// Made when it is asked for: not every question needs it.
    context: OnceLock<Context>,
}

impl Scope {
    /// Of a caller.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, caller: Caller) -> Self {
        Self { snapshot, account: caller.account().cloned(), caller, context: OnceLock::new() }
    }

    /// The same with other condition keys.
    #[must_use]
    pub(super) fn with_context(&self, context: Context) -> Self {
        Self {
            snapshot: self.snapshot.clone(),
            caller: self.caller.clone(),
            account: self.account.clone(),
            context: context.into(),
        }
    }

    /// Who is asking.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.caller.principal
    }

    /// Condition keys of the request and the caller.
    pub fn context(&self) -> &Context {
        self.context.get_or_init(|| {
            let mut context = match &self.caller.principal {
                Principal::Person(person) => {
                    person_context(&self.snapshot, &person.identity, person.factor_given, &self.caller.origin)
                }
                Principal::Session(_)
                | Principal::User(_)
                | Principal::Anonymous
                | Principal::Certificate(_)
                | Principal::DpopKey(_)
                | Principal::Provisioner(_)
                | Principal::Operator => base_context(&self.caller.origin),
            };
            if let Some(account) = &self.account {
                context.set("aws:PrincipalAccount", account.to_string());
                context.set("aws:ResourceAccount", account.to_string());
                context.set("aws:PrincipalIsAWSService", "false");
                // Only principals of member accounts have it: not people, not workloads, not anonymous callers.
                if let Some(organization) = &self.snapshot.organization {
                    context.set("aws:PrincipalOrgID", organization.id.clone());
                    context.set("aws:ResourceOrgID", organization.id.clone());
                }
            }
            match &self.caller.principal {
                Principal::Session(session) => {
                    session_context(&mut context, session);
                    if let Some(role) = self.snapshot.role_by_id(&session.role_id) {
                        context.set("aws:PrincipalArn", role.role.arn().to_string());
                    }
                }
                Principal::User(user) => user_context(&mut context, user, self.caller.origin.time),
                Principal::Anonymous
                | Principal::Certificate(_)
                | Principal::DpopKey(_)
                | Principal::Person(_)
                | Principal::Provisioner(_)
                | Principal::Operator => {}
            }
            context
        })
    }

    /// The caller's account.
    ///
    /// # Errors
    /// `MissingCredentials` when the caller has none.
    pub fn account(&self) -> Result<&AccountId, Error> {
        self.account.as_ref().ok_or_else(super::missing_credentials)
    }

    /// The ARN a role of the caller's account has, or would have.
    ///
    /// # Errors
    /// `MissingCredentials`.
    pub fn role_arn(&self, name: &str) -> Result<Arn, Error> {
        let account = self.account()?;
        Ok(self.snapshot.role(account, name).map_or_else(|| Arn::iam(account, &format!("role/{name}")), |role| role.role.arn()))
    }

    /// The ARN a user of the caller's account has, or would have.
    ///
    /// # Errors
    /// `MissingCredentials`.
    pub fn user_arn(&self, name: &str) -> Result<Arn, Error> {
        let account = self.account()?;
        Ok(self.snapshot.user(account, name).map_or_else(|| Arn::iam(account, &format!("user/{name}")), |user| user.user.arn()))
    }
}

/// The condition keys of the request itself, whoever makes it.
pub(crate) fn base_context(origin: &RequestOrigin) -> Context {
    let mut context = Context::default();
    context.set_address("aws:SourceIp", origin.source_ip);
    context.set_instant("aws:CurrentTime", origin.time.to_string(), origin.time.0);
    context.set_instant("aws:EpochTime", origin.time.seconds().to_string(), origin.time.0);
    context.set("aws:SecureTransport", origin.secure.to_string());
    context.set("aws:UserAgent", origin.user_agent.clone());
    context.set("aws:ViaAWSService", "false");
    context
}

/// How far the clock of a provider may be ahead of ours, in seconds.
const MAX_AHEAD_SECONDS: i64 = 60;

/// The condition keys of a request in which a person takes roles. The second factor is the one given here or the one that the
/// source asserts, where that is believed; the later counts. Without one the key says so: `IfExists` lets nobody in.
pub(crate) fn person_context(
    snapshot: &Snapshot,
    identity: &IdentityAssertion,
    given: Option<Timestamp>,
    origin: &RequestOrigin,
) -> Context {
    let asserted = snapshot.asserted_factor(identity);
    let mut context = base_context(origin);
    context.set("aws:MultiFactorAuthPresent", (given.is_some() || asserted.is_some()).to_string());
    // A provider whose clock is ahead by more than clocks are says nothing about age.
    let at_provider = asserted.flatten().filter(|at| at.seconds_since(origin.time) <= MAX_AHEAD_SECONDS);
    if let Some(at) = given.max(at_provider) {
        context.set("aws:MultiFactorAuthAge", origin.time.seconds_since(at).max(0).to_string());
    }
    context
}

fn session_context(context: &mut Context, session: &RoleSession) {
    context.set("aws:PrincipalType", "AssumedRole");
    // There with temporary credentials, and true only when a factor was given to this broker's own operations.
    context.set("aws:MultiFactorAuthPresent", "false");
    context.set("aws:userid", session.user_id());
    context.set_instant("aws:TokenIssueTime", session.issued.to_string(), session.issued.0);
    for (key, value) in session.tags.iter() {
        context.set(&format!("aws:PrincipalTag/{key}"), value);
    }
    if let Some(source) = &session.source_identity {
        context.set("aws:SourceIdentity", source.to_string());
    }
    if let Some(provider) = &session.federated_provider {
        context.set("aws:FederatedProvider", provider.clone());
    }
    for (key, values) in &session.claims {
        context.set_list(key, values.clone());
    }
}

/// What a role's trust policy sees of a workload with a certificate (IAM Roles Anywhere user guide, "Trust model").
pub(super) fn certified_context(
    context: &mut Context,
    identity: &CertifiedIdentity,
    name: Option<&RoleSessionName>,
    account: &AccountId,
) {
    context.set("aws:PrincipalIsAWSService", "true");
    context.set("aws:PrincipalServiceName", anywhere::SERVICE);
    context.set("aws:SourceArn", identity.anchor.to_string());
    context.set("aws:SourceAccount", account.to_string());
    context.set("aws:ResourceAccount", account.to_string());
    context.set("sts:RoleSessionName", name.map_or_else(|| identity.serial.clone(), ToString::to_string));
    if let Some(source) = &identity.source_identity {
        context.set("sts:SourceIdentity", source.to_string());
    }
    for (key, value) in identity.tags.iter() {
        context.set(&format!("aws:PrincipalTag/{key}"), value);
        context.set(&format!("aws:RequestTag/{key}"), value);
    }
    context.set_list("aws:TagKeys", identity.tags.iter().map(|(key, _)| key.to_owned()).collect());
}

/// IAM user guide, "Principal key values": which keys each kind of caller has.
fn user_context(context: &mut Context, user: &UserSession, now: Timestamp) {
    let kind = match (&user.credentials, user.is_root()) {
        (UserCredentials::Federation(_), _) => "FederatedUser",
        (_, true) => "Account",
        (_, false) => {
            context.set("aws:username", user.user.resource_name());
            "User"
        }
    };
    context.set("aws:PrincipalType", kind);
    context.set("aws:PrincipalArn", if user.is_root() { user.user.to_string() } else { user.arn().to_string() });
    context.set("aws:userid", user.unique_id());
    if user.credentials == UserCredentials::AssumedRoot {
        context.set("aws:AssumedRoot", "true");
    }
    // Long-term keys have neither.
    if user.is_temporary() {
        context.set_instant("aws:TokenIssueTime", user.issued.to_string(), user.issued.0);
        context.set("aws:MultiFactorAuthPresent", user.mfa.is_some().to_string());
    }
    if let Some(given) = user.mfa {
        context.set("aws:MultiFactorAuthAge", now.seconds_since(given).max(0).to_string());
    }
    for (key, value) in user.tags.iter() {
        context.set(&format!("aws:PrincipalTag/{key}"), value);
    }
    if let Some(source) = &user.source_identity {
        context.set("aws:SourceIdentity", source.to_string());
    }
}
