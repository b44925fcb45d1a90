//! Users: long-term callers of an account.

use super::{Iam, holder::change, no_such};
use crate::{
    domain::{Arn, Error, ErrorKind, Timestamp, name::IamUserName, session::Principal, user::User},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::{CompiledUser, evaluate::Check},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A user on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UserDetail {
    /// `/` or `/a/b/`.
    pub path: String,
    /// Its name; the root user has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// `AIDA…`; the account, for the root user.
    pub user_id: String,
    /// Its ARN.
    pub arn: Arn,
    /// When it was made.
    pub create_date: Timestamp,
}

impl UserDetail {
    pub(super) fn new(user: &User) -> Self {
        Self {
            path: user.path.clone(),
            user_name: Some(user.name.to_string()),
            user_id: user.id.clone(),
            arn: user.arn(),
            create_date: user.created,
        }
    }
}

/// An answer that holds one user.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UserAnswer {
    /// The user.
    pub user: UserDetail,
}

/// The user of the caller's account with this name.
pub(super) fn find<'s>(snapshot: &'s Snapshot, scope: &Scope, name: &IamUserName) -> Result<&'s Arc<CompiledUser>, Error> {
    snapshot.user(scope.account()?, name.as_str()).ok_or_else(|| no_such("user", name.as_str()))
}

/// Whom an operation with an optional `UserName` is about.
#[derive(Debug)]
pub(super) enum Whose {
    /// A user, by name.
    User(IamUserName),
    /// The root user of the caller's account.
    Root,
}

impl Whose {
    /// The one that is named, else the caller.
    pub(super) fn of(scope: &Scope, name: Option<&IamUserName>) -> Result<Self, Error> {
        if let Some(name) = name {
            return Ok(Self::User(name.clone()));
        }
        let nobody = || Error::invalid("Must specify userName when calling with non-User credentials");
        match scope.principal() {
            Principal::User(caller) if caller.is_root() => Ok(Self::Root),
            Principal::User(caller) => {
                let user = caller.user_id.as_deref().and_then(|id| scope.snapshot.user_by_id(id));
                Ok(Self::User(user.ok_or_else(nobody)?.user.name.clone()))
            }
            _ => Err(nobody()),
        }
    }

    /// Its ARN, or the one it would have.
    pub(super) fn arn(&self, scope: &Scope) -> Result<Arn, Error> {
        match self {
            Self::User(name) => scope.user_arn(name.as_str()),
            Self::Root => Ok(Arn::iam(scope.account()?, "root")),
        }
    }

    /// Its unique id; none for the root user.
    pub(super) fn id(&self, snapshot: &Snapshot, scope: &Scope) -> Result<Option<String>, Error> {
        match self {
            Self::User(name) => find(snapshot, scope, name).map(|user| Some(user.user.id.clone())),
            Self::Root => Ok(None),
        }
    }

    /// A check on it.
    pub(super) fn check(scope: &Scope, name: Option<&IamUserName>, action: &str) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new(action, Self::of(scope, name)?.arn(scope)?)]))
    }
}

/// Creates a user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateUser {
    /// Unique in the account, without regard to case.
    pub user_name: IamUserName,
    /// Default `/`.
    pub path: Option<String>,
}

