//! Before a trust policy is changed: what of it is new, and whom it lets in or out. For pages.

use super::{
    super::{Iam, roles, sign_ins},
    Known, trial,
};
use crate::{
    api::signin::administered,
    domain::{
        Error, ErrorKind,
        directory::User,
        iam::{DIRECTORY_ISSUER, IdentityProvider, ProviderKind},
        name::RoleName,
        session::{IdentityAssertion, RequestOrigin},
    },
    gateway::{Access, Call, Operation, Read, Scope},
    policy::{
        CompiledRole, Document, DocumentKind,
        evaluate::Check,
        rule::{FederatedRule, Rule, RuleChanges, RuleCondition},
    },
    store::{RecordingFilter, Snapshot},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most people of the directory who are tried.
pub const MOST_PEOPLE: u32 = 5_000;
/// Most recent sign-ins that are looked at.
pub const MOST_SIGN_INS: u32 = 1_000;

/// Compares a trust policy with the one that a role has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PreviewTrustPolicy {
    /// The role.
    pub role_name: RoleName,
    /// The trust policy as it would be.
    pub policy_document: String,
    /// Whether people are tried, too: those of the directory, and those who signed in of late.
    #[serde(default)]
    pub people: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct TrustPreview {
    /// What the policy says that it did not say, and the other way round.
    #[serde(skip)]
    pub changes: RuleChanges,
    /// People who would be let in, and are not now.
    pub gaining: Vec<Tried>,
    /// People who are let in now, and would not be.
    pub losing: Vec<Tried>,
    /// How many are let in before and after.
    pub keeping: usize,
    /// How many were tried.
    pub tried: usize,
    /// Whether there are more people in the directory than were tried.
    pub more: bool,
}

/// Somebody who was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// Their name.
    pub name: String,
    /// Their address, where it is known.
    pub email: String,
    /// Name of the source they come from.
    pub source: String,
}

impl Operation for PreviewTrustPolicy {
    type Service = Iam;
    type Mode = Read;
    type Output = TrustPreview;
    const NAME: &'static str = "PreviewTrustPolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let role = scope.role_arn(self.role_name.as_str())?;
        let mut checks = vec![Check::new("iam:SimulateCustomPolicy", "*"), Check::new("iam:GetRole", role)];
        if self.people {
            checks.push(sign_ins::access(scope)?);
            if let Access::Signed(of_people) = administered(scope, &["sso-directory:SearchUsers"])? {
                checks.extend(of_people);
            }
        }
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<TrustPreview, Error> {
        let snapshot = call.tx.snapshot.clone();
        let now = roles::find(&snapshot, call.scope, &self.role_name)?;
        super::stored(&self.policy_document, &Known::of(&snapshot))?;
        let malformed = |error: crate::policy::MalformedDocument| Error::new(ErrorKind::MalformedPolicy, error.to_string());
        let then = now.with_trust(&self.policy_document).map_err(malformed)?;
        let read = |text: &str| Document::parse(text, DocumentKind::Trust).map_err(malformed);
        let changes =
            RuleChanges::between(&read(&super::shown(&now.role.trust_policy, &snapshot))?, &read(&self.policy_document)?);
        let mut preview = TrustPreview { gaining: Vec::new(), losing: Vec::new(), keeping: 0, tried: 0, more: false, changes };
        if !self.people {
            return Ok(preview);
        }
        let trial = Trial { snapshot: &snapshot, now, then: &then, origin: &call.caller.origin };
        let directory = snapshot.identity_sources().find(|source| source.kind == ProviderKind::Directory);
        if let Some(source) = directory {
            let people = match concerned_groups(&preview.changes) {
                Some(groups) if groups.is_empty() => Vec::new(),
                Some(groups) => call.tx.users_in_groups(&groups, MOST_PEOPLE + 1).await?,
                None => call.tx.search_users("", "", MOST_PEOPLE + 1).await?.0,
            };
            preview.more = people.len() > MOST_PEOPLE as usize;
            let able = |user: &&User| !user.disabled;
            for user in people.iter().take(MOST_PEOPLE as usize).filter(able) {
                trial.of(&call.broker.federation.directory_assertion(source, user), source, &mut preview);
            }
        }
        let mut seen = BTreeSet::new();
        for attempt in call.tx.recordings(&RecordingFilter::default(), MOST_SIGN_INS).await? {
            let Some(identity) = attempt.identity.filter(|identity| identity.issuer != DIRECTORY_ISSUER) else { continue };
            // The newest is what the provider says of them.
            let Some(source) = snapshot.source_of(&identity).filter(|_| seen.insert(identity.person())) else { continue };
            trial.of(&identity, source, &mut preview);
        }
        Ok(preview)
    }
}

/// The two policies, asked about the same people.
struct Trial<'a> {
    snapshot: &'a Snapshot,
    now: &'a CompiledRole,
    then: &'a CompiledRole,
    origin: &'a RequestOrigin,
}

impl Trial<'_> {
    fn of(&self, identity: &IdentityAssertion, source: &IdentityProvider, preview: &mut TrustPreview) {
        // A second factor is taken as given: who can give one, gets in.
        let factor = Some(self.origin.time);
        let admits = |role| trial::explain(self.snapshot, role, identity, factor, self.origin).allowed;
        preview.tried += 1;
        let list = match (admits(self.now), admits(self.then)) {
            (false, false) => return,
            (true, true) => {
                preview.keeping += 1;
                return;
            }
            (false, true) => &mut preview.gaining,
            (true, false) => &mut preview.losing,
        };
        list.push(Tried {
            name: identity.display_name().to_owned(),
            email: identity.email.clone().unwrap_or_default(),
            source: source.label.clone(),
        });
    }
}

/// The groups of the directory that everything that changed is about (keys of names); none when it may be about others, too.
fn concerned_groups(changes: &RuleChanges) -> Option<Vec<String>> {
    let mut groups = BTreeSet::new();
    for (rule, _) in changes.added.iter().chain(&changes.removed) {
        let Rule::Federated(FederatedRule { provider, conditions, .. }) = rule else { return None };
        if !provider.ends_with(&format!(":oidc-provider/{DIRECTORY_ISSUER}")) {
            continue;
        }
        let of_groups = |condition: &&RuleCondition| {
            condition.operator == "ForAnyValue:StringEquals"
                && condition.key.eq_ignore_ascii_case("directory:groups")
                && !condition.values.iter().any(|value| value.contains("${"))
        };
        let condition = conditions.iter().find(of_groups)?;
        groups.extend(condition.values.iter().map(|value| value.to_lowercase()));
    }
    Some(groups.into_iter().collect())
}
