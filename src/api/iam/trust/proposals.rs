//! Two pairs of eyes: a change of a trust policy that one person proposes and another makes. For pages.
//!
//! Whether it takes two is a matter of policy: `iam:SecondPersonApproval` is `true` when a second person approves, and `false`
//! when one changes a trust policy alone.

use super::{
    super::{Iam, holder::change, roles},
    Known,
};
use crate::{
    domain::{
        Arn, Error, ErrorKind,
        iam::{ProviderOwner, Role},
        name::RoleName,
        session::Principal,
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::evaluate::Check,
    store::{Snapshot, TrustProposal},
};
use serde::{Deserialize, Serialize};

/// Longest reason, in characters.
const MAX_REASON: usize = 500;
/// Most proposals that wait for one role.
const MAX_WAITING: usize = 20;

/// Asks for a change of a role's trust policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProposeTrustPolicy {
    /// The role.
    pub role_name: RoleName,
    /// The trust policy as it is to be.
    pub policy_document: String,
    /// What for.
    pub reason: String,
}

impl Operation for ProposeTrustPolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "ProposeTrustPolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        proposing(scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let role = roles::find(&call.tx.snapshot, call.scope, &self.role_name)?.role.clone();
        if role.permission_set().is_some() {
            return Err(Error::invalid("This role is a permission set's: change who is assigned that."));
        }
        // What can't be stored is not worth anybody's look.
        super::stored(&self.policy_document, &Known::of(&call.tx.snapshot))?;
        if self.reason.chars().count() > MAX_REASON {
            return Err(Error::invalid(format!("A reason has at most {MAX_REASON} characters.")));
        }
        let waiting = call.tx.read().trust_proposals().await?;
        if waiting.iter().filter(|other| other.role_id == role.id).count() >= MAX_WAITING {
            return Err(Error::new(ErrorKind::LimitExceeded, "So many changes of this role wait already: decide those first."));
        }
        let proposer = somebody(&call.tx.snapshot, &call.caller.principal)?;
        let proposal = TrustProposal {
            id: call.broker.random.uuid(),
            role_id: role.id.clone(),
            document: self.policy_document,
            base: role.trust_policy.to_string(),
            reason: self.reason.trim().to_owned(),
            directory_user: call.caller.principal.directory_user().map(str::to_owned),
            proposer,
            created: call.caller.origin.time,
        };
        call.tx.note("roleArn", role.arn());
        call.tx.note("proposal", &proposal.id);
        call.tx.note("policyDocument", &proposal.document);
        call.tx.put_trust_proposal(&proposal).await
    }
}

/// Who it is, where an identity source of the organization vouched for them: keys, certificates and providers of one account
/// may be in the hands of the same administrator, and are no second pair of eyes.
fn somebody(snapshot: &Snapshot, principal: &Principal) -> Result<String, Error> {
    let vouched = match principal {
        Principal::Session(session) => session.federated_provider.as_deref().and_then(|arn| Arn::parse(arn).ok()),
        Principal::User(_)
        | Principal::Anonymous
        | Principal::Certificate(_)
        | Principal::DpopKey(_)
        | Principal::Person(_)
        | Principal::Provisioner(_)
        | Principal::Operator => None,
    };
    let source = vouched.and_then(|arn| snapshot.provider(&arn)).filter(|source| source.owner == ProviderOwner::Organization);
    let person = source.and_then(|_| principal.person_behind());
    person.ok_or_else(|| Error::new(ErrorKind::AccessDenied, "Only somebody who signed in at an identity source can do this."))
}

fn proposing(scope: &Scope, role: &RoleName) -> Result<Access, Error> {
    let arn = scope.role_arn(role.as_str())?;
    Ok(Access::Signed(vec![Check::new("iam:ProposeAssumeRolePolicy", arn)]))
}

/// The changes that wait in the caller's account, the oldest first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListTrustProposals {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct TrustProposals {
    /// All of them.
    pub proposals: Vec<WaitingProposal>,
}

/// One that waits.
#[derive(Clone, Debug, Serialize)]
pub struct WaitingProposal {
    /// Unique.
    pub id: String,
    /// The role.
    pub role_name: RoleName,
    /// The trust policy as it is to be.
    pub document: String,
    /// What for.
    pub reason: String,
    /// Who asks: `<provider>:<subject>`.
    pub proposer: String,
    /// When, ISO 8601.
    pub created: String,
    /// Whether the caller asked themselves: somebody else decides.
    pub own: bool,
    /// Whether the role's trust policy changed since.
    pub overtaken: bool,
}

