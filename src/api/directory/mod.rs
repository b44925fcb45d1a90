//! People and groups of the built-in directory, for pages. Actions are those of AWS's `sso-directory`.

pub mod groups;
mod tokens;

pub use tokens::{BearerTokenInfo, BearerTokens, CreateBearerToken, CreatedBearerToken, DeleteBearerToken, ListBearerTokens};

use super::signin::administered;
use crate::{
    domain::{
        Error, ErrorKind,
        directory::{Group, User},
        name::{GroupName, UserName},
    },
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service, Write, fault::json_code},
};
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct Directory;

impl Service for Directory {
    const EVENT_SOURCE: &'static str = "sso-directory.amazonaws.com";
    const SIGNING_NAME: &'static str = "sso-directory";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        let (status, code) = json_code(error.kind);
        Fault::new(status, code, error)
    }
}

/// What pages call.
pub const TABLE: &[Entry] = &[
    Entry::inner::<SearchUsers>(),
    Entry::inner::<groups::SearchGroups>(),
    Entry::inner::<groups::NameOf>(),
    Entry::inner::<groups::FindByName>(),
    Entry::inner::<CreateUser>(),
    Entry::inner::<UpdateUser>(),
    Entry::inner::<DeleteUser>(),
    Entry::inner::<CreateGroup>(),
    Entry::inner::<CreateBearerToken>(),
    Entry::inner::<ListBearerTokens>(),
    Entry::inner::<DeleteBearerToken>(),
];

/// Most people of one answer.
pub const MOST_LISTED: u32 = 100;
/// Longest name for display, in characters.
const MAX_DISPLAY_NAME: usize = 120;
/// Longest e-mail address, in bytes (RFC 5321, section 4.5.3.1.3).
const MAX_EMAIL: usize = 254;

/// People whose name, e-mail address or display name contains a text.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchUsers {
    /// Part of it, without regard to case; empty: everybody.
    #[serde(default)]
    pub text: String,
    /// From the last page.
    #[serde(default)]
    pub after: String,
}

/// One person.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryUser {
    /// `u-…`
    pub id: String,
    /// To sign in with.
    pub user_name: String,
    /// E-mail address.
    pub email: String,
    /// For display.
    pub display_name: String,
    /// Sorted.
    pub groups: Vec<String>,
    /// Can't sign in.
    pub disabled: bool,
    /// Whether a password is set.
    pub password: bool,
    /// Whether a SCIM client keeps them.
    pub provisioned: bool,
    /// Grows with each change, of groups as well.
    pub version: i64,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct DirectoryUsers {
    /// By name, or in the order in which they came.
    pub users: Vec<DirectoryUser>,
    /// For the next page.
    pub next: Option<String>,
}

impl From<User> for DirectoryUser {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            user_name: user.name.to_string(),
            email: user.email,
            display_name: user.display_name,
            groups: user.groups.iter().map(ToString::to_string).collect(),
            disabled: user.disabled,
            password: user.password_hash.is_some(),
            provisioned: user.provisioned,
            version: user.stamp.version,
        }
    }
}

impl Operation for SearchUsers {
    type Service = Directory;
    type Mode = Read;
    type Output = DirectoryUsers;
    const NAME: &'static str = "SearchUsers";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:SearchUsers"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<DirectoryUsers, Error> {
        let (users, next) = call.tx.search_users(self.text.trim(), &self.after, MOST_LISTED).await?;
        Ok(DirectoryUsers { users: users.into_iter().map(Into::into).collect(), next })
    }
}

/// Creates a person, without a password.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// To sign in with; unique without regard to case.
    pub user_name: UserName,
    /// E-mail address.
    pub email: String,
    /// For display.
    pub display_name: String,
    /// Names of groups.
    pub groups: Vec<GroupName>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct CreatedUser {
    /// `u-…`
    pub id: String,
}

