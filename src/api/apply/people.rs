//! People and groups of the document.

use super::{Draft, PlanOrganization, Put, bad, differing};
use crate::{
    domain::{
        Error, Random,
        directory::{Group, User},
        name::{GroupName, UserName},
    },
    store::ReadTx,
};
use std::collections::BTreeSet;

/// The directory as it is.
pub(super) struct People {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl People {
    pub(super) async fn read(tx: &ReadTx<'_>) -> Result<Self, Error> {
        Ok(Self { users: tx.users().await?, groups: tx.groups().await? })
    }

    /// The id of the group with this name.
    pub(super) fn group_id(&self, name: &GroupName) -> Option<String> {
        self.groups.iter().find(|group| group.name == *name).map(|group| group.id.clone())
    }

    /// The id of whoever signs in with this name.
    pub(super) fn user_id(&self, name: &UserName) -> Option<String> {
        self.users.iter().find(|user| user.name.key() == name.key()).map(|user| user.id.clone())
    }
}

/// Users and groups. Those that a SCIM client keeps are not missing where the document does not list them.
pub(super) fn people(draft: &mut Draft, wish: &PlanOrganization, people: &People, random: &dyn Random) -> Result<(), Error> {
    let file = &wish.file;
    let users = &people.users;
    let groups: BTreeSet<&GroupName> = file.groups.iter().map(|entry| &entry.name).collect();
    let is_there = |name: &GroupName| people.groups.iter().any(|group| group.name == *name);
    for (index, group) in groups.iter().enumerate() {
        let old = people.groups.iter().find(|old| old.name.key() == group.key());
        let twin = old.filter(|old| old.name != **group).map(|old| &old.name);
        if let Some(twin) = twin.or(groups.iter().find(|other| *other != group && other.key() == group.key()).copied()) {
            return Err(bad(&format!("groups[{index}].name"), format!("{twin} and {group} differ in letter case alone")));
        }
        // What the document lists is the operator's own, whoever made it.
        let parts = old.map(|old| differing(&[("no longer kept by SCIM", old.provisioned)])).unwrap_or_default();
        let new = Group { provisioned: false, ..old.cloned().unwrap_or_else(|| Group::new(random.group_id(), (*group).clone())) };
        draft.put(format!("group {group}"), old.is_some(), parts, Put::Group(new));
    }
    for (index, entry) in file.users.iter().enumerate() {
        let folded = entry.name.key();
        let old = users.iter().find(|user| user.name.key() == folded);
        if let Some(group) = entry.groups.iter().find(|group| !groups.contains(group) && !is_there(group)) {
            return Err(bad(&format!("users[{index}].groups"), format!("there is no group {group}; list it under [[groups]]")));
        }
        let mut groups = entry.groups.clone();
        groups.sort();
        groups.dedup();
        let mut new = old.cloned().unwrap_or_else(|| User::new(random.user_id(), entry.name.clone()));
        new.name = entry.name.clone();
        new.set_email(entry.email.clone());
        new.set_display_name(entry.display_name.clone());
        new.password_hash = entry.password_hash.clone().or(new.password_hash);
        new.groups = groups;
        // Whom the provider has switched off, the document does not switch on by saying nothing.
        let kept_off = old.is_some_and(|old| old.provisioned && old.disabled);
        new.disabled = entry.disabled || kept_off;
        // The provider's until it switches them on again; else the document's own.
        new.provisioned = kept_off;
        let first_password = wish.new_passwords && new.password_hash.is_none();
        if first_password {
            draft.new_passwords.push(new.name.clone());
        }
        let parts = old.map(|old| {
            differing(&[
                ("name", old.name != new.name),
                ("email", old.email != new.email),
                ("display name", old.display_name != new.display_name),
                ("password", first_password || old.password_hash != new.password_hash),
                ("groups", old.groups != new.groups),
                ("disabled", old.disabled != new.disabled),
                ("no longer kept by SCIM", old.provisioned && !kept_off),
            ])
        });
        draft.put(format!("user {}", new.name), old.is_some(), parts.unwrap_or_default(), Put::User(new));
    }
    for user in users {
        let folded = user.name.key();
        if !user.provisioned && !file.users.iter().any(|entry| entry.name.key() == folded) {
            draft.unlisted(format!("user {}", user.name), Put::NoUser(user.id.clone()));
        }
    }
    for group in people.groups.iter().filter(|group| !group.provisioned && !groups.contains(&group.name)) {
        draft.unlisted(format!("group {}", group.name), Put::NoGroup(group.id.clone()));
    }
    Ok(())
}
