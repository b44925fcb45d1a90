//! People of the built-in directory: inviting them, their groups, and letting them go.

use super::{Frame, May, beside, frame};
use crate::{
    api::{
        directory::{
            BearerTokens, CreateBearerToken, CreateGroup, CreateUser, CreatedBearerToken, DeleteBearerToken, DeleteUser,
            DirectoryUser, ListBearerTokens, SearchUsers, UpdateUser, groups::SearchGroups,
        },
        signin::password::{MakePasswordLink, PasswordLinkAnswer},
    },
    domain::{
        Error, ErrorKind,
        directory::TokenScope,
        name::{GroupName, UserName},
        session::Caller,
    },
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, RawForm, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/people.html")]
struct PeoplePage {
    frame: Frame,
    users: Vec<DirectoryUser>,
    groups: Vec<String>,
    next: Option<String>,
    filter: Filter,
    /// Name of the source that the directory is.
    source: String,
    form: PersonForm,
    link: Option<(String, PasswordLinkAnswer)>,
    /// None where they are not for the session to see.
    tokens: Option<BearerTokens>,
    token: Option<CreatedBearerToken>,
    may: Abilities,
    problem: String,
    refused: String,
}

/// What the session may do here.
struct Abilities {
    invite: May,
    update: May,
    delete: May,
    link: May,
    group: May,
    token: May,
}

impl Abilities {
    async fn of(pages: &Pages, caller: &Caller) -> Result<Self, Error> {
        let somebody = UserName::parse("somebody")?;
        let text = String::new;
        let create = CreateUser { user_name: somebody, email: text(), display_name: text(), groups: Vec::new() };
        let update =
            UpdateUser { id: text(), email: text(), display_name: text(), groups: Vec::new(), disabled: false, version: 0 };
        let token = CreateBearerToken { name: text(), scope: TokenScope::Read, takeover: false, days: 90 };
        Ok(Self {
            invite: May::call(pages, caller, &create).await?,
            update: May::call(pages, caller, &update).await?,
            delete: May::call(pages, caller, &DeleteUser { id: text() }).await?,
            link: May::call(pages, caller, &MakePasswordLink { id: text() }).await?,
            group: May::call(pages, caller, &CreateGroup { name: GroupName::parse("group")? }).await?,
            token: May::call(pages, caller, &token).await?,
        })
    }
}

/// What is said above the list.
#[derive(Default)]
struct Said {
    form: PersonForm,
    link: Option<(String, PasswordLinkAnswer)>,
    token: Option<CreatedBearerToken>,
    problem: String,
}

impl Said {
    fn problem(problem: String) -> Self {
        Self { problem, ..Self::default() }
    }

    fn link(who: String, link: PasswordLinkAnswer) -> Self {
        Self { link: Some((who, link)), ..Self::default() }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    text: String,
    after: String,
}

/// What forms about a person send; `groups` as often as there are.
#[derive(Default)]
struct PersonForm {
    user_name: String,
    email: String,
    display_name: String,
    groups: Vec<String>,
    disabled: bool,
    version: i64,
}

impl PersonForm {
    fn read(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            match &*name {
                "user_name" => form.user_name = value.trim().to_owned(),
                "email" => form.email = value.into_owned(),
                "display_name" => form.display_name = value.into_owned(),
                // A box each, or a line each.
                "groups" => form.groups.extend(value.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)),
                "disabled" => form.disabled = true,
                "version" => form.version = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        form
    }

    fn groups(&self) -> Result<Vec<GroupName>, Error> {
        self.groups.iter().map(|name| GroupName::parse(name)).collect()
    }
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(filter): Query<Filter>) -> Page {
    page(&pages, &browser, filter, Said::default()).await
}

async fn page(pages: &Pages, browser: &Browser, filter: Filter, said: Said) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let outcome = pages.gateway.call(&caller, SearchUsers { text: filter.text.clone(), after: filter.after.clone() }).await;
    let snapshot = pages.gateway.snapshot();
    let directory = |source: &&std::sync::Arc<crate::domain::iam::IdentityProvider>| {
        source.kind == crate::domain::iam::ProviderKind::Directory
    };
    let source = snapshot.identity_sources().find(directory).map(|source| source.name.to_string()).unwrap_or_default();
    let frame = frame(pages, &console, "people");
    let tokens = match pages.gateway.call(&caller, ListBearerTokens {}).await {
        Ok(tokens) => Some(tokens),
        Err(error) if error.kind == ErrorKind::AccessDenied => None,
        Err(error) => return Err(error.into()),
    };
    let Said { form, link, token, problem } = said;
    let mut page = PeoplePage {
        frame,
        users: Vec::new(),
        groups: Vec::new(),
        next: None,
        filter,
        source,
        form,
        link,
        tokens,
        token,
        may: Abilities::of(pages, &caller).await?,
        problem,
        refused: String::new(),
    };
    match outcome {
        Ok(found) => {
            (page.users, page.next) = (found.users, found.next);
            page.groups =
                pages.gateway.call(&caller, SearchGroups::default()).await.map(|found| found.groups).unwrap_or_default();
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Somebody new, with the link that lets them set a password.
pub(super) async fn invite(State(pages): State<Pages>, browser: Browser, RawForm(body): RawForm) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let form = PersonForm::read(&body);
    match create(&pages, &caller, &form).await {
        Ok(link) => page(&pages, &browser, Filter::default(), Said::link(form.display_name, link)).await,
        Err(error) => {
            let said = Said { form, ..Said::problem(beside(error)?) };
            page(&pages, &browser, Filter::default(), said).await
        }
    }
}

async fn create(pages: &Pages, caller: &Caller, form: &PersonForm) -> Result<PasswordLinkAnswer, Error> {
    let user_name = UserName::parse(&form.user_name)
        .map_err(|_| Error::invalid("A name to sign in with has 1 to 128 characters, none of them a space."))?;
    let (email, display_name, groups) = (form.email.clone(), form.display_name.clone(), form.groups()?);
    let created = pages.gateway.call(caller, CreateUser { user_name, email, display_name, groups }).await?;
    pages.gateway.call(caller, MakePasswordLink { id: created.id }).await
}

pub(super) async fn update(State(pages): State<Pages>, browser: Browser, Path(id): Path<String>, RawForm(body): RawForm) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let form = PersonForm::read(&body);
    let outcome = match form.groups() {
        Ok(groups) => {
            let PersonForm { email, display_name, disabled, version, .. } = form;
            pages.gateway.call(&caller, UpdateUser { id: id.clone(), email, display_name, groups, disabled, version }).await
        }
        Err(error) => Err(error),
    };
    after(&pages, &browser, outcome, &id).await
}

async fn after(pages: &Pages, browser: &Browser, outcome: Result<(), Error>, id: &str) -> Page {
    match outcome {
        Ok(()) => Ok(Redirect::to(&format!("/admin/people#{id}")).into_response()),
        Err(error) => page(pages, browser, Filter::default(), Said::problem(beside(error)?)).await,
    }
}

pub(super) async fn delete(State(pages): State<Pages>, browser: Browser, Path(id): Path<String>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let outcome = pages.gateway.call(&caller, DeleteUser { id }).await;
    after(&pages, &browser, outcome, "people").await
}

/// A link for somebody who forgot their password.
pub(super) async fn password_link(State(pages): State<Pages>, browser: Browser, Path(id): Path<String>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    match pages.gateway.call(&caller, MakePasswordLink { id: id.clone() }).await {
        Ok(link) => page(&pages, &browser, Filter::default(), Said::link(id, link)).await,
        Err(error) => page(&pages, &browser, Filter::default(), Said::problem(beside(error)?)).await,
    }
}

pub(super) async fn create_group(State(pages): State<Pages>, browser: Browser, RawForm(body): RawForm) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let name = url::form_urlencoded::parse(&body).find(|(name, _)| name == "name").map(|(_, value)| value.trim().to_owned());
    let outcome = match GroupName::parse(&name.unwrap_or_default()) {
        Ok(name) => pages.gateway.call(&caller, CreateGroup { name }).await,
        Err(_) => Err(Error::invalid("A group's name has 1 to 128 characters.")),
    };
    after(&pages, &browser, outcome, "groups").await
}

/// What the form for a token sends.
#[derive(Deserialize)]
pub(super) struct TokenForm {
    name: String,
    scope: TokenScope,
    #[serde(default)]
    takeover: Option<String>,
    days: u32,
}

pub(super) async fn create_token(State(pages): State<Pages>, browser: Browser, Form(form): Form<TokenForm>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let wish = CreateBearerToken { name: form.name, scope: form.scope, takeover: form.takeover.is_some(), days: form.days };
    let said = match pages.gateway.call(&caller, wish).await {
        Ok(token) => Said { token: Some(token), ..Said::default() },
        Err(error) => Said::problem(beside(error)?),
    };
    page(&pages, &browser, Filter::default(), said).await
}

pub(super) async fn delete_token(State(pages): State<Pages>, browser: Browser, Path(id): Path<String>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let outcome = pages.gateway.call(&caller, DeleteBearerToken { id }).await;
    after(&pages, &browser, outcome, "scim").await
}