impl Operation for ListTrustProposals {
    type Service = Iam;
    type Mode = Read;
    type Output = TrustProposals;
    const NAME: &'static str = "ListTrustProposals";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:ListRoles", Arn::iam(scope.account()?, "role/"))]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<TrustProposals, Error> {
        let account = call.account()?;
        let all = call.tx.trust_proposals().await?;
        let waiting = all.into_iter().filter_map(|proposal| {
            let role = &call.tx.snapshot.role_by_id(&proposal.role_id).filter(|role| role.role.account == *account)?.role;
            Some(WaitingProposal {
                role_name: role.name.clone(),
                own: same_person(&call.caller.principal, &proposal),
                overtaken: *role.trust_policy != *proposal.base,
                created: proposal.created.to_string(),
                id: proposal.id,
                document: proposal.document,
                reason: proposal.reason,
                proposer: proposal.proposer,
            })
        });
        Ok(TrustProposals { proposals: waiting.collect() })
    }
}

fn same_person(principal: &Principal, proposal: &TrustProposal) -> bool {
    let known = principal.directory_user().is_some_and(|user| proposal.directory_user.as_deref() == Some(user));
    known || principal.person_behind().is_some_and(|person| person == proposal.proposer)
}

/// Makes a change that somebody else proposed, or refuses it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DecideTrustProposal {
    /// The proposal.
    pub id: String,
    /// Its role.
    pub role_name: RoleName,
    /// Whether the change is made.
    pub approve: bool,
}

impl Operation for DecideTrustProposal {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DecideTrustProposal";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        // Who may not make the change does not take it from the list of those who may.
        roles::changes_trust("iam:UpdateAssumeRolePolicy", scope.role_arn(self.role_name.as_str())?, true)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let role = roles::find(&call.tx.snapshot, call.scope, &self.role_name)?.role.clone();
        let gone = || Error::new(ErrorKind::NoSuchEntity, "This change does not wait any more.");
        let proposal = call.tx.trust_proposal(&self.id).await?.filter(|proposal| proposal.role_id == role.id).ok_or_else(gone)?;
        call.tx.note("roleArn", role.arn());
        call.tx.note("proposal", &proposal.id);
        call.tx.note("proposer", &proposal.proposer);
        if self.approve {
            somebody(&call.tx.snapshot, &call.caller.principal)?;
            if same_person(&call.caller.principal, &proposal) {
                return Err(Error::new(
                    ErrorKind::AccessDenied,
                    "You proposed this change yourself: somebody else has to approve it.",
                ));
            }
            if *role.trust_policy != *proposal.base {
                let message = "The trust policy was changed since this was proposed: propose it anew.";
                return Err(Error::new(ErrorKind::PreconditionFailed, message));
            }
            let trust_policy = super::stored(&proposal.document, &Known::of(&call.tx.snapshot))?;
            call.tx.note("policyDocument", &proposal.document);
            let scope = call.scope;
            let edit = |role: &mut Role| {
                role.trust_policy = trust_policy.into();
                Ok(())
            };
            change(&mut call.tx, scope, &self.role_name, edit).await?;
        }
        call.tx.delete_trust_proposal(&proposal.id).await
    }
}

/// Takes one's own proposal back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WithdrawTrustProposal {
    /// The proposal.
    pub id: String,
    /// Its role.
    pub role_name: RoleName,
}

impl Operation for WithdrawTrustProposal {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "WithdrawTrustProposal";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        proposing(scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let role = roles::find(&call.tx.snapshot, call.scope, &self.role_name)?.role.clone();
        let own = |proposal: &TrustProposal| proposal.role_id == role.id && same_person(&call.caller.principal, proposal);
        let gone = || Error::new(ErrorKind::NoSuchEntity, "You have no such change waiting.");
        let proposal = call.tx.trust_proposal(&self.id).await?.filter(own).ok_or_else(gone)?;
        call.tx.note("roleArn", role.arn());
        call.tx.note("proposal", &proposal.id);
        call.tx.delete_trust_proposal(&proposal.id).await
    }
}
