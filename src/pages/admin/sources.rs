//! Identity sources: what is configured, what is near its end, our values to copy, trying a sign-in; adding one, having
//! somebody else add one, and removing one.

use super::{Frame, May, beside, frame};
use crate::{
    api::iam::{
        invitation::{InviteSource, SetupLink, SourceProtocol},
        setup::{ClientRegistration, CreateSource, DeleteSource},
        sources::{ListSources, PreviewSource, Published, Source, SourcePreview},
    },
    domain::{Error, ErrorKind, Secret, name::ProviderName, session::Caller},
    pages::{Browser, Page, Pages, render, sign_in},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/sources.html")]
struct SourcesPage {
    frame: Frame,
    sources: Vec<Source>,
    /// What a provider has to know of us.
    ours: Vec<(&'static str, String)>,
    form: NewSource,
    preview: Option<SourcePreview>,
    link: Option<SetupLink>,
    may_create: May,
    may_invite: May,
    may_delete: May,
    problem: Problem,
    refused: String,
}

/// What went wrong, beside the form that it is about.
#[derive(Default)]
struct Problem {
    adding: String,
    inviting: String,
    removing: String,
}

/// Both forms that lead to a source, kept as they were sent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct NewSource {
    /// Metadata, or an address.
    text: String,
    name: String,
    label: String,
    client_id: String,
    client_secret: Option<Secret<String>>,
    /// What was previewed.
    digest: String,
    /// For a setup link.
    protocol: Option<SourceProtocol>,
}

/// What the page shows besides the sources.
#[derive(Default)]
struct Shown {
    form: NewSource,
    preview: Option<SourcePreview>,
    link: Option<SetupLink>,
    problem: Problem,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser) -> Page {
    page(&pages, &browser, Shown::default()).await
}

pub(super) async fn preview(State(pages): State<Pages>, browser: Browser, Form(form): Form<NewSource>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let mut shown = Shown::default();
    match pages.gateway.call(&caller, PreviewSource { name: None, text: form.text.clone() }).await {
        Ok(preview) => shown.preview = Some(preview),
        Err(error) => shown.problem.adding = beside(error)?,
    }
    shown.form = form;
    page(&pages, &browser, shown).await
}

pub(super) async fn create(State(pages): State<Pages>, browser: Browser, Form(mut form): Form<NewSource>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let mut shown = Shown::default();
    match create_previewed(&pages, &caller, &mut form, &mut shown).await {
        Ok(()) => return Ok(Redirect::to(&format!("/admin/sources#source-{}", form.name.trim())).into_response()),
        Err(error) => shown.problem.adding = beside(error)?,
    }
    shown.form = form;
    page(&pages, &browser, shown).await
}

/// What was previewed, if it still is what it was.
async fn create_previewed(pages: &Pages, caller: &Caller, form: &mut NewSource, shown: &mut Shown) -> Result<(), Error> {
    let wanted = name(&form.name);
    let look = PreviewSource { name: wanted.as_ref().ok().cloned(), text: form.text.clone() };
    let preview = pages.gateway.call(caller, look).await?;
    let published = preview.published.clone();
    shown.preview = Some(preview);
    if published.digest() != form.digest {
        return Err(Error::invalid("The provider publishes something else by now: look at it once more."));
    }
    let client = ClientRegistration { id: form.client_id.clone(), secret: form.client_secret.take() };
    let wish = CreateSource { name: wanted?, label: form.label.clone(), published, client: Some(client) };
    pages.gateway.call(caller, wish).await
}

/// A name as a person typed it.
fn name(text: &str) -> Result<ProviderName, Error> {
    let wrong = |_| Error::invalid("A name has 1 to 128 letters, digits, and characters of `._-`; it is in addresses and ARNs.");
    ProviderName::parse(text.trim()).map_err(wrong)
}

pub(super) async fn invite(State(pages): State<Pages>, browser: Browser, Form(form): Form<NewSource>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let outcome = match name(&form.name) {
        Ok(name) => {
            let protocol = form.protocol.unwrap_or(SourceProtocol::Saml);
            pages.gateway.call(&caller, InviteSource { name, label: form.label.clone(), protocol }).await
        }
        Err(error) => Err(error),
    };
    let mut shown = Shown::default();
    match outcome {
        Ok(link) => shown.link = Some(link),
        Err(error) => shown.problem.inviting = beside(error)?,
    }
    shown.form = form;
    page(&pages, &browser, shown).await
}

pub(super) async fn delete(State(pages): State<Pages>, browser: Browser, Path(name): Path<ProviderName>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    match pages.gateway.call(&caller, DeleteSource { name }).await {
        Ok(()) => Ok(Redirect::to("/admin/sources").into_response()),
        Err(error) => {
            let problem = Problem { removing: beside(error)?, ..Problem::default() };
            page(&pages, &browser, Shown { problem, ..Shown::default() }).await
        }
    }
}

async fn page(pages: &Pages, browser: &Browser, shown: Shown) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let outcome = pages.gateway.call(&caller, ListSources {}).await;
    let frame = frame(pages, &console, "sources");
    let Shown { form, preview, link, problem } = shown;
    let name = || ProviderName::parse("new");
    let published = Published::Saml { metadata: String::new(), url: None };
    let create = CreateSource { name: name()?, label: String::new(), published, client: None };
    let invite = InviteSource { name: name()?, label: String::new(), protocol: SourceProtocol::Saml };
    let may_create = May::call(pages, &caller, &create).await?;
    let may_invite = May::call(pages, &caller, &invite).await?;
    let may_delete = May::call(pages, &caller, &DeleteSource { name: name()? }).await?;
    let addresses = &pages.gateway.broker.federation.addresses;
    let ours = vec![
        ("SAML metadata, also our entity ID", addresses.at("/saml/metadata")),
        ("SAML assertion consumer service", addresses.at("/saml/acs")),
        ("OpenID Connect redirect address, with the name that you give below", addresses.at("/oidc/<name>/callback")),
    ];
    let mut page = SourcesPage {
        frame,
        sources: Vec::new(),
        ours,
        form,
        preview,
        link,
        may_create,
        may_invite,
        may_delete,
        problem,
        refused: String::new(),
    };
    match outcome {
        Ok(found) => {
            page.sources = found.sources;
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// The whole way to the provider and back, without a session at its end. Its checks are shown afterwards.
pub(super) async fn test(State(pages): State<Pages>, browser: Browser, Path(name): Path<ProviderName>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    // Who may not see the sources has no business trying them.
    pages.gateway.call(&caller, ListSources {}).await?;
    sign_in::test(&pages, &browser, name.to_string()).await
}
