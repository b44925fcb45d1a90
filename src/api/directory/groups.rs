//! Groups of the directory, and whom ids and names stand for. For pages.

use super::{Directory, MOST_LISTED};
use crate::{
    api::signin::administered,
    domain::{
        Error, ErrorKind,
        name::{GroupName, UserName},
    },
    gateway::{Access, Call, Operation, Read, Scope},
};
use serde::{Deserialize, Serialize};

/// Groups whose name contains a text.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchGroups {
    /// Part of it, without regard to case; empty: all.
    pub text: String,
    /// The last name of the page before.
    pub after: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct DirectoryGroups {
    /// By name; at most [`MOST_LISTED`].
    pub groups: Vec<String>,
    /// Whether there are more.
    pub more: bool,
}

impl Operation for SearchGroups {
    type Service = Directory;
    type Mode = Read;
    type Output = DirectoryGroups;
    const NAME: &'static str = "SearchGroups";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:SearchGroups"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<DirectoryGroups, Error> {
        let mut found = call.tx.search_groups(self.text.trim(), &self.after, MOST_LISTED + 1).await?;
        let more = found.len() > MOST_LISTED as usize;
        found.truncate(MOST_LISTED as usize);
        Ok(DirectoryGroups { groups: found.into_iter().map(|group| group.name.into()).collect(), more })
    }
}

/// Somebody, or a group.
#[derive(Debug, Serialize)]
pub struct DirectoryPrincipal {
    /// `u-…` or `g-…`.
    pub id: String,
    /// What they are called.
    pub name: String,
}

/// Says who has an id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameOf {
    /// `u-…` or `g-…`.
    pub id: String,
}

fn nobody() -> Error {
    Error::new(ErrorKind::NoSuchEntity, "There is nobody of that name in the directory.")
}

impl Operation for NameOf {
    type Service = Directory;
    type Mode = Read;
    type Output = DirectoryPrincipal;
    const NAME: &'static str = "NameOf";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:SearchUsers", "sso-directory:SearchGroups"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<DirectoryPrincipal, Error> {
        let name = match call.tx.group_by_id(&self.id).await? {
            Some(group) => Some(group.name.to_string()),
            None => call.tx.user_by_id(&self.id).await?.map(|user| user.display_name),
        };
        Ok(DirectoryPrincipal { id: self.id, name: name.ok_or_else(nobody)? })
    }
}

/// Finds somebody by the name they sign in with, or a group by its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindByName {
    /// The whole name, without regard to case.
    pub name: String,
    /// Whether it is a group's.
    pub group: bool,
}

impl Operation for FindByName {
    type Service = Directory;
    type Mode = Read;
    type Output = DirectoryPrincipal;
    const NAME: &'static str = "FindByName";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:SearchUsers", "sso-directory:SearchGroups"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<DirectoryPrincipal, Error> {
        let id = match self.group {
            true => call.tx.group_named(&GroupName::parse(&self.name).map_err(|_| nobody())?, "").await?,
            false => call.tx.user_named(&UserName::parse(&self.name).map_err(|_| nobody())?).await?,
        };
        Ok(DirectoryPrincipal { id: id.ok_or_else(nobody)?, name: self.name })
    }
}
