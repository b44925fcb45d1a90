//! Profiles: which roles workloads may take, and within which bounds.

use super::{RolesAnywhere, check_name, iso8601, missing, on, own};
use crate::{
    credentials::check_caps,
    domain::{
        Arn, Error, Timestamp,
        anywhere::AnywhereProfile,
        iam::{MAX_SESSION_SECONDS, MIN_SESSION_SECONDS},
        session::SessionTags,
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::{aws_managed, evaluate::Check},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};

/// Most roles of a profile.
const MAX_ROLES: usize = 250;

/// A profile on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileDetail {
    /// A UUID.
    pub profile_id: String,
    /// Its ARN.
    pub profile_arn: Arn,
    /// For people.
    pub name: String,
    /// The roles.
    pub role_arns: Vec<Arn>,
    /// Inline session policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_policy: Option<String>,
    /// Managed session policies.
    pub managed_policy_arns: Vec<Arn>,
    /// Length of sessions, in seconds.
    pub duration_seconds: u32,
    /// Whether a workload may name its session.
    pub accept_role_session_name: bool,
    /// Whether it lets workloads in.
    pub enabled: bool,
    /// When it was made.
    #[serde(serialize_with = "iso8601")]
    pub created_at: Timestamp,
    /// When it was changed.
    #[serde(serialize_with = "iso8601")]
    pub updated_at: Timestamp,
}

impl ProfileDetail {
    fn new(profile: &AnywhereProfile) -> Self {
        Self {
            profile_id: profile.id.clone(),
            profile_arn: profile.arn(),
            name: profile.name.clone(),
            role_arns: profile.role_arns.clone(),
            session_policy: profile.session_policy.clone(),
            managed_policy_arns: profile.managed_policy_arns.clone(),
            duration_seconds: profile.duration_seconds,
            accept_role_session_name: profile.accept_role_session_name,
            enabled: profile.enabled,
            created_at: profile.created,
            updated_at: profile.updated,
        }
    }
}

/// An answer that holds one.
#[derive(Debug, Serialize)]
pub struct ProfileAnswer {
    /// The profile.
    pub profile: ProfileDetail,
}

/// Makes a profile. Whoever makes one hands its roles to workloads, and needs `iam:PassRole` for them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateProfile {
    /// For people.
    pub name: String,
    /// The roles, up to 250.
    pub role_arns: Vec<Arn>,
    /// Inline session policy.
    pub session_policy: Option<String>,
    /// Managed session policies.
    #[serde(default)]
    pub managed_policy_arns: Vec<Arn>,
    /// 900 to 43200 seconds, default 3600.
    pub duration_seconds: Option<u32>,
    /// Whether a workload may name its session.
    #[serde(default)]
    pub accept_role_session_name: bool,
    /// Default: off, as at AWS.
    #[serde(default)]
    pub enabled: bool,
}

impl Operation for CreateProfile {
    type Service = RolesAnywhere;
    type Mode = Write;
    type Output = ProfileAnswer;
    const NAME: &'static str = "CreateProfile";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let Access::Signed(mut checks) = on(Self::NAME, scope, "profile", "*")? else {
            return Err(Error::internal("a profile is made by whoever signed"));
        };
        let service = || vec![crate::domain::anywhere::SERVICE.to_owned()];
        checks.extend(
            self.role_arns.iter().map(|role| Check::new("iam:PassRole", role).with_key("iam:PassedToService", service())),
        );
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ProfileAnswer, Error> {
        check_name(&self.name)?;
        let account = call.account()?.clone();
        if self.role_arns.len() > MAX_ROLES {
            return Err(Error::invalid(format!("a profile has at most {MAX_ROLES} roles")));
        }
        for role in &self.role_arns {
            own(role, &account)?;
            if call.tx.snapshot.role_by_arn(role).is_none() {
                return Err(Error::invalid(format!("There is no role {role}")));
            }
        }
        for policy in &self.managed_policy_arns {
            let owner = policy.account();
            let task = aws_managed::is_root_task(policy);
            if task || owner.is_some_and(|owner| owner != account) || call.tx.snapshot.policy(policy).is_none() {
                return Err(Error::invalid(format!("There is no policy {policy}")));
            }
        }
        check_caps(self.session_policy.as_deref(), &self.managed_policy_arns, &SessionTags::default())?;
        let duration_seconds = self.duration_seconds.unwrap_or(3600);
        if !(MIN_SESSION_SECONDS..=MAX_SESSION_SECONDS).contains(&duration_seconds) {
            return Err(Error::invalid("durationSeconds must be 900 to 43200"));
        }
        let now = call.caller.origin.time;
        let profile = AnywhereProfile {
            account,
            id: call.broker.random.uuid(),
            name: self.name,
            role_arns: self.role_arns,
            session_policy: self.session_policy,
            managed_policy_arns: self.managed_policy_arns,
            duration_seconds,
            accept_role_session_name: self.accept_role_session_name,
            enabled: self.enabled,
            created: now,
            updated: now,
        };
        call.tx.note("profileArn", profile.arn());
        call.tx.note("roleArns", &profile.role_arns);
        call.tx.put_anywhere_profile(&profile).await?;
        Ok(ProfileAnswer { profile: ProfileDetail::new(&profile) })
    }
}

