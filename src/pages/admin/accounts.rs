//! The tree of accounts: units, accounts, and one account.

use super::{Frame, May, beside, frame};
use crate::{
    api::organizations::{
        accounts::{CreateAccount, FoundAccounts, MoveAccount, SearchAccounts, UpdateAccount},
        policies::{ListPoliciesForTarget, PolicySummary},
        units::{
            CreateOrganizationalUnit, DeleteOrganizationalUnit, ListOrganizationalUnitsForParent, ListRoots, UnitDetail,
            UpdateOrganizationalUnit,
        },
    },
    domain::{
        Error, ErrorKind,
        name::AccountId,
        organization::{Account, AccountColor, GuardrailKind},
        session::Caller,
    },
    pages::{Browser, Page, Pages, portal::AccountLook, render},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Template)]
#[template(path = "admin/accounts.html")]
struct AccountsPage {
    frame: Frame,
    filter: Filter,
    root: String,
    /// The root or the unit that is shown: id and name.
    at: (String, String),
    /// Units above it, the root first.
    above: Vec<(String, String)>,
    units: Vec<UnitDetail>,
    accounts: Vec<AccountLook>,
    next: Option<String>,
    guardrails: Vec<PolicySummary>,
    may_create: May,
    may_add_unit: May,
    may_change_unit: May,
    problem: String,
    refused: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    at: String,
    text: String,
    marker: Option<String>,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(filter): Query<Filter>) -> Page {
    page(&pages, &browser, filter, String::new()).await
}

