//! Accounts: where they are in the tree, and what is known of them.

use super::{Node, Organizations, no_account, on, on_each, organization, place};
use crate::{
    api::epoch_seconds,
    domain::{
        Error, ErrorKind, Timestamp,
        name::AccountId,
        organization::{Account, AccountColor, check_tags},
        permission_set::{AccountAssignment, AssignmentTarget},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::evaluate::Check,
    store::Snapshot,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// An account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountDetail {
    /// Twelve digits.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
    /// Contact.
    pub email: String,
    /// `ACTIVE`.
    pub status: &'static str,
}

fn detail(snapshot: &Snapshot, account: &Account) -> Result<AccountDetail, Error> {
    let organization = organization(snapshot)?;
    Ok(AccountDetail {
        arn: format!("arn:aws:organizations::{}:account/{}/{}", organization.management_account, organization.id, account.id),
        id: account.id.to_string(),
        name: account.name.clone(),
        email: account.email.clone(),
        status: "ACTIVE",
    })
}

/// A page of accounts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountList {
    /// By id.
    pub accounts: Vec<AccountDetail>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountAnswer {
    /// It.
    pub account: AccountDetail,
}

/// The longest name of an account, in characters.
const MAX_NAME: usize = 50;

fn check_names(name: &str, email: &str) -> Result<(), Error> {
    let count = name.trim().chars().count();
    if count == 0 || count > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid("a name has 1 to 50 characters"));
    }
    if email.chars().count() > 64 || (!email.is_empty() && !email.contains('@')) {
        return Err(Error::invalid("an e-mail address has at most 64 characters, and an @"));
    }
    Ok(())
}

fn page_of(snapshot: &Snapshot, accounts: Vec<&Account>, after: Option<&str>, most: Option<u32>) -> Result<AccountList, Error> {
    let (page, next_token) = crate::api::page(accounts.into_iter(), |account| account.id.to_string(), after, most)?;
    let accounts = page.into_iter().map(|account| detail(snapshot, account)).collect::<Result<_, _>>()?;
    Ok(AccountList { accounts, next_token })
}

/// Lists the accounts, by id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAccounts {
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

impl Operation for ListAccounts {
    type Service = Organizations;
    type Mode = Read;
    type Output = AccountList;
    const NAME: &'static str = "ListAccounts";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListAccounts", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AccountList, Error> {
        let snapshot = &call.tx.snapshot;
        let accounts = snapshot.accounts.values().collect();
        page_of(snapshot, accounts, self.next_token.as_deref(), self.max_results)
    }
}

/// Lists the accounts right below the root or a unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAccountsForParent {
    /// The root or the unit.
    pub parent_id: String,
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

impl Operation for ListAccountsForParent {
    type Service = Organizations;
    type Mode = Read;
    type Output = AccountList;
    const NAME: &'static str = "ListAccountsForParent";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListAccountsForParent", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AccountList, Error> {
        let snapshot = &call.tx.snapshot;
        let parent = Node::parent(snapshot, &self.parent_id)?;
        let accounts = snapshot.accounts.values().filter(|account| account.parent == parent).collect();
        page_of(snapshot, accounts, self.next_token.as_deref(), self.max_results)
    }
}

/// Describes an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeAccount {
    /// The account.
    pub account_id: AccountId,
}

impl Operation for DescribeAccount {
    type Service = Organizations;
    type Mode = Read;
    type Output = AccountAnswer;
    const NAME: &'static str = "DescribeAccount";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DescribeAccount", &format!("account/{}", self.account_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AccountAnswer, Error> {
        let snapshot = &call.tx.snapshot;
        let account = snapshot.accounts.get(&self.account_id).ok_or_else(no_account)?;
        Ok(AccountAnswer { account: detail(snapshot, account)? })
    }
}

/// What became of an account that was asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatedAccount {
    /// It is there at once.
    pub create_account_status: CreateAccountStatus,
}

/// Its facts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAccountStatus {
    /// `car-` and the account.
    pub id: String,
    /// Its name.
    pub account_name: String,
    /// `SUCCEEDED`.
    pub state: &'static str,
    /// When it was asked for.
    #[serde(serialize_with = "epoch_seconds")]
    pub requested_timestamp: Timestamp,
    /// When it was there.
    #[serde(serialize_with = "epoch_seconds")]
    pub completed_timestamp: Timestamp,
    /// Twelve digits.
    pub account_id: String,
}

/// A tag, as the API writes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

