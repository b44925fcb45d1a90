//! Groups. A large group is never read as a whole to change one of its members.

use super::{
    Scim, answer, base, check_match,
    document::{Document, Projection, member, read},
    filter::{check_values, selects},
    list::{Listed, Query, SearchRequest, list},
    meta, names, not_found, note_client,
    patch::{self, Verb},
    provisioner,
    schema::{GROUP, GROUPS, MEMBERS_OF_GROUP, ResourceType},
    tag, within_reach,
};
use crate::{
    domain::{
        Error, ErrorKind,
        directory::{Group, TokenScope},
        name::GroupName,
    },
    gateway::{
        Access, Call, Operation, Read, Scope, Write,
        scim::{Outcome, ScimAnswer},
    },
    store::{Narrow, ReadTx, Slice},
};
use scim_v2::filter::{AttrExp, CompValue, CompareOp, PatchPath, ValFilter};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Most members of the groups of one answer.
const MAX_MEMBERS: usize = 200_000;
/// Most operations of one request that look at all members of a group.
const MAX_WHOLE: usize = 10;
/// So many members are named in an audit record.
const MAX_NOTED: usize = 100;

/// Lists groups.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListGroups {
    /// Which, and how.
    #[serde(flatten)]
    pub query: Query,
}

/// Lists groups, as the body says.
#[derive(Debug, Serialize, Deserialize)]
pub struct SearchGroups {
    /// Which, and how.
    pub resource: SearchRequest,
}

/// Shows a group.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetGroup {
    /// `g-…`
    pub id: String,
    /// Only these attributes.
    pub attributes: Option<String>,
    /// All but these attributes.
    pub excluded_attributes: Option<String>,
    /// Entity tags that the client has.
    pub if_none_match: Option<String>,
}

/// Adds a group.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateGroup {
    /// As it shall be.
    pub resource: Map<String, Value>,
}

/// Says anew what a group is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutGroup {
    /// `g-…`
    pub id: String,
    /// As it shall be.
    pub resource: Map<String, Value>,
    /// Entity tags of what the client means.
    pub if_match: Option<String>,
}

/// Renames a group, or changes who is in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchGroup {
    /// `g-…`
    pub id: String,
    /// The operations.
    pub resource: Map<String, Value>,
    /// Entity tags of what the client means.
    pub if_match: Option<String>,
    /// What the answer shall have; without it, there is none.
    pub attributes: Option<String>,
}

/// Removes a group, not its members.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteGroup {
    /// `g-…`
    pub id: String,
    /// Entity tags of what the client means.
    pub if_match: Option<String>,
}

fn writable(group: &Group) -> Document {
    let mut document = Document::new();
    document.insert("schemas".to_owned(), json!([GROUP]));
    if let Some(external) = &group.external_id {
        document.insert("externalId".to_owned(), external.as_str().into());
    }
    document.insert("displayName".to_owned(), group.name.as_str().into());
    document
}

fn document(group: &Group, members: &BTreeSet<String>, base: &str) -> Document {
    let mut document = writable(group);
    let members = members.iter().map(|id| json!({ "value": id, "$ref": format!("{base}/Users/{id}"), "type": "User" }));
    let members: Vec<Value> = members.collect();
    if !members.is_empty() {
        document.insert("members".to_owned(), members.into());
    }
    document.insert("id".to_owned(), group.id.as_str().into());
    document.insert("meta".to_owned(), meta(&GROUPS, &group.stamp, &location(group, base)));
    document
}

fn location(group: &Group, base: &str) -> String {
    format!("{base}/Groups/{}", group.id)
}

/// The people that a list of members names.
fn people(value: &Value) -> Result<BTreeSet<String>, Error> {
    let entries = match value {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Array(entries) => entries.as_slice(),
        single => std::slice::from_ref(single),
    };
    let person = |entry: &Value| {
        let (id, kind) = match entry {
            Value::Object(entry) => {
                (member(entry, "value").and_then(Value::as_str), member(entry, "type").and_then(Value::as_str))
            }
            entry => (entry.as_str(), None),
        };
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("User")) {
            return Err(Error::invalid("Members of groups are people: groups in groups are not served."));
        }
        id.map(str::to_owned).ok_or_else(|| Error::invalid("A member needs a value: somebody's id."))
    };
    entries.iter().map(person).collect()
}

