//! Access keys of users and of root users: shown once, sealed at rest.

use super::{Iam, no_such, users::Whose};
use crate::{
    credentials::secret_access_key,
    domain::{
        Arn, Error, ErrorKind, Secret, Timestamp,
        name::{AccountId, IamUserName},
        time::account_of_access_key,
        user::{AccessKey, MAX_ACCESS_KEYS},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::evaluate::Check,
    store::Snapshot,
};
use serde::{Deserialize, Serialize};

/// Whether a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// It does.
    Active,
    /// It does not.
    Inactive,
}

impl KeyStatus {
    const fn of(key: &AccessKey) -> Self {
        if key.active { Self::Active } else { Self::Inactive }
    }
}

/// A new key, with its secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NewAccessKey {
    /// The user; empty for the root user.
    pub user_name: String,
    /// `AKIA…`.
    pub access_key_id: String,
    /// Active.
    pub status: KeyStatus,
    /// In the clear: this answer exists to hand it out, once.
    #[serde(serialize_with = "Secret::reveal")]
    pub secret_access_key: Secret<String>,
    /// When it was made.
    pub create_date: Timestamp,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NewAccessKeyAnswer {
    /// The key.
    pub access_key: NewAccessKey,
}

/// Makes an access key. A user has at most two.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateAccessKey {
    /// Default: the caller.
    pub user_name: Option<IamUserName>,
}

impl Operation for CreateAccessKey {
    type Service = Iam;
    type Mode = Write;
    type Output = NewAccessKeyAnswer;
    const NAME: &'static str = "CreateAccessKey";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, self.user_name.as_ref(), "iam:CreateAccessKey")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<NewAccessKeyAnswer, Error> {
        let whose = Whose::of(call.scope, self.user_name.as_ref())?;
        let user_id = whose.id(&call.tx.snapshot, call.scope)?;
        let account = call.account()?.clone();
        let key = new_key(call, account, user_id).await?;
        Ok(NewAccessKeyAnswer { access_key: shown_once(key, &whose) })
    }
}

/// Makes an access key for the root user of an account: for whoever holds the store, when nobody else is left.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateRootAccessKey {
    /// The account.
    pub account_id: AccountId,
}

impl Operation for CreateRootAccessKey {
    type Service = Iam;
    type Mode = Write;
    type Output = NewAccessKeyAnswer;
    const NAME: &'static str = "CreateRootAccessKey";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: "who holds the store and its master key may act as any account's root user" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<NewAccessKeyAnswer, Error> {
        if !call.tx.snapshot.accounts.contains_key(&self.account_id) {
            return Err(Error::new(ErrorKind::NoSuchEntity, format!("There is no account {}.", self.account_id)));
        }
        let key = new_key(call, self.account_id, None).await?;
        Ok(NewAccessKeyAnswer { access_key: shown_once(key, &Whose::Root) })
    }
}

async fn new_key<O: Operation<Mode = Write>>(
    call: &mut Call<'_, O>,
    account: AccountId,
    user_id: Option<String>,
) -> Result<AccessKey, Error> {
    if call.tx.snapshot.keys_of(&account, user_id.as_deref()).len() >= MAX_ACCESS_KEYS {
        let message = format!("Cannot exceed quota for AccessKeysPerUser: {MAX_ACCESS_KEYS}");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let key = AccessKey {
        id: call.broker.random.access_key_id("AKIA", &account),
        account,
        user_id,
        secret: secret_access_key(&*call.broker.random),
        active: true,
        created: call.caller.origin.time,
    };
    call.tx.note("accessKeyId", &key.id);
    call.tx.put_access_key(&key).await?;
    Ok(key)
}

fn shown_once(key: AccessKey, whose: &Whose) -> NewAccessKey {
    let user_name = match whose {
        Whose::User(name) => name.to_string(),
        Whose::Root => String::new(),
    };
    NewAccessKey {
        user_name,
        access_key_id: key.id,
        status: KeyStatus::Active,
        secret_access_key: key.secret,
        create_date: key.created,
    }
}

/// Lists the access keys of a user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAccessKeys {
    /// Default: the caller.
    pub user_name: Option<IamUserName>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// A key, without its secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessKeyMetadata {
    /// The user; empty for the root user.
    pub user_name: String,
    /// `AKIA…`.
    pub access_key_id: String,
    /// Whether it signs.
    pub status: KeyStatus,
    /// When it was made.
    pub create_date: Timestamp,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessKeyList {
    /// A page of keys.
    pub access_key_metadata: Vec<AccessKeyMetadata>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

impl Operation for ListAccessKeys {
    type Service = Iam;
    type Mode = Read;
    type Output = AccessKeyList;
    const NAME: &'static str = "ListAccessKeys";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, self.user_name.as_ref(), "iam:ListAccessKeys")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AccessKeyList, Error> {
        let whose = Whose::of(call.scope, self.user_name.as_ref())?;
        let id = whose.id(&call.tx.snapshot, call.scope)?;
        let keys = call.tx.snapshot.keys_of(call.account()?, id.as_deref()).into_iter();
        let (page, marker) = crate::api::page(keys, |key| key.id.clone(), self.marker.as_deref(), self.max_items)?;
        let metadata = |key: &AccessKey| AccessKeyMetadata {
            user_name: match &whose {
                Whose::User(name) => name.to_string(),
                Whose::Root => String::new(),
            },
            access_key_id: key.id.clone(),
            status: KeyStatus::of(key),
            create_date: key.created,
        };
        Ok(AccessKeyList {
            access_key_metadata: page.into_iter().map(metadata).collect(),
            is_truncated: marker.is_some(),
            marker,
        })
    }
}

fn find(snapshot: &Snapshot, scope: &Scope, whose: &Whose, id: &str) -> Result<AccessKey, Error> {
    let owner = whose.id(snapshot, scope)?;
    let key = snapshot.access_keys.get(id).map(|(key, _)| key);
    let key = key.filter(|key| Some(&key.account) == scope.account.as_ref() && key.user_id == owner);
    let missing = || Error::new(ErrorKind::NoSuchEntity, format!("The Access Key with id {id} cannot be found."));
    key.cloned().ok_or_else(missing)
}

/// Makes a key inactive, or active again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateAccessKey {
    /// Default: the caller.
    pub user_name: Option<IamUserName>,
    /// The key.
    pub access_key_id: String,
    /// Whether it shall sign.
    pub status: KeyStatus,
}

