//! The console of a local account: Daypass's own admin pages, entered as a role session. Nobody is an admin here; what the
//! role may do is decided by its policies, operation by operation.

pub mod audit;
pub mod dry_run;
pub mod people;
pub mod refusals;
pub mod roles;
pub mod sessions;
pub mod sign_ins;
pub mod sources;

use super::{Browser, CONSOLE, Console, Page, Pages};
use crate::domain::{Error, ErrorKind};
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Redirect},
    routing::{get, post},
};

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/admin", get(|| async { Redirect::to("/admin/roles") }))
        .route("/admin/roles", get(roles::list))
        .route("/admin/roles/{name}", get(roles::show).post(roles::save_trust))
        .route("/admin/roles/{name}/dry-run", get(dry_run::form).post(dry_run::run))
        .route("/admin/people", get(people::list).post(people::invite))
        .route("/admin/people/groups", post(people::create_group))
        .route("/admin/people/tokens", post(people::create_token))
        .route("/admin/people/tokens/{id}/delete", post(people::delete_token))
        .route("/admin/people/{id}", post(people::update))
        .route("/admin/people/{id}/password-link", post(people::password_link))
        .route("/admin/people/{id}/delete", post(people::delete))
        .route("/admin/sessions", get(sessions::list))
        .route("/admin/sessions/end", post(sessions::end))
        .route("/admin/sessions/reset-factors", post(sessions::reset_factors))
        .route("/admin/refusals", get(refusals::form).post(refusals::explain))
        .route("/admin/sign-ins", get(sign_ins::list))
        .route("/admin/sign-ins/{event}", get(sign_ins::show).post(sign_ins::try_mapping))
        .route("/admin/sources", get(sources::list).post(sources::preview))
        .route("/admin/sources/new", post(sources::create))
        .route("/admin/sources/invite", post(sources::invite))
        .route("/admin/sources/{name}/test", post(sources::test))
        .route("/admin/sources/{name}/delete", post(sources::delete))
        .route("/admin/audit", get(audit::list))
        .route("/admin/leave", post(leave))
}

/// What every console page shows at its top.
pub(crate) struct Frame {
    /// The account's name and number.
    pub(crate) account: String,
    /// The role session.
    pub(crate) role: String,
    /// Its session name.
    pub(crate) session: String,
    /// When it ends.
    pub(crate) until: String,
    /// Which entry of the menu is current.
    pub(crate) current: &'static str,
}

/// What belongs beside the form that it is about; other errors are pages of their own.
fn beside(error: Error) -> Result<String, Error> {
    let kinds = [
        ErrorKind::InvalidInput,
        ErrorKind::IdentityProviderUnreachable,
        ErrorKind::AccessDenied,
        ErrorKind::AlreadyExists,
        ErrorKind::NoSuchEntity,
    ];
    if kinds.contains(&error.kind) { Ok(error.public) } else { Err(error) }
}

pub(crate) fn frame(pages: &Pages, console: &Console, current: &'static str) -> Frame {
    let account = &console.session.account;
    let name = pages.gateway.snapshot().accounts.get(account).map(|account| account.name.clone()).unwrap_or_default();
    Frame {
        account: format!("{name} ({account})"),
        role: console.session.role_name.to_string(),
        session: console.session.session_name.to_string(),
        until: super::portal::clock_time(console.until.min(console.session.expires)),
        current,
    }
}

async fn leave(State(_pages): State<Pages>, browser: Browser) -> Page {
    browser.session.remove::<Console>(CONSOLE).await?;
    Ok(Redirect::to("/portal").into_response())
}