/// Makes a group what a document says, its members aside.
fn become_document(mut group: Group, mut document: Document) -> Result<Group, Error> {
    let mut text = |name: &str| match document.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let name = text("displayName").ok_or_else(|| Error::invalid("displayName is missing."))?;
    group.name = GroupName::parse(&name)
        .ok()
        .filter(|name| !name.as_str().trim().is_empty())
        .ok_or_else(|| Error::invalid("displayName has 1 to 128 characters, in one line."))?;
    group.external_id = text("externalId");
    group.provisioned = true;
    Ok(group)
}

/// A whole resource: the group, and who is in it.
fn sent(group: Group, resource: &Document) -> Result<(Group, BTreeSet<String>), Error> {
    let members = people(member(resource, "members").unwrap_or(&Value::Null))?;
    let rest: Document =
        resource.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("members")).map(|(n, v)| (n.clone(), v.clone())).collect();
    Ok((become_document(group, read(&GROUPS, &rest)?)?, members))
}

async fn reached<O: Operation<Mode = Write>>(call: &Call<'_, O>, id: &str, if_match: Option<&str>) -> Result<Group, Error> {
    let group = call.tx.read().group_by_id(id).await?.ok_or_else(not_found)?;
    within_reach(call.caller, group.provisioned)?;
    check_match(if_match, &group.stamp)?;
    Ok(group)
}

/// `was`: as it was before, none for a new one.
async fn put<O: Operation<Mode = Write>>(call: &mut Call<'_, O>, was: Option<&Group>, group: &mut Group) -> Result<(), Error> {
    if call.tx.read().group_named(&group.name, &group.id).await?.is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, "Another group has this displayName."));
    }
    note_client(call, was.is_some_and(|was| !was.provisioned));
    if let Some(was) = was.filter(|was| was.name != group.name) {
        all_within_reach(call, &group.id).await?;
        call.tx.note("was", &was.name);
    }
    call.tx.note("group", &group.id);
    call.tx.note("displayName", &group.name);
    group.stamp = call.tx.put_group(group).await?;
    Ok(())
}

/// Members come, go (these, or whomever a filter selects), or are all others.
enum Change {
    Add(BTreeSet<String>),
    Remove(BTreeSet<String>),
    RemoveSelected(Option<ValFilter>),
    Replace(BTreeSet<String>),
}

impl Change {
    /// Whether all members are looked at for it.
    const fn is_whole(&self) -> bool {
        matches!(self, Self::RemoveSelected(_) | Self::Replace(_))
    }
}

async fn change<O: Operation<Mode = Write>>(call: &mut Call<'_, O>, group: &str, change: Change) -> Result<(), Error> {
    match change {
        Change::Remove(people) => remove(call, group, people).await,
        Change::RemoveSelected(filter) => {
            let selected = |id: &String| {
                let entry = json!({ "value": id, "type": "User" });
                filter
                    .as_ref()
                    .is_none_or(|filter| entry.as_object().is_some_and(|entry| selects(&MEMBERS_OF_GROUP, filter, entry)))
            };
            let people = call.tx.members(group).await?.into_iter().filter(selected).collect();
            remove(call, group, people).await
        }
        Change::Replace(people) => {
            let old = call.tx.members(group).await?;
            let come: BTreeSet<String> = people.difference(&old).cloned().collect();
            remove(call, group, old.difference(&people).cloned().collect()).await?;
            add(call, group, &come, noted(&come)).await
        }
        Change::Add(people) => add(call, group, &people, noted(&people)).await,
    }
}

/// Refuses what changes the groups of somebody whom the token may not reach: a group of such people stays, by its name.
async fn all_within_reach<O: Operation<Mode = Write>>(call: &mut Call<'_, O>, group: &str) -> Result<(), Error> {
    let members = call.tx.members(group).await?;
    let known = call.tx.read().known_among(&members).await?;
    known.values().try_for_each(|provisioned| within_reach(call.caller, *provisioned))
}

/// Takes out whom the token reaches. The others were put in here, and stay.
async fn remove<O: Operation<Mode = Write>>(call: &mut Call<'_, O>, group: &str, people: BTreeSet<String>) -> Result<(), Error> {
    let known = call.tx.read().known_among(&people).await?;
    let reached = known.into_iter().filter(|(_, provisioned)| within_reach(call.caller, *provisioned).is_ok());
    let gone: BTreeSet<String> = reached.map(|(id, _)| id).collect();
    call.tx.note("removed", noted(&gone));
    call.tx.remove_members(group, &gone).await
}

