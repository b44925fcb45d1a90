//! The console of a local account: Daypass's own admin pages, entered as a role session. Nobody is an admin here; what the
//! role may do is decided by its policies, operation by operation.

pub mod accounts;
pub mod audit;
pub mod dry_run;
pub mod findings;
pub mod guardrails;
pub mod mapping;
pub mod people;
pub mod permission_sets;
pub mod policies;
pub mod proposals;
pub mod refusals;
pub mod roles;
mod rules;
pub mod sessions;
pub mod settings;
pub mod sign_ins;
pub mod sources;
mod trust_form;
pub mod try_person;

use super::{Browser, CONSOLE, Console, Page, Pages, portal::AccountLook};
use crate::{
    domain::{Error, ErrorKind, session::Caller},
    gateway::Operation,
};
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
        .route("/admin/roles/new", get(roles::new).post(roles::create))
        .route("/admin/roles/{name}", get(roles::show).post(roles::edit))
        .route("/admin/roles/{name}/policies/{policy}", get(policies::show).post(policies::save))
        .route("/admin/roles/{name}/dry-run", get(dry_run::form).post(dry_run::run))
        .route("/admin/accounts", get(accounts::list).post(accounts::change))
        .route("/admin/accounts/{id}", get(accounts::show).post(accounts::save))
        .route("/admin/guardrails", get(guardrails::list))
        .route("/admin/guardrails/{id}", get(guardrails::show).post(guardrails::change))
        .route("/admin/permission-sets", get(permission_sets::list).post(permission_sets::create))
        .route("/admin/permission-sets/{id}", get(permission_sets::show).post(permission_sets::change))
        .route("/admin/mapping", get(mapping::list))
        .route("/admin/proposals", get(proposals::list))
        .route("/admin/proposals/{id}", post(proposals::decide))
        .route("/admin/try", get(try_person::form).post(try_person::run))
        .route("/admin/completions", get(policies::completions))
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
        .route("/admin/audit/export", get(audit::export))
        .route("/admin/audit/{id}", get(audit::show))
        .route("/admin/findings", get(findings::list))
        .route("/admin/settings", get(settings::list))
        .route("/admin/help", get(settings::help))
        .route("/admin/leave", post(leave))
}

/// An entry of the menu: key, address, name, icon.
type Entry = (&'static str, &'static str, &'static str, &'static str);

const MENU: &[(&str, &[Entry])] = &[
    (
        "Access",
        &[
            ("mapping", "/admin/mapping", "Role mapping", "map"),
            ("roles", "/admin/roles", "Roles", "role"),
            ("try", "/admin/try", "Try a person", "try"),
            ("permission-sets", "/admin/permission-sets", "Permission sets", "set"),
            ("proposals", "/admin/proposals", "Approvals", "approve"),
        ],
    ),
    (
        "Organization",
        &[("accounts", "/admin/accounts", "Accounts", "account"), ("guardrails", "/admin/guardrails", "Guardrails", "guardrail")],
    ),
    (
        "People",
        &[
            ("sources", "/admin/sources", "Sources", "source"),
            ("people", "/admin/people", "People", "people"),
            ("sign-ins", "/admin/sign-ins", "Sign-ins", "sign-in"),
            ("sessions", "/admin/sessions", "Sessions", "session"),
        ],
    ),
    (
        "Watch",
        &[
            ("findings", "/admin/findings", "Findings", "finding"),
            ("refusals", "/admin/refusals", "Refusals", "refusal"),
            ("audit", "/admin/audit", "Audit", "audit"),
            ("settings", "/admin/settings", "Settings", "settings"),
            ("help", "/admin/help", "Help", "help"),
        ],
    ),
];

/// What every console page shows around it.
pub(crate) struct Frame {
    /// The account's name and number.
    pub(crate) account: String,
    /// Its colour.
    pub(crate) color: Option<&'static str>,
    /// The role session.
    pub(crate) role: String,
    /// Its session name.
    pub(crate) session: String,
    /// When it ends.
    pub(crate) until: String,
    /// Which entry of the menu is current.
    pub(crate) current: &'static str,
}

impl Frame {
    #[allow(clippy::unused_self, reason = "templates call it on the frame that they have")]
    fn menu(&self) -> &'static [(&'static str, &'static [Entry])] {
        MENU
    }
}

/// Whether the role may do something; if not, why.
pub(crate) struct May {
    allowed: bool,
    reason: String,
}

impl May {
    /// Asks for an operation as it would be called.
    async fn call<O: Operation>(pages: &Pages, caller: &Caller, operation: &O) -> Result<Self, Error> {
        match pages.gateway.ask(caller, operation).await {
            Ok(()) => Ok(Self { allowed: true, reason: String::new() }),
            Err(error) if error.kind == ErrorKind::AccessDenied => {
                // Who and on what, the page says already.
                let reason = error.public.split("perform: ").last().unwrap_or_default().to_owned();
                Ok(Self { allowed: false, reason })
            }
            Err(error) => Err(error),
        }
    }
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
    let snapshot = pages.gateway.snapshot();
    let look = AccountLook::new(account, snapshot.accounts.get(account));
    Frame {
        account: format!("{} ({account})", look.name),
        color: look.color,
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