impl Operation for CreateUser {
    type Service = Iam;
    type Mode = Write;
    type Output = UserAnswer;
    const NAME: &'static str = "CreateUser";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let path = super::roles::check_path(self.path.as_deref().unwrap_or("/"))?;
        let arn = Arn::iam(scope.account()?, &format!("user{path}{}", self.user_name));
        Ok(Access::Signed(vec![Check::new("iam:CreateUser", arn)]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<UserAnswer, Error> {
        let account = call.account()?.clone();
        if call.tx.snapshot.user(&account, self.user_name.as_str()).is_some() {
            let message = format!("User with name {} already exists.", self.user_name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let user = User {
            account,
            path: super::roles::check_path(self.path.as_deref().unwrap_or("/"))?.to_owned(),
            name: self.user_name,
            id: call.broker.random.unique_id("AIDA"),
            created: call.caller.origin.time,
            inline_policies: BTreeMap::new(),
            attached_policies: Vec::new(),
        };
        call.tx.note("userArn", user.arn());
        call.tx.put_iam_user(&user).await?;
        Ok(UserAnswer { user: UserDetail::new(&user) })
    }
}

/// Reads a user; without a name, the caller.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetUser {
    /// The user.
    pub user_name: Option<IamUserName>,
}

impl Operation for GetUser {
    type Service = Iam;
    type Mode = Read;
    type Output = UserAnswer;
    const NAME: &'static str = "GetUser";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, self.user_name.as_ref(), "iam:GetUser")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<UserAnswer, Error> {
        let user = match Whose::of(call.scope, self.user_name.as_ref())? {
            Whose::User(name) => UserDetail::new(&find(&call.tx.snapshot, call.scope, &name)?.user),
            Whose::Root => UserDetail {
                path: "/".to_owned(),
                user_name: None,
                user_id: call.account()?.to_string(),
                arn: Arn::iam(call.account()?, "root"),
                create_date: Timestamp(0),
            },
        };
        Ok(UserAnswer { user })
    }
}

/// Lists the account's users, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListUsers {
    /// Only users whose path begins so.
    pub path_prefix: Option<String>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UserList {
    /// A page of users.
    pub users: Vec<UserDetail>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

impl Operation for ListUsers {
    type Service = Iam;
    type Mode = Read;
    type Output = UserList;
    const NAME: &'static str = "ListUsers";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let prefix = self.path_prefix.as_deref().unwrap_or("/");
        Ok(Access::Signed(vec![Check::new("iam:ListUsers", Arn::iam(scope.account()?, &format!("user{prefix}")))]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<UserList, Error> {
        let account = call.account()?;
        let prefix = self.path_prefix.as_deref().unwrap_or("/");
        let users = call.tx.snapshot.users.values().map(|user| &user.user);
        let own = users.filter(|user| user.account == *account && user.path.starts_with(prefix));
        let (page, marker) =
            crate::api::page(own, |user| user.name.as_str().to_lowercase(), self.marker.as_deref(), self.max_items)?;
        Ok(UserList { users: page.into_iter().map(UserDetail::new).collect(), is_truncated: marker.is_some(), marker })
    }
}

/// Changes a user's name or path. Its id stays, and with it everything that trusts it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateUser {
    /// The user.
    pub user_name: IamUserName,
    /// The new name.
    pub new_user_name: Option<IamUserName>,
    /// The new path.
    pub new_path: Option<String>,
}

impl Operation for UpdateUser {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdateUser";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let mut checks = vec![Check::new("iam:UpdateUser", scope.user_arn(self.user_name.as_str())?)];
        let user = scope.snapshot.user(scope.account()?, self.user_name.as_str());
        let path = self.new_path.as_deref().or(user.map(|user| user.user.path.as_str())).unwrap_or("/");
        let name = self.new_user_name.as_ref().unwrap_or(&self.user_name);
        // "To change a user's name or path, you must have permissions on both the source object and the target object."
        checks.push(Check::new(
            "iam:UpdateUser",
            Arn::iam(scope.account()?, &format!("user{}{name}", super::roles::check_path(path)?)),
        ));
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let account = call.account()?.clone();
        if let Some(name) = &self.new_user_name
            && let Some(other) = call.tx.snapshot.user(&account, name.as_str())
            && other.user.id != find(&call.tx.snapshot, call.scope, &self.user_name)?.user.id
        {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("User with name {name} already exists.")));
        }
        let scope = call.scope;
        let edit = |user: &mut User| {
            if let Some(name) = self.new_user_name {
                user.name = name;
            }
            if let Some(path) = self.new_path {
                super::roles::check_path(&path)?.clone_into(&mut user.path);
            }
            Ok(())
        };
        change(&mut call.tx, scope, &self.user_name, edit).await?;
        Ok(())
    }
}

/// Deletes a user that has no keys, devices or policies left.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteUser {
    /// The user.
    pub user_name: IamUserName,
}

impl Operation for DeleteUser {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteUser";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:DeleteUser", scope.user_arn(self.user_name.as_str())?)]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let snapshot = call.tx.snapshot.clone();
        let user = &find(&snapshot, call.scope, &self.user_name)?.user;
        let owns = |device: &crate::domain::user::MfaDevice| device.enabled.as_ref().is_some_and(|(id, _)| *id == user.id);
        let left = if !user.inline_policies.is_empty() {
            Some("must delete policies first")
        } else if !user.attached_policies.is_empty() {
            Some("must detach all policies first")
        } else if !snapshot.keys_of(&user.account, Some(&user.id)).is_empty() {
            Some("must delete access keys first")
        } else if snapshot.mfa_devices.values().any(|device| owns(device)) {
            Some("must delete MFA device first")
        } else {
            None
        };
        if let Some(left) = left {
            return Err(Error::new(ErrorKind::DeleteConflict, format!("Cannot delete entity, {left}.")));
        }
        call.tx.note("userArn", user.arn());
        call.tx.delete_iam_user(&user.id).await
    }
}