/// Whether a text can be an e-mail address.
pub(super) fn is_email(text: &str) -> bool {
    let address =
        text.split_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.') && !host.contains('@'));
    address && text.len() <= MAX_EMAIL && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Whether somebody can be called so.
pub(super) fn is_display_name(text: &str) -> bool {
    (1..=MAX_DISPLAY_NAME).contains(&text.chars().count()) && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

/// What people are called and where they get mail, checked.
fn checked(email: &str, display_name: &str, without: bool) -> Result<(String, String), Error> {
    let (email, display_name) = (email.trim(), display_name.trim());
    // Who came by SCIM without an address needs none.
    let known = is_email(email) || (without && email.is_empty());
    if !known {
        return Err(Error::invalid("That is not an e-mail address."));
    }
    if !is_display_name(display_name) {
        return Err(Error::invalid(format!("A name has 1 to {MAX_DISPLAY_NAME} characters, in one line.")));
    }
    Ok((email.to_owned(), display_name.to_owned()))
}

fn sorted(mut groups: Vec<GroupName>, known: &[Group]) -> Result<Vec<GroupName>, Error> {
    if let Some(unknown) = groups.iter().find(|group| !known.iter().any(|known| known.name == **group)) {
        return Err(Error::new(ErrorKind::NoSuchEntity, format!("There is no group {unknown}.")));
    }
    groups.sort();
    groups.dedup();
    Ok(groups)
}

impl Operation for CreateUser {
    type Service = Directory;
    type Mode = Write;
    type Output = CreatedUser;
    const NAME: &'static str = "CreateUser";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        match self.groups.is_empty() {
            true => administered(scope, &["sso-directory:CreateUser"]),
            false => administered(scope, &["sso-directory:CreateUser", "sso-directory:AddMemberToGroup"]),
        }
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<CreatedUser, Error> {
        let (email, display_name) = checked(&self.email, &self.display_name, false)?;
        if call.tx.read().user_named(&self.user_name).await?.is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("There is somebody called {} already.", self.user_name)));
        }
        let id = call.broker.random.user_id();
        let groups = sorted(self.groups, &call.tx.read().groups().await?)?;
        call.tx.note("user", &id);
        call.tx.note("userName", &self.user_name);
        call.tx.note("groups", &groups);
        let user = User { email, display_name, ..User::new(id, self.user_name) };
        call.tx.put_user(&user).await?;
        call.tx.put_memberships(&user.id, &groups).await?;
        Ok(CreatedUser { id: user.id })
    }
}

/// Changes a person. Who is disabled can't sign in, and holds nothing any more.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// `u-…`
    pub id: String,
    /// E-mail address.
    pub email: String,
    /// For display.
    pub display_name: String,
    /// Names of all groups.
    pub groups: Vec<GroupName>,
    /// Whether they can't sign in.
    pub disabled: bool,
    /// Of what is being changed, see [`DirectoryUser::version`]: what somebody else changed meanwhile is not undone.
    pub version: i64,
}

fn nobody() -> Error {
    Error::new(ErrorKind::NoSuchEntity, "There is nobody with this id in the directory.")
}

impl Operation for UpdateUser {
    type Service = Directory;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdateUser";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        // All that the form can do: what of it changes is not known before the pen. Groups open roles.
        administered(
            scope,
            &[
                "sso-directory:UpdateUser",
                "sso-directory:AddMemberToGroup",
                "sso-directory:RemoveMemberFromGroup",
                "sso-directory:DisableUser",
                "sso-directory:EnableUser",
            ],
        )
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let old = call.tx.read().user_by_id(&self.id).await?.ok_or_else(nobody)?;
        if old.stamp.version != self.version {
            return Err(Error::new(
                ErrorKind::PreconditionFailed,
                "Somebody changed this person meanwhile. Look again, and repeat.",
            ));
        }
        let (email, display_name) = checked(&self.email, &self.display_name, old.email.is_empty())?;
        let groups = sorted(self.groups, &call.tx.read().groups().await?)?;
        call.tx.note("user", &self.id);
        call.tx.note("groups", &groups);
        call.tx.note("disabled", self.disabled);
        let mut user = User { disabled: self.disabled, ..old };
        user.set_display_name(display_name);
        user.set_email(email);
        call.tx.put_user(&user).await?;
        call.tx.put_memberships(&user.id, &groups).await
    }
}

/// Deletes a person with their second factors. The id never comes back.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteUser {
    /// `u-…`
    pub id: String,
}

impl Operation for DeleteUser {
    type Service = Directory;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteUser";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:DeleteUser"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let user = call.tx.read().user_by_id(&self.id).await?.ok_or_else(nobody)?;
        call.tx.note("user", &self.id);
        call.tx.note("userName", &user.name);
        call.tx.delete_user(&self.id).await
    }
}

/// Creates a group.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// Its name: what trust policies see in `directory:groups`.
    pub name: GroupName,
}

impl Operation for CreateGroup {
    type Service = Directory;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "CreateGroup";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        administered(scope, &["sso-directory:CreateGroup"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        if call.tx.read().group_named(&self.name, "").await?.is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("There is a group {} already.", self.name)));
        }
        call.tx.note("group", &self.name);
        call.tx.put_group(&Group::new(call.broker.random.group_id(), self.name)).await.map(drop)
    }
}
