//! Dry-run: one role's trust policy, laid out for a person. Nothing happens.

use super::{
    Frame, frame,
    roles::{pretty, role_name},
};
use crate::{
    api::iam::{
        providers::{ListOpenIDConnectProviders, ListSAMLProviders},
        roles::GetRole,
        sign_ins::{ListSignIns, SignInAttempt},
        trust::simulate::{SimulateTrust, SimulatedIdentity, Simulation},
    },
    domain::{Arn, ErrorKind},
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/dry_run.html")]
struct DryRunPage {
    frame: Frame,
    role: String,
    form: DryRunForm,
    trust_policy: String,
    providers: Vec<Arn>,
    sign_ins: Vec<SignInAttempt>,
    sign_ins_refused: String,
    result: Option<Simulation>,
    problem: String,
}

/// The form, kept as it was sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DryRunForm {
    sign_in: String,
    provider: String,
    claims: String,
    policy_document: String,
}

pub(super) async fn form(State(pages): State<Pages>, browser: Browser, Path(name): Path<String>) -> Page {
    page(&pages, &browser, &name, DryRunForm::default(), None, String::new()).await
}

pub(super) async fn run(
    State(pages): State<Pages>,
    browser: Browser,
    Path(name): Path<String>,
    Form(form): Form<DryRunForm>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let identity = if form.claims.trim().is_empty() {
        Ok(SimulatedIdentity::SignIn(form.sign_in.clone()))
    } else {
        Arn::parse(&form.provider).map(|provider| SimulatedIdentity::Claims { provider, claims: form.claims.clone() })
    };
    let policy_document = Some(form.policy_document.clone()).filter(|text| !text.trim().is_empty());
    let outcome = match identity {
        Ok(identity) => {
            pages.gateway.call(&caller, SimulateTrust { role_name: role_name(&name)?, policy_document, identity }).await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(result) => page(&pages, &browser, &name, form, Some(result), String::new()).await,
        Err(error) if matches!(error.kind, ErrorKind::InvalidInput | ErrorKind::MalformedPolicy | ErrorKind::NoSuchEntity) => {
            page(&pages, &browser, &name, form, None, error.public).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(
    pages: &Pages,
    browser: &Browser,
    name: &str,
    form: DryRunForm,
    result: Option<Simulation>,
    problem: String,
) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let role = pages.gateway.call(&caller, GetRole { role_name: role_name(name)? }).await?.role;
    let mut providers = Vec::new();
    if let Ok(list) = pages.gateway.call(&caller, ListSAMLProviders {}).await {
        providers.extend(list.list.into_iter().map(|entry| entry.arn));
    }
    if let Ok(list) = pages.gateway.call(&caller, ListOpenIDConnectProviders {}).await {
        providers.extend(list.list.into_iter().map(|entry| entry.arn));
    }
    let (sign_ins, sign_ins_refused) = match pages.gateway.call(&caller, ListSignIns::default()).await {
        Ok(list) => (list.sign_ins.into_iter().filter(|attempt| attempt.identity.is_some()).collect(), String::new()),
        Err(error) => (Vec::new(), error.public),
    };
    let trust_policy = if form.policy_document.trim().is_empty() {
        pretty(&role.assume_role_policy_document.0)
    } else {
        form.policy_document.clone()
    };
    Ok(render(&DryRunPage {
        frame: frame(pages, &console, "roles"),
        role: name.to_owned(),
        form,
        trust_policy,
        providers,
        sign_ins,
        sign_ins_refused,
        result,
        problem,
    }))
}