impl Operation for UpdateAccessKey {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdateAccessKey";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, self.user_name.as_ref(), "iam:UpdateAccessKey")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let whose = Whose::of(call.scope, self.user_name.as_ref())?;
        let key = find(&call.tx.snapshot, call.scope, &whose, &self.access_key_id)?;
        call.tx.note("accessKeyId", &key.id);
        call.tx.note("status", self.status);
        call.tx.put_access_key(&AccessKey { active: self.status == KeyStatus::Active, ..key }).await
    }
}

/// Deletes a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteAccessKey {
    /// Default: the caller.
    pub user_name: Option<IamUserName>,
    /// The key.
    pub access_key_id: String,
}

impl Operation for DeleteAccessKey {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteAccessKey";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, self.user_name.as_ref(), "iam:DeleteAccessKey")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let whose = Whose::of(call.scope, self.user_name.as_ref())?;
        let key = find(&call.tx.snapshot, call.scope, &whose, &self.access_key_id)?;
        call.tx.note("accessKeyId", &key.id);
        call.tx.delete_access_key(&key.id).await
    }
}

/// Says when, for what and where a key was last used.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetAccessKeyLastUsed {
    /// The key.
    pub access_key_id: String,
}

/// The last use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessKeyLastUsed {
    /// When; none when never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_date: Option<Timestamp>,
    /// Of the credential scope, or `N/A`.
    pub service_name: String,
    /// Of the credential scope, or `N/A`.
    pub region: String,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LastUsedAnswer {
    /// Whose key it is; none for the root user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Its last use.
    pub access_key_last_used: AccessKeyLastUsed,
}

impl Operation for GetAccessKeyLastUsed {
    type Service = Iam;
    type Mode = Read;
    type Output = LastUsedAnswer;
    const NAME: &'static str = "GetAccessKeyLastUsed";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let key = scope.snapshot.access_keys.get(&self.access_key_id);
        let arn = match key {
            Some((_, signer)) if Some(&signer.account) == scope.account.as_ref() => signer.user.clone(),
            _ => Arn::iam(scope.account()?, "user/*"),
        };
        let check = Check::new("iam:GetAccessKeyLastUsed", arn);
        Ok(Access::Signed(vec![match account_of_access_key(&self.access_key_id) {
            Some(account) => check.owned_by(account),
            None => check,
        }]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<LastUsedAnswer, Error> {
        let snapshot = call.tx.snapshot.clone();
        let key = snapshot.access_keys.get(&self.access_key_id).map(|(key, _)| key);
        let key = key.filter(|key| Some(&key.account) == call.scope.account.as_ref());
        let key = key.ok_or_else(|| no_such("access key", &self.access_key_id))?;
        let user = key.user_id.as_deref().and_then(|id| snapshot.user_by_id(id));
        let used = call.tx.last_use(&key.id).await?;
        let never = || "N/A".to_owned();
        Ok(LastUsedAnswer {
            user_name: user.map(|user| user.user.name.to_string()),
            access_key_last_used: AccessKeyLastUsed {
                last_used_date: used.as_ref().map(|used| used.time),
                service_name: used.as_ref().map_or_else(never, |used| used.service.clone()),
                region: used.map_or_else(never, |used| used.region),
            },
        })
    }
}
