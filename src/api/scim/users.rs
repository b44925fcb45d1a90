//! People.

use super::{
    Scim, answer, base, check_match,
    document::{Document, MAX_DOCUMENT, Projection, read},
    list::{Listed, Query, SearchRequest, list},
    meta, names, not_found, note_client, patched, provisioner,
    schema::{PEOPLE, ResourceType, USER},
    tag, within_reach,
};
use crate::{
    api::directory::{is_display_name, is_email},
    domain::{
        Error, ErrorKind,
        directory::{ENTERPRISE_USER, Named, Profile, TokenScope, User, is_primary},
        name::UserName,
    },
    gateway::{
        Access, Call, Operation, Read, Scope, Write,
        scim::{Outcome, ScimAnswer},
    },
    store::{Narrow, ReadTx, Slice},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Lists people.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListUsers {
    /// Which, and how.
    #[serde(flatten)]
    pub query: Query,
}

/// Lists people, as the body says.
#[derive(Debug, Serialize, Deserialize)]
pub struct SearchUsers {
    /// Which, and how.
    pub resource: SearchRequest,
}

/// Shows somebody.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetUser {
    /// `u-…`
    pub id: String,
    /// Only these attributes.
    pub attributes: Option<String>,
    /// All but these attributes.
    pub excluded_attributes: Option<String>,
    /// Entity tags that the client has.
    pub if_none_match: Option<String>,
}

/// Adds somebody. They have no password until an administrator gives them a link.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateUser {
    /// As it shall be.
    pub resource: Map<String, Value>,
}

/// Says anew what somebody is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutUser {
    /// `u-…`
    pub id: String,
    /// As it shall be. Somebody stays active or not where it does not say.
    pub resource: Map<String, Value>,
    /// Entity tags of what the client means.
    pub if_match: Option<String>,
}

/// Changes something about somebody.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchUser {
    /// `u-…`
    pub id: String,
    /// The operations.
    pub resource: Map<String, Value>,
    /// Entity tags of what the client means.
    pub if_match: Option<String>,
}

/// Removes somebody, with all that they hold.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteUser {
    /// `u-…`
    pub id: String,
    /// Entity tags of what the client means.
    pub if_match: Option<String>,
}

/// What somebody is called when nothing says it.
fn derived_name(profile: &Profile, user_name: &UserName) -> String {
    let name = profile.0.get("name");
    let part = |part: &str| name.and_then(|name| name.get(part)).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let whole = format!("{} {}", part("givenName"), part("familyName"));
    let nick = profile.text("nickName").unwrap_or_default();
    let usable = [part("formatted"), whole.trim(), nick].into_iter().find(|name| is_display_name(name));
    usable.unwrap_or(user_name.as_str()).to_owned()
}

/// What a client may write of somebody.
fn writable(user: &User) -> Document {
    let mut document = Document::new();
    let extended = user.profile.0.contains_key(ENTERPRISE_USER);
    document.insert("schemas".to_owned(), if extended { json!([USER, ENTERPRISE_USER]) } else { json!([USER]) });
    if let Some(external) = &user.external_id {
        document.insert("externalId".to_owned(), external.as_str().into());
    }
    document.insert("userName".to_owned(), user.name.as_str().into());
    if user.display_name != derived_name(&user.profile, &user.name) {
        document.insert("displayName".to_owned(), user.display_name.as_str().into());
    }
    document.insert("active".to_owned(), (!user.disabled).into());
    if !user.email.is_empty() {
        document.insert("emails".to_owned(), json!([{ "value": user.email, "primary": true }]));
    }
    document.extend(user.profile.0.clone());
    document
}

/// Somebody as an answer.
fn document(user: &User, groups: &[Named], base: &str) -> Document {
    let mut document = writable(user);
    let groups = groups.iter().map(|group| {
        json!({ "value": group.id, "$ref": format!("{base}/Groups/{}", group.id), "display": group.name, "type": "direct" })
    });
    let groups: Vec<Value> = groups.collect();
    if !groups.is_empty() {
        document.insert("groups".to_owned(), groups.into());
    }
    document.insert("id".to_owned(), user.id.as_str().into());
    document.insert("meta".to_owned(), meta(&PEOPLE, &user.stamp, &location(user, base)));
    document
}

fn location(user: &User, base: &str) -> String {
    format!("{base}/Users/{}", user.id)
}

/// Makes somebody what a document says.
fn become_document(mut user: User, mut document: Document) -> Result<User, Error> {
    if Value::Object(document.clone()).to_string().len() > MAX_DOCUMENT {
        return Err(Error::invalid(format!("Somebody has at most {MAX_DOCUMENT} bytes of attributes.")));
    }
    let mut text = |name: &str| match document.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let name = text("userName").ok_or_else(|| Error::invalid("userName is missing."))?;
    user.name = UserName::parse(&name)
        .map_err(|_| Error::invalid("userName has 1 to 128 characters, none of them a space or a control character."))?;
    user.external_id = text("externalId");
    if let Some(Value::Bool(active)) = document.remove("active") {
        user.disabled = !active;
    }
    let emails = document.get("emails").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let address = |entry: &Value| entry.get("value").and_then(Value::as_str).map(str::to_owned);
    if let Some(wrong) = emails.iter().filter_map(address).find(|address| !is_email(address)) {
        return Err(Error::invalid(format!("{wrong:?} is no e-mail address.")));
    }
    user.email = emails.iter().find(|entry| is_primary(entry)).or(emails.first()).and_then(address).unwrap_or_default();
    document.remove("schemas");
    user.profile = Profile(document);
    user.display_name = match user.profile.text("displayName") {
        Some(name) if !is_display_name(name) => return Err(Error::invalid("displayName has 1 to 120 characters, in one line.")),
        Some(name) => name.to_owned(),
        None => derived_name(&user.profile, &user.name),
    };
    user.provisioned = true;
    Ok(user)
}