fn noted(people: &BTreeSet<String>) -> Vec<String> {
    people.iter().take(MAX_NOTED).cloned().collect()
}

async fn add<O: Operation<Mode = Write>>(
    call: &mut Call<'_, O>,
    group: &str,
    people: &BTreeSet<String>,
    noted: Vec<String>,
) -> Result<(), Error> {
    let known = call.tx.read().known_among(people).await?;
    if let Some(nobody) = people.iter().find(|id| !known.contains_key(*id)) {
        return Err(Error::invalid(format!("There is nobody with the id {nobody:?}.")));
    }
    known.values().try_for_each(|provisioned| within_reach(call.caller, *provisioned))?;
    call.tx.note("added", noted);
    call.tx.add_members(group, people).await
}

/// What an operation on members means.
fn change_of(operation: &patch::Operation) -> Result<Change, Error> {
    let path = operation.path.as_deref().unwrap_or_default();
    let leads_nowhere = || Error::new(ErrorKind::InvalidPath, format!("{path} leads nowhere."));
    let value = operation.value.as_ref().filter(|value| !value.is_null());
    let named = || people(value.unwrap_or(&Value::Null));
    match (path.parse::<PatchPath>().map_err(|_| leads_nowhere())?, operation.verb) {
        (PatchPath::Attr(path), _) if path.sub_attr.is_some() => Err(leads_nowhere()),
        (PatchPath::Attr(_), Verb::Add) => named().map(Change::Add),
        (PatchPath::Attr(_), Verb::Replace) => named().map(Change::Replace),
        (PatchPath::Attr(_), Verb::Remove) if value.is_some() => named().map(Change::Remove),
        (PatchPath::Attr(_), Verb::Remove) => Ok(Change::RemoveSelected(None)),
        (PatchPath::Value(path), Verb::Remove) if path.sub_attr.is_none() => {
            // By far the most frequent one.
            if let ValFilter::Attr(AttrExp::Comparison(named, CompareOp::Eq, CompValue::Str(id))) = &path.filter
                && named.name.eq_ignore_ascii_case("value")
            {
                return Ok(Change::Remove(BTreeSet::from([id.clone()])));
            }
            check_values(&MEMBERS_OF_GROUP, &path.filter)?;
            Ok(Change::RemoveSelected(Some(path.filter)))
        }
        (PatchPath::Value(_), _) => Err(leads_nowhere()),
    }
}

/// Groups, to be listed.
struct All<'a, 's> {
    tx: &'a ReadTx<'s>,
    base: String,
    members: bool,
}

impl Listed for All<'_, '_> {
    fn kind(&self) -> &'static ResourceType {
        &GROUPS
    }

    async fn count(&self) -> Result<i64, Error> {
        self.tx.count_groups().await
    }

    async fn documents(&self, narrow: &Narrow, slice: &Slice) -> Result<Vec<Document>, Error> {
        let (mut documents, mut number) = (Vec::new(), 0);
        for group in self.tx.groups_in(narrow, slice).await? {
            let members = if self.members { self.tx.members(&group.id).await? } else { BTreeSet::new() };
            number += members.len();
            if number > MAX_MEMBERS {
                let message = "These groups have too many members for one answer. Say excludedAttributes=members.";
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            documents.push(document(&group, &members, &self.base));
        }
        Ok(documents)
    }
}

impl Operation for ListGroups {
    type Service = Scim;
    type Mode = Read;
    type Output = ScimAnswer;
    const NAME: &'static str = "ListGroups";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Read)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        list_groups(call, &self.query).await
    }
}

async fn list_groups<O: Operation<Mode = Read>>(call: &Call<'_, O>, query: &Query) -> Result<ScimAnswer, Error> {
    let projection = Projection::new(&GROUPS, query.attributes.as_deref(), query.excluded_attributes.as_deref());
    let filtered = query.filter.as_ref().is_some_and(|filter| filter.to_lowercase().contains("members"));
    let members = filtered || !projection.leaves_out("members");
    list(&All { base: base(call), tx: &call.tx, members }, query).await
}

