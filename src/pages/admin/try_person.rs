//! Trying a person: every role, granted or not, and how near it is.

use super::{Frame, beside, frame, rules::providers_of};
use crate::{
    api::{
        directory::{DirectoryUser, SearchUsers},
        iam::{
            sign_ins::{ListSignIns, SignInAttempt},
            trust::simulate::{MOST_MISSED, SimulateAccess, SimulatedAccess, SimulatedIdentity, SimulatedRole},
        },
    },
    domain::{Arn, Error, ErrorKind, session::Caller},
    pages::{Browser, Page, Pages, portal::AccountLook, render},
};
use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/try.html")]
struct TryPage {
    frame: Frame,
    form: TryForm,
    /// People that fit the search.
    people: Vec<DirectoryUser>,
    sign_ins: Vec<SignInAttempt>,
    providers: Vec<(String, String)>,
    result: Option<Tried>,
    problem: String,
}

struct Tried {
    access: SimulatedAccess,
    granted: Vec<Line>,
    missed: Vec<Line>,
}

struct Line {
    name: String,
    account: AccountLook,
    reason: String,
    explanation: crate::policy::Explanation,
    /// In words: how far away it is.
    near: String,
}

/// The form, kept as it was sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TryForm {
    /// Search for people.
    search: String,
    person: String,
    sign_in: String,
    provider: String,
    claims: String,
    factor: Option<String>,
    text: String,
}

impl TryForm {
    fn identity(&self) -> Option<Result<SimulatedIdentity, Error>> {
        if !self.claims.trim().is_empty() {
            let claims = self.claims.clone();
            return Some(Arn::parse(&self.provider).map(|provider| SimulatedIdentity::Claims { provider, claims }));
        }
        let chosen = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let sign_in = chosen(&self.sign_in).map(SimulatedIdentity::SignIn);
        sign_in.or_else(|| chosen(&self.person).map(SimulatedIdentity::Person)).map(Ok)
    }
}

/// From a link to somebody, or empty.
pub(super) async fn form(State(pages): State<Pages>, browser: Browser, Query(form): Query<TryForm>) -> Page {
    page(&pages, &browser, form).await
}

pub(super) async fn run(State(pages): State<Pages>, browser: Browser, Form(form): Form<TryForm>) -> Page {
    page(&pages, &browser, form).await
}

async fn page(pages: &Pages, browser: &Browser, form: TryForm) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let outcome = match form.identity() {
        Some(Ok(_)) => simulate(pages, &caller, &form).await.map(Some),
        Some(Err(error)) => Err(error),
        None => Ok(None),
    };
    let (result, problem) = match outcome {
        Ok(result) => (result, String::new()),
        Err(error) => (None, beside(error)?),
    };
    let people = match form.search.trim() {
        "" => Vec::new(),
        text => match pages.gateway.call(&caller, SearchUsers { text: text.to_owned(), after: String::new() }).await {
            Ok(found) => found.users,
            Err(error) if error.kind == ErrorKind::AccessDenied => Vec::new(),
            Err(error) => return Err(error.into()),
        },
    };
    let sign_ins = match pages.gateway.call(&caller, ListSignIns::default()).await {
        Ok(found) => found.sign_ins.into_iter().filter(|attempt| attempt.identity.is_some()).collect(),
        Err(error) if error.kind == ErrorKind::AccessDenied => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let providers = providers_of(&pages.gateway.snapshot(), &console.session.account);
    let frame = frame(pages, &console, "try");
    Ok(render(&TryPage { frame, form, people, sign_ins, providers, result, problem }))
}

/// Over the whole organization, or over what the session sees of it.
async fn simulate(pages: &Pages, caller: &Caller, form: &TryForm) -> Result<Tried, Error> {
    let wish = |organization| {
        let identity = form.identity().transpose()?.ok_or_else(|| Error::invalid("Choose somebody."))?;
        Ok::<_, Error>(SimulateAccess { identity, organization, text: form.text.clone(), factor: form.factor.is_some() })
    };
    let mut outcome = pages.gateway.call(caller, wish(true)?).await;
    if outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::AccessDenied) {
        outcome = pages.gateway.call(caller, wish(false)?).await;
    }
    let mut access = outcome?;
    let snapshot = pages.gateway.snapshot();
    let line = |found: SimulatedRole| {
        let role = &found.role.role;
        Line {
            name: role.name.to_string(),
            account: AccountLook::new(&role.account, snapshot.accounts.get(&role.account)),
            reason: found.explanation.because().unwrap_or_else(|| found.explanation.reason.clone()),
            near: match found.missing {
                0 => "refused".to_owned(),
                1 => "one condition away".to_owned(),
                missing if missing < 100 => format!("{missing} conditions away"),
                _ => "not for this provider".to_owned(),
            },
            explanation: found.explanation,
        }
    };
    let (granted, missed) = (std::mem::take(&mut access.granted), std::mem::take(&mut access.missed));
    Ok(Tried { granted: granted.into_iter().map(line).collect(), missed: missed.into_iter().map(line).collect(), access })
}
