//! What the portal page shows besides the portal's API: the reason for each role, favourites, and what was used of late.

use super::{OWN_SCOPE, Sso, person, with_factor_now};
use crate::store::EphemeralKind;
use crate::{
    domain::{Error, ErrorKind, name::AccountId},
    federation::mapping::{RoleOffer, role_offers, takeable_roles},
    gateway::{Access, Call, Issue, Operation, Read, Scope, Write},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Roles taken in a browser of late, by person.
const RECENT: EphemeralKind = EphemeralKind::passing("recent-role");
/// How long they are remembered, in seconds.
const RECENT_SECONDS: i64 = 30 * 86_400;
/// How many are shown.
const MOST_RECENT: u32 = 5;
/// Most favourites of a person.
pub const MAX_FAVOURITES: usize = 50;

/// The portal page's list: every role with the reason it is offered.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListRoleOffers {}

/// The answer, for pages.
#[derive(Debug, Serialize)]
pub struct RoleOffers {
    /// By account and name.
    #[serde(skip)]
    pub offers: Vec<PortalRole>,
    /// Those taken in a browser of late, the latest first, as account and role name. Some may not be offered any more.
    pub recent: Vec<(AccountId, String)>,
}

/// A role in the portal.
#[derive(Debug)]
pub struct PortalRole {
    /// The role, with the reasons.
    pub offer: RoleOffer,
    /// Whether a second factor has to be given first.
    pub step_up: bool,
    /// Whether the person keeps it at hand.
    pub favourite: bool,
}

impl Operation for ListRoleOffers {
    type Service = Sso;
    type Mode = Read;
    type Output = RoleOffers;
    const NAME: &'static str = "ListRoleOffers";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: OWN_SCOPE })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleOffers, Error> {
        let identity = &person(call)?.identity;
        let owner = identity.factor_owner();
        let favourites: BTreeSet<(AccountId, String)> = call.tx.favourite_roles(&owner).await?.into_iter().collect();
        let recent = call.broker.store.ephemeral().owned(RECENT, &owner, MOST_RECENT).await?;
        let now: BTreeSet<String> = takeable_roles(&call.tx.snapshot, identity, call.scope.context())
            .into_iter()
            .map(|role| role.role.id.clone())
            .collect();
        let offers = role_offers(&call.tx.snapshot, identity, &with_factor_now(call)?).into_iter();
        let portal = |offer: RoleOffer| {
            let role = &offer.role.role;
            PortalRole {
                step_up: !now.contains(&role.id),
                favourite: favourites.contains(&(role.account.clone(), role.name.to_string())),
                offer,
            }
        };
        Ok(RoleOffers { offers: offers.map(portal).collect(), recent })
    }
}

/// Remembers that a person took the role of this call in a browser. A command line renews without its person.
pub(in crate::api) async fn remember<O: Operation<Mode = Issue>>(call: &Call<'_, O>) -> Result<(), Error> {
    let Some(session) = call.caller.person().filter(|session| session.lent_by.is_none()) else { return Ok(()) };
    let Some(role) = call.permit.grant().map(|grant| &grant.role.role) else { return Ok(()) };
    let owner = session.identity.factor_owner();
    let key = format!("{owner}|{}/{}", role.account, role.name);
    let until = call.caller.origin.time.plus_seconds(RECENT_SECONDS);
    let taken = (&role.account, role.name.as_str());
    call.broker.store.ephemeral().put_owned(RECENT, &owner, &key, &taken, until).await
}

/// Keeps a role at hand, or does not any more.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetFavouriteRole {
    /// The account.
    pub account_id: AccountId,
    /// The role.
    pub role_name: String,
    /// Whether it is one from now on.
    pub favourite: bool,
}

impl Operation for SetFavouriteRole {
    type Service = Sso;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "SetFavouriteRole";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person arranges their own portal" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let identity = &call.caller.portal_session()?.identity;
        let owner = identity.factor_owner();
        let mut name = self.role_name;
        if self.favourite {
            // Of what they may take: names of what there is besides are nobody's to learn.
            let context = with_factor_now(call)?;
            let own = crate::federation::mapping::takeable_roles_in(&call.tx.snapshot, identity, &self.account_id, &context);
            let found = own.iter().find(|role| role.role.name.as_str().eq_ignore_ascii_case(&name));
            let role = found.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "You have no such role."))?;
            name = role.role.name.to_string();
            if call.tx.read().favourite_roles(&owner).await?.len() >= MAX_FAVOURITES {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    format!("You have {MAX_FAVOURITES} favourites: that is the most."),
                ));
            }
        }
        call.tx.note("role", format!("{}/{name}", self.account_id));
        call.tx.put_favourite_role(&owner, &self.account_id, &name, self.favourite).await
    }
}
