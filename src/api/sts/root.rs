//! The root user of a member account, for one task (IAM user guide, "Centrally manage root access for member accounts").

use super::{Credentials, PolicyDescriptor, Sts, users::issue};
use crate::{
    domain::{
        Arn, Error, ErrorKind, Secret, Timestamp,
        name::{AccountId, SourceIdentity},
        session::SessionTags,
        user::{UserCredentials, UserSession},
    },
    gateway::{Access, Call, Issue, Operation, Scope},
    policy::{aws_managed, evaluate::Check},
};
use serde::{Deserialize, Serialize};

/// Longest root session, in seconds.
const MOST_SECONDS: u32 = 900;

/// Becomes the root user of a member account. The task's policy takes away everything else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AssumeRoot {
    /// The account, as twelve digits or as its `:root` ARN.
    pub target_principal: String,
    /// One of AWS's `root-task` policies.
    pub task_policy_arn: PolicyDescriptor,
    /// 0 to 900 seconds, default 900.
    pub duration_seconds: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootSession {
    /// The credentials.
    pub credentials: Credentials,
    /// Of the session that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<SourceIdentity>,
}

impl AssumeRoot {
    fn target(&self) -> Result<AccountId, Error> {
        let account = match AccountId::parse(&self.target_principal) {
            Ok(account) => Some(account),
            Err(_) => {
                Arn::parse(&self.target_principal).ok().filter(|arn| arn.resource() == "root").and_then(|arn| arn.account())
            }
        };
        account.ok_or_else(|| Error::invalid("TargetPrincipal must be an account, or the ARN of its root user"))
    }
}

impl Operation for AssumeRoot {
    type Service = Sts;
    type Mode = Issue;
    type Output = RootSession;
    const NAME: &'static str = "AssumeRoot";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let target = self.target()?;
        let own = scope.account()?;
        if !aws_managed::is_root_task(&self.task_policy_arn.arn) {
            return Err(Error::invalid(format!("{} is not a root task policy", self.task_policy_arn.arn)));
        }
        if self.duration_seconds.is_some_and(|seconds| seconds > MOST_SECONDS) {
            return Err(Error::invalid(format!(
                "1 validation error detected: Value at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to {MOST_SECONDS}"
            )));
        }
        let member = scope.snapshot.accounts.contains_key(&target) && Some(&target) != scope.snapshot.management_account();
        // The management account's to allow, and there its own policies decide: root has no policy that could agree.
        if scope.snapshot.management_account() != Some(own) || !member {
            let message = format!(
                "Account {own} may not assume root of {target}: the caller must be of the management account, and the target one of its members"
            );
            return Err(Error::new(ErrorKind::AccessDenied, message));
        }
        let check = Check::new("sts:AssumeRoot", Arn::iam(&target, "root"))
            .with_key("sts:TaskPolicyArn", vec![self.task_policy_arn.arn.to_string()])
            .with_key("aws:ResourceAccount", vec![target.to_string()])
            .guarded_by(target);
        Ok(Access::Signed(vec![check]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RootSession, Error> {
        let account = self.target()?;
        let source_identity = call.scope.principal().source_identity().cloned();
        let session = UserSession {
            access_key_id: String::new(),
            secret_access_key: Secret::default(),
            user_id: None,
            user: Arn::iam(&account, "root"),
            account,
            credentials: UserCredentials::AssumedRoot,
            issued: Timestamp(0),
            expires: None,
            mfa: None,
            person: call.scope.principal().person_behind(),
            directory_user: call.scope.principal().directory_user().map(str::to_owned),
            source_identity,
            tags: SessionTags::default(),
            session_policy: None,
            session_policy_arns: vec![self.task_policy_arn.arn],
        };
        let (session, credentials) = issue(call, session, self.duration_seconds.unwrap_or(MOST_SECONDS))?;
        Ok(RootSession { credentials, source_identity: session.source_identity })
    }
}
