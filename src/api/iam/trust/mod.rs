//! Whom a trust policy names, kept by unique id.
//!
//! When a trust policy is stored, the ARN of a role, of a role's session or of a user in `Principal` becomes the unique id
//! (IAM user guide, "Principal": "IAM transforms the ARN to the principal's unique ID when you save the policy"). A role that
//! is deleted takes the trust in it along: one made anew under its name has another id. When the policy is shown, ids that
//! still belong to somebody become ARNs again. Nothing else of the text changes.

pub mod mappings;
pub mod preview;
pub mod proposals;
pub mod simulate;
mod trial;

use super::MAX_TRUST_POLICY;
use crate::{
    domain::{
        Arn, Error, ErrorKind,
        name::{AccountId, FederatedUserName, RoleSessionName},
    },
    policy::{
        Document, DocumentKind, Policy,
        document::{Located, PrincipalValue},
        principal::is_unique_id,
        validate::trust::shared_issuer_left_open,
    },
    store::Snapshot,
};
use std::collections::BTreeMap;

/// The roles, users and accounts that a trust policy can name.
#[derive(Debug)]
pub(in crate::api) struct Known {
    accounts: Vec<AccountId>,
    /// Unique id by account and `name` in lower case; and the ARN.
    roles: BTreeMap<(AccountId, String), (Arn, String)>,
    users: BTreeMap<(AccountId, String), (Arn, String)>,
}

impl Known {
    pub(in crate::api) fn of(snapshot: &Snapshot) -> Self {
        let roles = snapshot.roles.iter().map(|(key, role)| (key.clone(), (role.role.arn(), role.role.id.clone())));
        let users = snapshot.users.iter().map(|(key, user)| (key.clone(), (user.user.arn(), user.user.id.clone())));
        Self { accounts: snapshot.accounts.keys().cloned().collect(), roles: roles.collect(), users: users.collect() }
    }
    pub(in crate::api) fn add_account(&mut self, account: &AccountId) {
        self.accounts.push(account.clone());
    }
    pub(in crate::api) fn add_role(&mut self, account: &AccountId, name: &str, arn: Arn, id: String) {
        self.roles.insert((account.clone(), name.to_lowercase()), (arn, id));
    }

    /// What stands in the store for a principal as written; none when there is nobody of that name.
    fn stored(&self, written: &str) -> Option<String> {
        if written == "*" {
            return Some(written.to_owned());
        }
        if is_unique_id(written) {
            let id = written.split_once(':').map_or(written, |(id, _)| id);
            let mut all = self.roles.values().chain(self.users.values());
            return all.any(|(_, known)| known == id).then(|| written.to_owned());
        }
        if let Ok(account) = AccountId::parse(written) {
            return self.accounts.contains(&account).then(|| written.to_owned());
        }
        let arn = Arn::parse(written).ok()?;
        let account = arn.account().filter(|account| self.accounts.contains(account))?;
        let role = |name: &str| self.roles.get(&(account.clone(), name.to_lowercase()));
        let user = |name: &str| self.users.get(&(account.clone(), name.to_lowercase()));
        match (arn.service(), arn.resource().split_once('/')) {
            ("iam", None) => (arn == Arn::iam(&account, "root")).then(|| written.to_owned()),
            ("iam", Some(("role", _))) => role(arn.resource_name()).filter(|(known, _)| *known == arn).map(|(_, id)| id.clone()),
            ("iam", Some(("user", _))) => user(arn.resource_name()).filter(|(known, _)| *known == arn).map(|(_, id)| id.clone()),
            // Whoever has the name: there is no entity behind it.
            ("sts", Some(("federated-user", name))) => FederatedUserName::parse(name).is_ok().then(|| written.to_owned()),
            ("sts", Some(("assumed-role", rest))) => {
                let (name, session) = rest.split_once('/')?;
                let session = RoleSessionName::parse(session).ok()?;
                let same = arn == Arn::assumed_role(&account, name, session.as_str());
                role(name).filter(|(known, _)| same && known.resource_name() == name).map(|(_, id)| format!("{id}:{session}"))
            }
            _ => None,
        }
    }
}

/// Checks a trust policy and makes it ready for the store.
///
/// # Errors
/// `MalformedPolicy` when it does not parse, names somebody who does not exist, or lets every tenant of a shared issuer in;
/// `PolicyTooLarge`.
pub(in crate::api) fn stored(text: &str, known: &Known) -> Result<String, Error> {
    super::check_document(text, DocumentKind::Trust, MAX_TRUST_POLICY)?;
    let malformed = |message: String| Error::new(ErrorKind::MalformedPolicy, message);
    let document = Document::parse(text, DocumentKind::Trust).map_err(|error| malformed(error.to_string()))?;
    match shared_issuer_left_open(&document) {
        Some((statement, "*")) => {
            let message = "lets in whoever any provider vouches for: name the provider in Principal, or require its `sub`.";
            return Err(malformed(format!("Statement {statement} {message}")));
        }
        Some((statement, host)) => {
            return Err(malformed(format!(
                "Statement {statement} trusts every tenant of {host}: add a condition on {host}:sub, or on an id of your tenant."
            )));
        }
        None => {}
    }
    let stored = replace(text, &document, |written| {
        let unknown = || malformed(format!("Invalid principal in policy: \"AWS\":\"{written}\""));
        known.stored(written).ok_or_else(unknown)
    })?;
    // What can't be read back must not get there.
    Policy::parse(&stored, DocumentKind::Trust).map_err(Error::internal)?;
    Ok(stored)
}

/// The trust policy as people know it: ids that belong to somebody become ARNs.
pub(in crate::api) fn shown(text: &str, snapshot: &Snapshot) -> String {
    let Ok(document) = Document::parse(text, DocumentKind::Trust) else { return text.to_owned() };
    let name =
        |stored: &str| Ok::<_, std::convert::Infallible>(arn_of(stored, snapshot).map_or_else(|| stored.to_owned(), Into::into));
    replace(text, &document, name).unwrap_or_else(|never| match never {})
}

/// Whom a unique id belongs to.
fn arn_of(stored: &str, snapshot: &Snapshot) -> Option<Arn> {
    let (id, session) = stored.split_once(':').map_or((stored, None), |(id, session)| (id, Some(session)));
    if let Some(user) = snapshot.user_by_id(id) {
        return Some(user.user.arn());
    }
    let role = &snapshot.role_by_id(id)?.role;
    Some(match session {
        Some(session) => Arn::assumed_role(&role.account, role.name.as_str(), session),
        None => role.arn(),
    })
}

/// Replaces each AWS principal where it stands, and touches nothing else.
fn replace<E>(text: &str, document: &Document, with: impl Fn(&str) -> Result<String, E>) -> Result<String, E> {
    let principals = document.statements.iter().filter_map(|statement| statement.value.principal.as_ref());
    let aws = |value: &&Located<PrincipalValue>| value.value.kind == "AWS";
    let mut values: Vec<_> = principals.flat_map(|principal| &principal.values).filter(aws).collect();
    values.sort_by_key(|value| value.span.start);
    let (mut all, mut from) = (String::with_capacity(text.len()), 0);
    for value in values {
        let new = with(&value.value.value)?;
        if new != value.value.value {
            all.push_str(text.get(from..value.span.start).unwrap_or_default());
            all.push_str(&serde_json::Value::from(new).to_string());
            from = value.span.end;
        }
    }
    all.push_str(text.get(from..).unwrap_or_default());
    Ok(all)
}