impl Operation for SearchGroups {
    type Service = Scim;
    type Mode = Read;
    type Output = ScimAnswer;
    const NAME: &'static str = "SearchGroups";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Read)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        list_groups(call, &self.resource.into()).await
    }
}

impl Operation for GetGroup {
    type Service = Scim;
    type Mode = Read;
    type Output = ScimAnswer;
    const NAME: &'static str = "GetGroup";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Read)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let group = call.tx.group_by_id(&self.id).await?.ok_or_else(not_found)?;
        if self.if_none_match.is_some_and(|tags| names(&tags, &tag(&group.stamp))) {
            return Ok(ScimAnswer { tag: Some(tag(&group.stamp)), ..ScimAnswer::empty(Outcome::NotModified) });
        }
        let projection = Projection::new(&GROUPS, self.attributes.as_deref(), self.excluded_attributes.as_deref());
        let members = if projection.leaves_out("members") { BTreeSet::new() } else { call.tx.members(&group.id).await? };
        let base = base(call);
        let mut document = document(&group, &members, &base);
        projection.apply(&mut document);
        Ok(answer(Outcome::Found, document, &group.stamp, location(&group, &base)))
    }
}

impl Operation for CreateGroup {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "CreateGroup";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::UsersAndGroups)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let new = Group::new(call.broker.random.group_id(), GroupName::parse("new")?);
        let (mut group, members) = sent(new, &self.resource)?;
        put(call, None, &mut group).await?;
        change(call, &group.id, Change::Add(members)).await?;
        let base = base(call);
        let members = call.tx.members(&group.id).await?;
        Ok(answer(Outcome::Created, document(&group, &members, &base), &group.stamp, location(&group, &base)))
    }
}

impl Operation for PutGroup {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "PutGroup";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::UsersAndGroups)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let old = reached(call, &self.id, self.if_match.as_deref()).await?;
        let (mut group, members) = sent(old.clone(), &self.resource)?;
        put(call, Some(&old), &mut group).await?;
        change(call, &group.id, Change::Replace(members)).await?;
        let base = base(call);
        let members = call.tx.members(&group.id).await?;
        Ok(answer(Outcome::Found, document(&group, &members, &base), &group.stamp, location(&group, &base)))
    }
}

impl Operation for PatchGroup {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "PatchGroup";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::UsersAndGroups)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let old = reached(call, &self.id, self.if_match.as_deref()).await?;
        let id = old.id.clone();
        let (mut rest, mut whole) = (writable(&old), 0);
        for operation in patch::operations(&self.resource)? {
            for part in patch::with_paths(&GROUPS, operation)? {
                if patch::is_about(&GROUPS, part.path.as_deref().unwrap_or_default(), "members")? {
                    let wanted = change_of(&part)?;
                    whole += usize::from(wanted.is_whole());
                    if whole > MAX_WHOLE {
                        return Err(Error::new(ErrorKind::LimitExceeded, "These are too many changes of all members at once."));
                    }
                    change(call, &id, wanted).await?;
                } else {
                    patch::apply(&GROUPS, &mut rest, &part)?;
                }
            }
        }
        let mut group = become_document(old.clone(), read(&GROUPS, &rest)?)?;
        put(call, Some(&old), &mut group).await?;
        let base = base(call);
        let Some(attributes) = self.attributes else {
            let location = Some(location(&group, &base));
            return Ok(ScimAnswer { location, tag: Some(tag(&group.stamp)), ..ScimAnswer::empty(Outcome::Done) });
        };
        let projection = Projection::new(&GROUPS, Some(&attributes), None);
        let members = if projection.leaves_out("members") { BTreeSet::new() } else { call.tx.members(&id).await? };
        let mut document = document(&group, &members, &base);
        projection.apply(&mut document);
        Ok(answer(Outcome::Found, document, &group.stamp, location(&group, &base)))
    }
}

impl Operation for DeleteGroup {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "DeleteGroup";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::UsersAndGroups)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let group = reached(call, &self.id, self.if_match.as_deref()).await?;
        all_within_reach(call, &group.id).await?;
        note_client(call, false);
        call.tx.note("group", &group.id);
        call.tx.note("displayName", &group.name);
        call.tx.delete_group(&group.id).await?;
        Ok(ScimAnswer::empty(Outcome::Done))
    }
}