/// Writes somebody, and shows them.
async fn write<O: Operation<Mode = Write>>(
    call: &mut Call<'_, O>,
    was: Option<&User>,
    mut user: User,
    outcome: Outcome,
) -> Result<ScimAnswer, Error> {
    let known = call.tx.read().user_named(&user.name).await?;
    if known.is_some_and(|known| known != user.id) {
        return Err(Error::new(ErrorKind::AlreadyExists, "Somebody else has this userName."));
    }
    note_client(call, was.is_some_and(|was| !was.provisioned));
    call.tx.note("user", &user.id);
    call.tx.note("userName", &user.name);
    call.tx.note("disabled", user.disabled);
    if let Some(was) = was.filter(|was| was.name != user.name) {
        call.tx.note("was", &was.name);
    }
    let (before, after) = (was.map(writable).unwrap_or_default(), writable(&user));
    let changed = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
    call.tx.note("changed", changed.collect::<BTreeSet<_>>());
    user.stamp = call.tx.put_user(&user).await?;
    let groups = call.tx.read().memberships(std::slice::from_ref(&user.id)).await?.remove(&user.id).unwrap_or_default();
    let base = base(call);
    Ok(answer(outcome, document(&user, &groups, &base), &user.stamp, location(&user, &base)))
}

/// Somebody whom the token may change, and who is what the client thinks.
async fn reached<O: Operation<Mode = Write>>(call: &Call<'_, O>, id: &str, if_match: Option<&str>) -> Result<User, Error> {
    let user = call.tx.read().user_by_id(id).await?.ok_or_else(not_found)?;
    within_reach(call.caller, user.provisioned)?;
    check_match(if_match, &user.stamp)?;
    Ok(user)
}

/// People, to be listed.
struct People<'a, 's> {
    tx: &'a ReadTx<'s>,
    base: String,
}

impl Listed for People<'_, '_> {
    fn kind(&self) -> &'static ResourceType {
        &PEOPLE
    }

    async fn count(&self) -> Result<i64, Error> {
        self.tx.count_users().await
    }

    async fn documents(&self, narrow: &Narrow, slice: &Slice) -> Result<Vec<Document>, Error> {
        let users = self.tx.users_in(narrow, slice).await?;
        let ids: Vec<String> = users.iter().map(|user| user.id.clone()).collect();
        let groups = self.tx.memberships(&ids).await?;
        let groups_of = |user: &User| groups.get(&user.id).map(Vec::as_slice).unwrap_or_default();
        Ok(users.iter().map(|user| document(user, groups_of(user), &self.base)).collect())
    }
}

impl Operation for ListUsers {
    type Service = Scim;
    type Mode = Read;
    type Output = ScimAnswer;
    const NAME: &'static str = "ListUsers";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Read)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        list(&People { base: base(call), tx: &call.tx }, &self.query).await
    }
}

impl Operation for SearchUsers {
    type Service = Scim;
    type Mode = Read;
    type Output = ScimAnswer;
    const NAME: &'static str = "SearchUsers";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Read)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        list(&People { base: base(call), tx: &call.tx }, &self.resource.into()).await
    }
}

impl Operation for GetUser {
    type Service = Scim;
    type Mode = Read;
    type Output = ScimAnswer;
    const NAME: &'static str = "GetUser";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Read)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let user = call.tx.user_by_id(&self.id).await?.ok_or_else(not_found)?;
        if self.if_none_match.is_some_and(|tags| names(&tags, &tag(&user.stamp))) {
            return Ok(ScimAnswer { tag: Some(tag(&user.stamp)), ..ScimAnswer::empty(Outcome::NotModified) });
        }
        let groups = call.tx.memberships(std::slice::from_ref(&user.id)).await?.remove(&user.id).unwrap_or_default();
        let base = base(call);
        let mut document = document(&user, &groups, &base);
        Projection::new(&PEOPLE, self.attributes.as_deref(), self.excluded_attributes.as_deref()).apply(&mut document);
        Ok(answer(Outcome::Found, document, &user.stamp, location(&user, &base)))
    }
}

impl Operation for CreateUser {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "CreateUser";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Users)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let name = UserName::parse("new")?;
        let user = become_document(User::new(call.broker.random.user_id(), name), read(&PEOPLE, &self.resource)?)?;
        write(call, None, user, Outcome::Created).await
    }
}

impl Operation for PutUser {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "PutUser";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Users)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let was = reached(call, &self.id, self.if_match.as_deref()).await?;
        let user = become_document(was.clone(), read(&PEOPLE, &self.resource)?)?;
        write(call, Some(&was), user, Outcome::Found).await
    }
}

impl Operation for PatchUser {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "PatchUser";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Users)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let was = reached(call, &self.id, self.if_match.as_deref()).await?;
        let document = patched(PEOPLE.name, writable(&was), &self.resource)?;
        let user = become_document(was.clone(), document)?;
        write(call, Some(&was), user, Outcome::Found).await
    }
}

impl Operation for DeleteUser {
    type Service = Scim;
    type Mode = Write;
    type Output = ScimAnswer;
    const NAME: &'static str = "DeleteUser";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        provisioner(TokenScope::Users)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ScimAnswer, Error> {
        let user = reached(call, &self.id, self.if_match.as_deref()).await?;
        note_client(call, false);
        call.tx.note("user", &user.id);
        call.tx.note("userName", &user.name);
        call.tx.delete_user(&user.id).await?;
        Ok(ScimAnswer::empty(Outcome::Done))
    }
}