async fn page(pages: &Pages, browser: &Browser, filter: Filter, problem: String) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let snapshot = pages.gateway.snapshot();
    let root = snapshot.root_id();
    let at = if filter.at.is_empty() { root.clone() } else { filter.at.clone() };
    let unit = CreateOrganizationalUnit { parent_id: at.clone(), name: String::new() };
    let create = CreateAccount { account_name: String::new(), email: String::new(), tags: Vec::new() };
    let rename = UpdateOrganizationalUnit { organizational_unit_id: at.clone(), name: String::new() };
    let mut above: Vec<(String, String)> =
        snapshot.units_above(Some(&at)).skip(1).map(|unit| (unit.id.clone(), unit.name.clone())).collect();
    if at != root {
        above.push((root.clone(), "Root".to_owned()));
    }
    above.reverse();
    let name = snapshot.units.get(&at).map_or_else(|| "Root".to_owned(), |unit| unit.name.clone());
    let mut page = AccountsPage {
        frame: frame(pages, &console, "accounts"),
        root,
        at: (at.clone(), name),
        above,
        units: Vec::new(),
        accounts: Vec::new(),
        next: None,
        guardrails: Vec::new(),
        may_create: May::call(pages, &caller, &create).await?,
        may_add_unit: May::call(pages, &caller, &unit).await?,
        may_change_unit: May::call(pages, &caller, &rename).await?,
        problem,
        refused: String::new(),
        filter: filter.clone(),
    };
    match found(pages, &caller, &filter, &at).await {
        Ok((units, found, guardrails)) => {
            page.accounts = found.accounts.iter().map(|account| AccountLook::new(&account.id, Some(account))).collect();
            (page.units, page.next, page.guardrails) = (units, found.marker, guardrails);
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

type Found = (Vec<UnitDetail>, FoundAccounts, Vec<PolicySummary>);

async fn found(pages: &Pages, caller: &Caller, filter: &Filter, at: &str) -> Result<Found, Error> {
    let searching = !filter.text.trim().is_empty();
    let search = SearchAccounts {
        text: filter.text.clone(),
        parent_id: (!searching).then(|| at.to_owned()),
        marker: filter.marker.clone(),
    };
    let accounts = pages.gateway.call(caller, search).await?;
    if searching {
        return Ok((Vec::new(), accounts, Vec::new()));
    }
    pages.gateway.call(caller, ListRoots {}).await?;
    let units = ListOrganizationalUnitsForParent { parent_id: at.to_owned(), max_results: Some(1000), next_token: None };
    let units = pages.gateway.call(caller, units).await?.organizational_units;
    let mut guardrails = Vec::new();
    for filter in [GuardrailKind::ServiceControl, GuardrailKind::ResourceControl] {
        let wish = ListPoliciesForTarget { target_id: at.to_owned(), filter };
        guardrails.extend(pages.gateway.call(caller, wish).await?.policies);
    }
    Ok((units, accounts, guardrails))
}

/// What the forms of the tree send.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TreeForm {
    at: String,
    name: String,
    email: String,
    #[serde(rename = "do")]
    wanted: String,
}

pub(super) async fn change(State(pages): State<Pages>, browser: Browser, Form(form): Form<TreeForm>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let (at, name) = (form.at.clone(), form.name.clone());
    let outcome = match form.wanted.as_str() {
        "unit" => {
            let wish = CreateOrganizationalUnit { parent_id: at.clone(), name };
            pages.gateway.call(&caller, wish).await.map(|_| at.clone())
        }
        "rename" => {
            let wish = UpdateOrganizationalUnit { organizational_unit_id: at.clone(), name };
            pages.gateway.call(&caller, wish).await.map(|_| at.clone())
        }
        "delete" => {
            let snapshot = pages.gateway.snapshot();
            let parent = snapshot.units.get(&at).and_then(|unit| unit.parent.clone()).unwrap_or_default();
            let wish = DeleteOrganizationalUnit { organizational_unit_id: at.clone() };
            pages.gateway.call(&caller, wish).await.map(|()| parent)
        }
        _ => add_account(&pages, &caller, &form, &console.session.account).await.map(|()| at.clone()),
    };
    match outcome {
        Ok(at) => Ok(Redirect::to(&format!("/admin/accounts?at={at}")).into_response()),
        Err(error) => page(&pages, &browser, Filter { at, ..Filter::default() }, in_words(error)?).await,
    }
}

/// A new account, below the unit that is shown.
async fn add_account(pages: &Pages, caller: &Caller, form: &TreeForm, console_account: &AccountId) -> Result<(), Error> {
    let snapshot = pages.gateway.snapshot();
    let root = snapshot.root_id();
    let place = Some(form.at.clone()).filter(|at| !at.is_empty() && *at != root);
    // Asked before there is anything: an account that can't be moved would be out of its unit's reach.
    if let Some(place) = &place {
        let account_id = console_account.clone();
        let moving = MoveAccount { account_id, source_parent_id: root.clone(), destination_parent_id: place.clone() };
        pages.gateway.ask(caller, &moving).await?;
    }
    let wish = CreateAccount { account_name: form.name.clone(), email: form.email.clone(), tags: Vec::new() };
    let created = pages.gateway.call(caller, wish).await?.create_account_status;
    let Some(destination_parent_id) = place else { return Ok(()) };
    let account_id = AccountId::parse(&created.account_id)?;
    pages.gateway.call(caller, MoveAccount { account_id, source_parent_id: root, destination_parent_id }).await
}

fn in_words(error: Error) -> Result<String, Error> {
    match error.kind {
        ErrorKind::DeleteConflict | ErrorKind::LimitExceeded | ErrorKind::MalformedPolicy | ErrorKind::PolicyTooLarge => {
            Ok(error.public)
        }
        _ => beside(error),
    }
}

#[derive(Template)]
#[template(path = "admin/account.html")]
struct AccountPage {
    frame: Frame,
    look: AccountLook,
    email: String,
    tags: String,
    colors: Vec<(&'static str, bool)>,
    /// Where it is, and where it could be: id, name, whether it is there.
    places: Vec<(String, String, bool)>,
    guardrails: Vec<PolicySummary>,
    may_update: May,
    may_move: May,
    saved: bool,
    problem: String,
}

#[derive(Deserialize)]
pub(super) struct Saved {
    #[serde(default)]
    saved: bool,
}

/// The form about one account, kept as it was sent.
#[derive(Clone, Deserialize)]
pub(super) struct AccountForm {
    name: String,
    email: String,
    color: String,
    tags: String,
    place: String,
}

/// The account of this number.
async fn account(pages: &Pages, caller: &Caller, id: &AccountId) -> Result<Account, Error> {
    let found = pages.gateway.call(caller, SearchAccounts { text: id.to_string(), ..SearchAccounts::default() }).await?;
    let account = found.accounts.into_iter().find(|account| account.id == *id);
    account.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "There is no such account."))
}