/// Lists the account's profiles.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListProfiles {
    /// From the last page.
    pub next_token: Option<String>,
    /// 1 to 1000, default 100.
    pub page_size: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profiles {
    /// A page of them.
    pub profiles: Vec<ProfileDetail>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Operation for ListProfiles {
    type Service = RolesAnywhere;
    type Mode = Read;
    type Output = Profiles;
    const NAME: &'static str = "ListProfiles";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(Self::NAME, scope, "profile", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Profiles, Error> {
        let account = call.account()?;
        let own = call.tx.snapshot.anywhere_profiles.iter().filter(|profile| profile.account == *account);
        let (page, next_token) = crate::api::page(own, |profile| profile.id.clone(), self.next_token.as_deref(), self.page_size)?;
        let details = page.into_iter().map(|profile| ProfileDetail::new(profile));
        Ok(Profiles { profiles: details.collect(), next_token })
    }
}

fn find(snapshot: &Snapshot, scope: &Scope, id: &str) -> Result<AnywhereProfile, Error> {
    let account = scope.account()?;
    let found = snapshot.anywhere_profiles.iter().find(|profile| profile.account == *account && profile.id == id);
    found.map(|profile| (**profile).clone()).ok_or_else(|| missing("Profile", id))
}

/// One profile, by its id.
macro_rules! on_one {
    ($operation:ident, $doc:literal, $mode:ty, |$profile:ident, $call:ident| $body:block) => {
        #[doc = $doc]
        #[derive(Debug, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $operation {
            /// The profile, a UUID.
            pub profile_id: String,
        }

        impl Operation for $operation {
            type Service = RolesAnywhere;
            type Mode = $mode;
            type Output = ProfileAnswer;
            const NAME: &'static str = stringify!($operation);

            fn access(&self, scope: &Scope) -> Result<Access, Error> {
                on(Self::NAME, scope, "profile", &self.profile_id)
            }

            async fn run(self, $call: &mut Call<'_, Self>) -> Result<ProfileAnswer, Error> {
                let $profile = find(&$call.tx.snapshot, $call.scope, &self.profile_id)?;
                let profile = $body;
                Ok(ProfileAnswer { profile: ProfileDetail::new(&profile) })
            }
        }
    };
}

on_one!(GetProfile, "Reads a profile.", Read, |profile, call| { profile });
on_one!(DeleteProfile, "Deletes a profile.", Write, |profile, call| {
    call.tx.note("profileArn", profile.arn());
    call.tx.delete_anywhere_profile(&profile.id).await?;
    profile
});
on_one!(EnableProfile, "Lets workloads in.", Write, |profile, call| {
    let profile = AnywhereProfile { enabled: true, updated: call.caller.origin.time, ..profile };
    call.tx.note("profileArn", profile.arn());
    call.tx.put_anywhere_profile(&profile).await?;
    profile
});
on_one!(DisableProfile, "Lets nobody in any more; sessions that exist live on.", Write, |profile, call| {
    let profile = AnywhereProfile { enabled: false, updated: call.caller.origin.time, ..profile };
    call.tx.note("profileArn", profile.arn());
    call.tx.put_anywhere_profile(&profile).await?;
    profile
});
