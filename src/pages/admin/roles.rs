//! Roles of the account, and one role with its trust policy.

use super::{Frame, frame};
use crate::{
    api::iam::{
        role_policies::{ListAttachedRolePolicies, ListRolePolicies},
        roles::{GetRole, ListRoles, RoleDetail, UpdateAssumeRolePolicy},
    },
    domain::{ErrorKind, name::RoleName},
    pages::{Browser, Page, PageError, Pages, render},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/roles.html")]
struct RolesPage {
    frame: Frame,
    roles: Vec<RoleDetail>,
    next: Option<String>,
    refused: String,
}

#[derive(Deserialize)]
pub(super) struct Paging {
    marker: Option<String>,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(paging): Query<Paging>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let frame = frame(&pages, &console, "roles");
    match pages.gateway.call(&caller, ListRoles { marker: paging.marker, ..ListRoles::default() }).await {
        Ok(list) => Ok(render(&RolesPage { frame, roles: list.roles, next: list.marker, refused: String::new() })),
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            let page = RolesPage { frame, roles: Vec::new(), next: None, refused: error.public };
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "admin/role.html")]
struct RolePage {
    frame: Frame,
    role: RoleDetail,
    trust_policy: String,
    inline: Vec<String>,
    attached: Vec<String>,
    saved: bool,
    problem: String,
}

#[derive(Deserialize)]
pub(super) struct Saved {
    #[serde(default)]
    saved: bool,
}

/// A path segment as a role name.
pub(super) fn role_name(text: &str) -> Result<RoleName, PageError> {
    RoleName::parse(text).map_err(PageError)
}

/// JSON with indentation, for reading and editing.
pub(super) fn pretty(text: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(text).ok();
    parsed.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
}

pub(super) async fn show(
    State(pages): State<Pages>,
    browser: Browser,
    Path(name): Path<String>,
    Query(saved): Query<Saved>,
) -> Page {
    page(&pages, &browser, &name, None, saved.saved, String::new()).await
}

async fn page(pages: &Pages, browser: &Browser, name: &str, edited: Option<String>, saved: bool, problem: String) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let role_name = role_name(name)?;
    let role = pages.gateway.call(&caller, GetRole { role_name: role_name.clone() }).await?.role;
    let inline = ListRolePolicies { role_name: role_name.clone(), marker: None, max_items: None };
    let inline = pages.gateway.call(&caller, inline).await.map(|list| list.policy_names).unwrap_or_default();
    let attached = ListAttachedRolePolicies { role_name, marker: None, max_items: None };
    let attached = pages.gateway.call(&caller, attached).await.map(|list| list.attached_policies).unwrap_or_default();
    Ok(render(&RolePage {
        frame: frame(pages, &console, "roles"),
        trust_policy: edited.unwrap_or_else(|| pretty(&role.assume_role_policy_document.0)),
        inline: inline.iter().map(ToString::to_string).collect(),
        attached: attached.into_iter().map(|policy| policy.policy_name).collect(),
        role,
        saved,
        problem,
    }))
}

#[derive(Deserialize)]
pub(super) struct TrustForm {
    policy_document: String,
}

pub(super) async fn save_trust(
    State(pages): State<Pages>,
    browser: Browser,
    Path(name): Path<String>,
    Form(form): Form<TrustForm>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let update = UpdateAssumeRolePolicy { role_name: role_name(&name)?, policy_document: form.policy_document.clone() };
    match pages.gateway.call(&caller, update).await {
        Ok(()) => Ok(Redirect::to(&format!("/admin/roles/{name}?saved=true")).into_response()),
        Err(error) if matches!(error.kind, ErrorKind::MalformedPolicy | ErrorKind::PolicyTooLarge | ErrorKind::AccessDenied) => {
            // What was typed is not lost.
            let shown = page(&pages, &browser, &name, Some(form.policy_document), false, error.public).await?;
            Ok((StatusCode::BAD_REQUEST, shown).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