fn tags(list: Vec<Tag>) -> BTreeMap<String, String> {
    list.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

/// Creates an account below the root.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateAccount {
    /// 1 to 50 characters.
    pub account_name: String,
    /// Contact.
    pub email: String,
    /// What is known of it.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl Operation for CreateAccount {
    type Service = Organizations;
    type Mode = Write;
    type Output = CreatedAccount;
    const NAME: &'static str = "CreateAccount";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let mut checks = signed(on(scope, "CreateAccount", "*")?);
        let tagged = |assignment: &AccountAssignment| matches!(&assignment.target, AssignmentTarget::Tag { key, value } if self.tags.iter().any(|tag| tag.key == *key && tag.value == *value));
        if scope.snapshot.assignments.iter().any(tagged) {
            checks.push(assigns(scope, "*")?);
        }
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<CreatedAccount, Error> {
        check_names(&self.account_name, &self.email)?;
        let tags = tags(self.tags);
        check_tags(&tags)?;
        let now = call.caller.origin.time;
        let free = |id: &AccountId| !call.tx.snapshot.accounts.contains_key(id);
        let id = loop {
            let id = AccountId::parse(&call.broker.random.text(b"0123456789", 12))?;
            if free(&id) {
                break id;
            }
        };
        let account = Account {
            id: id.clone(),
            name: self.account_name.trim().to_owned(),
            email: self.email,
            color: None,
            parent: None,
            tags,
        };
        call.tx.note("accountId", &id);
        call.tx.put_account(&account).await?;
        Ok(CreatedAccount {
            create_account_status: CreateAccountStatus {
                id: format!("car-{id}"),
                account_name: account.name,
                state: "SUCCEEDED",
                requested_timestamp: now,
                completed_timestamp: now,
                account_id: id.to_string(),
            },
        })
    }
}

fn signed(access: Access) -> Vec<Check> {
    if let Access::Signed(checks) = access { checks } else { Vec::new() }
}

fn assigns(scope: &Scope, account: &str) -> Result<Check, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    Ok(Check::new("sso:CreateAccountAssignment", format!("arn:aws:sso:::account/{account}")).owned_by(owner))
}

/// Where a tag or a place decides who is assigned something on an account, changing it is assigning: that has to be allowed.
fn reach(scope: &Scope, before: &Account, after: &Account) -> Result<Option<Check>, Error> {
    let snapshot = &scope.snapshot;
    let reached = |account: &Account| {
        let above: Vec<&str> = snapshot.units_above(account.parent.as_deref()).map(|unit| unit.id.as_str()).collect();
        let reaches = |assignment: &&AccountAssignment| match &assignment.target {
            AssignmentTarget::Account(_) => false,
            AssignmentTarget::Unit(unit) => above.contains(&unit.as_str()),
            AssignmentTarget::Tag { key, value } => account.tags.get(key) == Some(value),
        };
        snapshot.assignments.iter().filter(reaches).collect::<BTreeSet<_>>()
    };
    if reached(before) == reached(after) { Ok(None) } else { assigns(scope, before.id.as_str()).map(Some) }
}

/// Changes an account in the transaction.
async fn change(
    call: &mut Call<'_, impl Operation<Mode = Write>>,
    id: &AccountId,
    edit: impl FnOnce(&mut Account) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut account = call.tx.snapshot.accounts.get(id).cloned().ok_or_else(no_account)?;
    edit(&mut account)?;
    call.tx.note("accountId", id);
    call.tx.put_account(&account).await
}

/// Moves an account to another place in the tree.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct MoveAccount {
    /// The account.
    pub account_id: AccountId,
    /// Where it is.
    pub source_parent_id: String,
    /// Where it goes.
    pub destination_parent_id: String,
}

impl Operation for MoveAccount {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "MoveAccount";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let places = [place(&self.account_id.to_string()), place(&self.source_parent_id), place(&self.destination_parent_id)];
        let to = Node::parent(&scope.snapshot, &self.destination_parent_id).ok();
        let mut checks = signed(on_each(scope, "MoveAccount", &places)?);
        if let (Some(account), Some(to)) = (scope.snapshot.accounts.get(&self.account_id), to) {
            checks.extend(reach(scope, account, &Account { parent: to, ..account.clone() })?);
        }
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let snapshot = call.tx.snapshot.clone();
        let from = Node::parent(&snapshot, &self.source_parent_id)?;
        let to = Node::parent(&snapshot, &self.destination_parent_id)?;
        call.tx.note("destinationParentId", &self.destination_parent_id);
        let edit = |account: &mut Account| {
            if account.parent != from {
                return Err(Error::new(ErrorKind::NoSuchEntity, "The account is not below the source parent."));
            }
            account.parent = to;
            Ok(())
        };
        change(call, &self.account_id, edit).await
    }
}

/// Changes what is known of an account. For pages.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateAccount {
    /// The account.
    pub account_id: AccountId,
    /// 1 to 50 characters.
    pub name: String,
    /// Contact.
    pub email: String,
    /// See [`AccountColor`]; empty: none.
    pub color: String,
    /// All of them.
    pub tags: BTreeMap<String, String>,
}

