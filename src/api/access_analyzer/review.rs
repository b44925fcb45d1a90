//! What an administrator should look at: policies that are too open, roles that nobody takes, people without a second factor.
//! For pages.

use super::AccessAnalyzer;
use crate::{
    api::{
        iam::trust::{mappings, shown},
        signin::administered,
    },
    domain::{Arn, Error, Timestamp, iam::Role, name::AccountId},
    gateway::{Access, Call, Operation, Read, Scope},
    policy::{
        DocumentKind, Finding, FindingType,
        evaluate::Check,
        validate::{Surroundings, validate},
    },
};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// A role that was not taken for so long is unused, in seconds.
pub const UNUSED_SECONDS: i64 = 90 * 86_400;
/// Most roles that one call looks at.
const MOST_LOOKED_AT: usize = 300;
/// Most people of one answer.
const MOST_PEOPLE: u32 = 50;

/// Looks at the next roles: their trust policies and inline policies, and when they were last taken.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewRoles {
    /// Of every account of the organization, or of the caller's.
    pub organization: bool,
    /// From the last page.
    pub marker: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct RoleReviews {
    /// Roles of which there is something to say.
    #[serde(skip)]
    pub reviews: Vec<RoleReview>,
    /// How many were looked at.
    pub looked_at: usize,
    /// For the next ones.
    pub marker: Option<String>,
}

/// What there is to say of a role.
#[derive(Debug)]
pub struct RoleReview {
    /// The role.
    pub role: Role,
    /// Findings, each with the policy that it is about.
    pub findings: Vec<(String, Finding)>,
    /// Whether nobody took it for a long time.
    pub unused: bool,
    /// When it was last taken, as far as that is known.
    pub last_used: Option<Timestamp>,
}

impl Operation for ReviewRoles {
    type Service = AccessAnalyzer;
    type Mode = Read;
    type Output = RoleReviews;
    const NAME: &'static str = "ReviewRoles";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let roles = match self.organization {
            true => mappings::of_the_organization(scope)?,
            false => Check::new("iam:GetRole", Arn::iam(scope.account()?, "role/*")),
        };
        Ok(Access::Signed(vec![Check::new("access-analyzer:ValidatePolicy", "*"), roles]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleReviews, Error> {
        let snapshot = call.tx.snapshot.clone();
        let own = call.account()?.clone();
        let read = |marker: &str| {
            let (account, name) = marker.split_once('/').ok_or_else(|| Error::invalid("the marker is not ours"))?;
            Ok::<_, Error>((AccountId::parse(account)?, name.to_owned()))
        };
        let after = match &self.marker {
            Some(marker) => Some(read(marker)?),
            None => (!self.organization).then(|| (own.clone(), String::new())),
        };
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let roles = snapshot.roles.range((first, Bound::Unbounded));
        let mut roles = roles.take_while(|((account, _), _)| self.organization || *account == own);
        let page: Vec<_> = roles.by_ref().take(MOST_LOOKED_AT).collect();
        let marker = page.last().filter(|_| roles.next().is_some()).map(|((account, name), _)| format!("{account}/{name}"));
        let ids: Vec<String> = page.iter().map(|(_, role)| role.role.id.clone()).collect();
        let uses = call.tx.role_uses(&ids).await?;
        let long_ago = call.caller.origin.time.plus_seconds(-UNUSED_SECONDS);
        let own_account = |account: &AccountId| snapshot.accounts.contains_key(account);
        let resolves = |id: &str| snapshot.role_by_id(id.split(':').next().unwrap_or_default()).is_some();
        let check = |name: &str, text: &str, kind| {
            let around = Surroundings { kind, own_account: Some(&own_account), id_resolves: Some(&resolves) };
            let worth = |finding: &Finding| finding.kind != FindingType::Suggestion;
            let found = validate(text, &around).into_iter().filter(worth);
            found.map(|finding| (name.to_owned(), finding)).collect::<Vec<_>>()
        };
        let review = |role: &Role| {
            // What assignments are, Daypass wrote.
            let mut findings = match role.permission_set() {
                Some(_) => Vec::new(),
                None => check("trust policy", &shown(&role.trust_policy, &snapshot), DocumentKind::Trust),
            };
            for (name, text) in &role.inline_policies {
                findings.extend(check(name.as_str(), text, DocumentKind::Identity));
            }
            let last_used = uses.get(&role.id).copied();
            let unused = role.permission_set().is_none() && last_used.unwrap_or(role.created) < long_ago;
            RoleReview { role: role.clone(), findings, unused, last_used }
        };
        let reviews = page.iter().map(|(_, role)| review(&role.role));
        let reviews = reviews.filter(|review| review.unused || !review.findings.is_empty()).collect();
        Ok(RoleReviews { reviews, looked_at: page.len(), marker })
    }
}

/// People of the directory who can sign in and have no second factor here.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewPeople {
    /// The last name of the page before.
    pub after: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct PeopleReview {
    /// By name: id, what they sign in with, what they are called.
    pub people: Vec<(String, String, String)>,
    /// Whether there are more.
    pub more: bool,
}

impl Operation for ReviewPeople {
    type Service = AccessAnalyzer;
    type Mode = Read;
    type Output = PeopleReview;
    const NAME: &'static str = "ReviewPeople";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:SearchUsers", "sso-directory:ListMfaDevicesForUser"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PeopleReview, Error> {
        let mut found = call.tx.users_without_factor(&self.after, MOST_PEOPLE + 1).await?;
        let more = found.len() > MOST_PEOPLE as usize;
        found.truncate(MOST_PEOPLE as usize);
        let people = found.into_iter().map(|user| (user.id, user.name.to_string(), user.display_name)).collect();
        Ok(PeopleReview { people, more })
    }
}