pub(super) async fn show(
    State(pages): State<Pages>,
    browser: Browser,
    Path(id): Path<AccountId>,
    Query(saved): Query<Saved>,
) -> Page {
    account_page(&pages, &browser, &id, None, saved.saved, String::new()).await
}

async fn account_page(
    pages: &Pages,
    browser: &Browser,
    id: &AccountId,
    form: Option<AccountForm>,
    saved: bool,
    problem: String,
) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let account = account(pages, &caller, id).await?;
    let snapshot = pages.gateway.snapshot();
    let root = snapshot.root_id();
    let form = form.unwrap_or_else(|| AccountForm {
        name: account.name.clone(),
        email: account.email.clone(),
        color: account.color.map_or("", AccountColor::name).to_owned(),
        tags: account.tags.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("\n"),
        place: account.parent.clone().unwrap_or_else(|| root.clone()),
    });
    let path = |id: &str| {
        let mut names: Vec<String> = snapshot.units_above(Some(id)).map(|unit| unit.name.clone()).collect();
        names.reverse();
        names.join(" / ")
    };
    let mut places = vec![(root.clone(), "Root".to_owned(), form.place == root)];
    places.extend(snapshot.units.keys().map(|unit| (unit.clone(), path(unit), form.place == *unit)));
    let mut guardrails = Vec::new();
    for filter in [GuardrailKind::ServiceControl, GuardrailKind::ResourceControl] {
        let wish = ListPoliciesForTarget { target_id: id.to_string(), filter };
        guardrails.extend(pages.gateway.call(&caller, wish).await.map(|list| list.policies).unwrap_or_default());
    }
    let update = UpdateAccount {
        account_id: id.clone(),
        name: String::new(),
        email: String::new(),
        color: String::new(),
        tags: BTreeMap::new(),
    };
    let moving = MoveAccount { account_id: id.clone(), source_parent_id: root.clone(), destination_parent_id: root };
    Ok(render(&AccountPage {
        frame: frame(pages, &console, "accounts"),
        colors: AccountColor::ALL.iter().map(|(_, name)| (*name, *name == form.color)).collect(),
        look: AccountLook { name: form.name.clone(), ..AccountLook::new(id, Some(&account)) },
        email: form.email,
        tags: form.tags,
        places,
        guardrails,
        may_update: May::call(pages, &caller, &update).await?,
        may_move: May::call(pages, &caller, &moving).await?,
        saved,
        problem,
    }))
}

/// `key = value`, a line each.
fn tags(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tag = |line: &str| {
        let (key, value) =
            line.split_once('=').ok_or_else(|| Error::invalid(format!("“{line}” is no tag: write key = value")))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    lines.map(tag).collect()
}

pub(super) async fn save(
    State(pages): State<Pages>,
    browser: Browser,
    Path(id): Path<AccountId>,
    Form(form): Form<AccountForm>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    match save_account(&pages, &caller, &id, &form).await {
        Ok(()) => Ok(Redirect::to(&format!("/admin/accounts/{id}?saved=true")).into_response()),
        Err(error) => account_page(&pages, &browser, &id, Some(form), false, in_words(error)?).await,
    }
}

async fn save_account(pages: &Pages, caller: &Caller, id: &AccountId, form: &AccountForm) -> Result<(), Error> {
    let now = account(pages, caller, id).await?;
    let wish = UpdateAccount {
        account_id: id.clone(),
        name: form.name.clone(),
        email: form.email.clone(),
        color: form.color.clone(),
        tags: tags(&form.tags)?,
    };
    let changed = wish.name != now.name
        || wish.email != now.email
        || wish.color != now.color.map_or("", AccountColor::name)
        || wish.tags != now.tags;
    if changed {
        pages.gateway.call(caller, wish).await?;
    }
    let snapshot = pages.gateway.snapshot();
    let root = snapshot.root_id();
    let from = now.parent.unwrap_or(root);
    if from != form.place {
        let destination_parent_id = form.place.clone();
        pages.gateway.call(caller, MoveAccount { account_id: id.clone(), source_parent_id: from, destination_parent_id }).await?;
    }
    Ok(())
}