impl Operation for UpdateAccount {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdateAccount";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        // It replaces the tags as well.
        let account = format!("account/{}", self.account_id);
        let mut checks = Vec::new();
        for action in ["UpdateAccount", "TagResource", "UntagResource"] {
            checks.extend(signed(on(scope, action, &account)?));
        }
        if let Some(known) = scope.snapshot.accounts.get(&self.account_id) {
            checks.extend(reach(scope, known, &Account { tags: self.tags.clone(), ..known.clone() })?);
        }
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        check_names(&self.name, &self.email)?;
        let color = AccountColor::parse(&self.color)?;
        check_tags(&self.tags)?;
        let Self { account_id, name, email, tags, .. } = self;
        let edit = |account: &mut Account| {
            name.trim().clone_into(&mut account.name);
            (account.email, account.color, account.tags) = (email, color, tags);
            Ok(())
        };
        change(call, &account_id, edit).await
    }
}

/// An account's tags.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagList {
    /// All of them.
    pub tags: Vec<Tag>,
}

/// Lists an account's tags.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListTagsForResource {
    /// The account; other resources have no tags.
    pub resource_id: AccountId,
}

impl Operation for ListTagsForResource {
    type Service = Organizations;
    type Mode = Read;
    type Output = TagList;
    const NAME: &'static str = "ListTagsForResource";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListTagsForResource", &format!("account/{}", self.resource_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<TagList, Error> {
        let account = call.tx.snapshot.accounts.get(&self.resource_id).ok_or_else(no_account)?;
        let tag = |(key, value): (&String, &String)| Tag { key: key.clone(), value: value.clone() };
        Ok(TagList { tags: account.tags.iter().map(tag).collect() })
    }
}

/// Adds tags to an account, over those of the same keys.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TagResource {
    /// The account.
    pub resource_id: AccountId,
    /// The tags.
    pub tags: Vec<Tag>,
}

impl Operation for TagResource {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "TagResource";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let mut checks = signed(on(scope, "TagResource", &format!("account/{}", self.resource_id))?);
        if let Some(known) = scope.snapshot.accounts.get(&self.resource_id) {
            let mut after = known.clone();
            after.tags.extend(self.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())));
            checks.extend(reach(scope, known, &after)?);
        }
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let new = tags(self.tags);
        let edit = |account: &mut Account| {
            account.tags.extend(new);
            check_tags(&account.tags)
        };
        change(call, &self.resource_id, edit).await
    }
}

/// Removes tags of an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UntagResource {
    /// The account.
    pub resource_id: AccountId,
    /// Their keys.
    pub tag_keys: Vec<String>,
}

impl Operation for UntagResource {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UntagResource";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let mut checks = signed(on(scope, "UntagResource", &format!("account/{}", self.resource_id))?);
        if let Some(known) = scope.snapshot.accounts.get(&self.resource_id) {
            let mut after = known.clone();
            after.tags.retain(|key, _| !self.tag_keys.contains(key));
            checks.extend(reach(scope, known, &after)?);
        }
        Ok(Access::Signed(checks))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let keys = self.tag_keys;
        let edit = |account: &mut Account| {
            account.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        };
        change(call, &self.resource_id, edit).await
    }
}

/// Accounts by what is known of them. For pages.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchAccounts {
    /// Part of a name, a number, a label; empty: all.
    pub text: String,
    /// Right below the root or this unit; none: anywhere.
    pub parent_id: Option<String>,
    /// From the last page.
    pub marker: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct FoundAccounts {
    /// A page of them, by number.
    pub accounts: Vec<Account>,
    /// For the next page.
    pub marker: Option<String>,
}

/// Accounts on one page.
const PAGE: usize = 50;

impl Operation for SearchAccounts {
    type Service = Organizations;
    type Mode = Read;
    type Output = FoundAccounts;
    const NAME: &'static str = "SearchAccounts";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListAccounts", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<FoundAccounts, Error> {
        let snapshot = &call.tx.snapshot;
        let parent = self.parent_id.as_deref().map(|id| Node::parent(snapshot, id)).transpose()?;
        let after = self.marker.as_deref().map(AccountId::parse).transpose()?;
        let text = self.text.trim().to_lowercase();
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut fitting = snapshot.accounts.range((first, Bound::Unbounded)).map(|(_, account)| account).filter(|account| {
            let has = |known: &str| known.to_lowercase().contains(&text);
            let known =
                text.is_empty() || has(&account.name) || has(account.id.as_str()) || account.tags.values().any(|tag| has(tag));
            known && parent.as_ref().is_none_or(|parent| account.parent == *parent)
        });
        let accounts: Vec<Account> = fitting.by_ref().take(PAGE).cloned().collect();
        let marker = accounts.last().filter(|_| fitting.next().is_some()).map(|account| account.id.to_string());
        Ok(FoundAccounts { accounts, marker })
    }
}
