//! Pages: the portal, sign-in, approvals and the console. Server-rendered; they work without JavaScript.
//!
//! A page holds no rule. It builds an operation, calls it as whoever the browser session says, and shows the outcome.

pub mod admin;
pub mod approve;
mod assets;
pub mod console;
mod departure;
mod form_token;
mod issuer;
pub mod portal;
mod second_factor;
mod security;
mod setup;
pub mod sign_in;
pub mod trace;

use crate::{
    domain::{
        Error, ErrorKind, Timestamp,
        session::{Caller, PortalSession, Principal, RequestOrigin},
    },
    gateway::{Gateway, wire::MAX_BODY},
    signin::step::Continuation,
    store::recordings,
};
use askama::Template;
use axum::{
    Extension, Router,
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tower_sessions::Session;

/// What pages share.
#[derive(Clone)]
pub struct Pages {
    /// The door.
    pub gateway: Gateway,
    /// Our origin, for the same-origin check.
    pub origin: Arc<str>,
}

/// Every page.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .merge(sign_in::router())
        .merge(portal::router())
        .merge(approve::router())
        .merge(console::router())
        .merge(admin::router())
        .merge(issuer::router())
        .merge(setup::router())
        .merge(second_factor::router())
        .merge(security::router())
        .layer(axum::middleware::from_fn_with_state(pages.clone(), guard))
        .layer(axum::middleware::from_fn(trace::join))
        .with_state(pages)
        .merge(assets::router())
        .layer(axum::middleware::map_response(headers))
}

/// Headers of every page (OWASP ASVS 3.4). No inline script or style anywhere.
async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: header::HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    );
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::CACHE_CONTROL, "no-store");
    response
}

/// For addresses nobody answers: a page for people, nothing for programs to trip over.
pub async fn not_found() -> Response {
    headers(PageError(Error::new(ErrorKind::NoSuchEntity, "There is no such page.")).into_response()).await
}

/// For everybody who came in a crowd, and would have to wait.
pub async fn crowded() -> Response {
    let message = "Many people are here at this moment. Please try again in a few seconds.";
    let page = Failed(Error::new(ErrorKind::Unavailable, message)).page(None);
    headers(page).await
}

/// The session layer says with an empty 500 that it could not save a session: nothing is wrong but that, and it passes.
pub async fn saved(response: Response) -> Response {
    let empty = axum::body::HttpBody::size_hint(response.body()).exact() == Some(0);
    if response.status() != StatusCode::INTERNAL_SERVER_ERROR || !empty {
        return response;
    }
    let message = "Sessions are not available right now. Please try again.";
    headers(Failed(Error::new(ErrorKind::Unavailable, message)).page(None)).await
}

/// A form may only be posted from our own pages, with the token that they carry. The exceptions answer providers and signed
/// callers, and grant nothing by themselves.
async fn guard(State(pages): State<Pages>, session: Session, mut request: Request, next: Next) -> Response {
    let posts = request.method() != Method::GET && request.method() != Method::HEAD;
    let path = request.uri().path();
    let foreign_by_design = ["/saml/acs", "/saml/logout", "/federation"].contains(&path)
        || (path.starts_with("/oidc/") && path.ends_with("/backchannel-logout"));
    if posts && !foreign_by_design && !same_origin(&request, &pages.origin) {
        let error =
            Error::new(ErrorKind::AccessDenied, "This form was sent from another site. Open the page here and try again.");
        return PageError(error).into_response();
    }
    if posts && !foreign_by_design {
        let (parts, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        match form_token::is_right(&session, &body).await {
            Ok(true) => {}
            Ok(false) => {
                let message = "This form is of an earlier visit. Open the page again, and repeat what you did.";
                return PageError(Error::new(ErrorKind::AccessDenied, message)).into_response();
            }
            Err(error) => return PageError::from(error).into_response(),
        }
        request = Request::from_parts(parts, body.into());
    }
    let reference = request.extensions().get::<Arc<RequestOrigin>>().map(|origin| recordings::reference(&origin.request_id));
    let mut response = next.run(request).await;
    // A page about a failure names the request: with that, an administrator finds what happened.
    if let Some(failed) = response.extensions_mut().remove::<Failed>() {
        response = failed.page(reference.as_deref());
    }
    // These come without a cookie: a session made for their answers would take the place of the one that the browser has.
    if foreign_by_design {
        return response;
    }
    match form_token::add(&session, &*pages.gateway.broker.random, response).await {
        Ok(response) => response,
        Err(error) => PageError::from(error).into_response(),
    }
}

fn same_origin(request: &Request, own: &str) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => origin == own,
        (None, None) => false,
    }
}

const PERSON: &str = "person";
const CONSOLE: &str = "console";
/// A console that a link opened, which waits for a yes, and where it leads.
const OFFERED: &str = "offered-console";
const BINDING: &str = "binding";
/// When the browser was last used by whoever is signed in.
const SEEN: &str = "seen";
/// How exact that is, in seconds: not every page is worth a write.
const SEEN_SECONDS: i64 = 60;
/// Whether the sign-in under way is a test.
const TESTING: &str = "testing";
const CONTINUATION: &str = "continuation";
/// The step that waits for this browser's second factor.
const FACTOR_STEP: &str = "factor-step";
/// What waits for a second factor of somebody signed in: a role, or a page.
const AFTER_FACTOR: &str = "after-factor";
/// A reset link that this browser opened.
const RESET: &str = "factor-reset";
/// Longest address that is kept for after the sign-in, in bytes.
const MAX_CONTINUATION: usize = 4096;

/// A console session, in the browser session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Console {
    pub(crate) session: crate::domain::session::RoleSession,
    pub(crate) until: crate::domain::Timestamp,
}

/// The browser behind a request.
pub(crate) struct Browser {
    pub(crate) session: Session,
    pub(crate) origin: Arc<RequestOrigin>,
}

impl<S: Send + Sync> FromRequestParts<S> for Browser {
    type Rejection = PageError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let missing = |_| PageError(Error::internal("a page outside of the session layer"));
        let session = Session::from_request_parts(parts, state).await.map_err(|(_, why)| PageError(Error::internal(why)))?;
        let Extension(origin) = Extension::from_request_parts(parts, state).await.map_err(missing)?;
        Ok(Self { session, origin })
    }
}

impl Browser {
    /// Another handle for the session, and other tokens in its forms: whoever knew those of before knows nothing.
    pub(crate) async fn rotate(&self, pages: &Pages) -> Result<(), PageError> {
        // Whoever was here before and was away for long does not come back with it.
        self.in_use(pages.gateway.broker.limits.idle_seconds).await?;
        self.session.cycle_id().await?;
        self.session.insert(form_token::KEY, pages.gateway.broker.random.token()).await?;
        // Whoever signs in uses the browser now.
        self.session.insert(SEEN, self.origin.time).await?;
        Ok(())
    }

    fn caller(&self, principal: Principal) -> Caller {
        Caller { principal, origin: self.origin.clone() }
    }

    pub(crate) fn anonymous(&self) -> Caller {
        self.caller(Principal::Anonymous)
    }

    /// The signed-in person.
    pub(crate) async fn person(&self, pages: &Pages) -> Result<Option<Caller>, PageError> {
        let stored: Option<PortalSession> = self.session.get(PERSON).await?;
        let in_use = stored.is_some() && self.in_use(pages.gateway.broker.limits.idle_seconds).await?;
        match stored.filter(|session| in_use && session.expires > self.origin.time) {
            None => Ok(None),
            Some(session) => match pages.gateway.person(session).await {
                Ok(principal) => Ok(Some(self.caller(principal))),
                Err(error) if error.kind == ErrorKind::InvalidBearer => Ok(None),
                Err(error) => Err(PageError(error)),
            },
        }
    }

    /// The signed-in person, or the way to the sign-in page and back here.
    pub(crate) async fn person_or_sign_in(&self, pages: &Pages, back: Continuation) -> Result<Caller, PageError> {
        match self.person(pages).await? {
            Some(caller) => Ok(caller),
            None if back.path().len() > MAX_CONTINUATION => {
                Err(PageError(Error::invalid("The address is too long. Start again where you came from.")))
            }
            None => {
                self.session.insert(CONTINUATION, back).await?;
                Err(PageError::go("/sign-in"))
            }
        }
    }

    /// Whether the browser was used lately, as it is now. One that was not is signed out, console and all.
    async fn in_use(&self, idle_seconds: i64) -> Result<bool, PageError> {
        let now = self.origin.time;
        let unused = match self.session.get::<Timestamp>(SEEN).await? {
            None => SEEN_SECONDS,
            Some(seen) => now.seconds_since(seen),
        };
        if unused >= idle_seconds {
            self.session.flush().await?;
            return Ok(false);
        }
        if unused >= SEEN_SECONDS {
            self.session.insert(SEEN, now).await?;
        }
        Ok(true)
    }

    /// The role session whose console this browser has open.
    pub(crate) async fn console(&self, pages: &Pages) -> Result<(Caller, Console), PageError> {
        let console: Option<Console> = self.session.get(CONSOLE).await?;
        let in_use = console.is_some() && self.in_use(pages.gateway.broker.limits.idle_seconds).await?;
        let now = self.origin.time;
        let open = console.filter(|console| in_use && console.until > now && console.session.expires > now);
        match open {
            Some(console) => Ok((self.caller(Principal::Session(Arc::new(console.session.clone()))), console)),
            None => Err(PageError(Error::new(
                ErrorKind::ExpiredCredentials,
                "Your console session has ended. Open the console again from the portal.",
            ))),
        }
    }
}

/// What went wrong, as a page. Also carries redirects out of the middle of a handler.
pub struct PageError(pub Error);

/// Marks an error that is really a redirect: the private part is the path.
const REDIRECT: &str = "redirect:";

impl PageError {
    fn go(path: &str) -> Self {
        Self(Error::new(ErrorKind::MissingCredentials, "Please sign in.").with_private(format!("{REDIRECT}{path}")))
    }
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<tower_sessions::session::Error> for PageError {
    fn from(error: tower_sessions::session::Error) -> Self {
        Self(Error::new(ErrorKind::Unavailable, "Sessions are not available right now. Please try again.").with_private(error))
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    message: &'a str,
    reference: &'a str,
    action: &'a str,
    action_label: &'a str,
}

/// A failure on its way to becoming a page.
#[derive(Clone)]
struct Failed(Error);

impl Failed {
    fn page(self, reference: Option<&str>) -> Response {
        if let Some(path) = self.0.private.as_deref().and_then(|private| private.strip_prefix(REDIRECT)) {
            return Redirect::to(path).into_response();
        }
        let (status, title) = match self.0.kind {
            ErrorKind::AccessDenied | ErrorKind::StepUpRequired => (StatusCode::FORBIDDEN, "You can't do this"),
            ErrorKind::NoSuchEntity => (StatusCode::NOT_FOUND, "Not found"),
            ErrorKind::Unavailable | ErrorKind::IdentityProviderUnreachable => {
                (StatusCode::SERVICE_UNAVAILABLE, "Not available right now")
            }
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong"),
            ErrorKind::ExpiredCredentials | ErrorKind::UnknownKey => (StatusCode::UNAUTHORIZED, "Your session has ended"),
            ErrorKind::InvalidIdentityToken | ErrorKind::ExpiredIdentityToken | ErrorKind::RejectedIdentity => {
                (StatusCode::FORBIDDEN, "You could not be signed in")
            }
            _ => (StatusCode::BAD_REQUEST, "That did not work"),
        };
        tracing::debug!(kind = ?self.0.kind, private = self.0.private.as_deref(), "error page");
        let tells = !matches!(
            self.0.kind,
            ErrorKind::NoSuchEntity | ErrorKind::AccessDenied | ErrorKind::StepUpRequired | ErrorKind::InvalidInput
        );
        let reference = reference.filter(|_| tells).unwrap_or_default();
        let page = ErrorPage { title, message: &self.0.public, reference, action: "/portal", action_label: "Go to the portal" };
        (status, render(&page)).into_response()
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let failed = Failed(self.0);
        let mut response = failed.clone().page(None);
        if !response.status().is_redirection() {
            response.extensions_mut().insert(failed);
        }
        response
    }
}

/// A rendered template.
pub(crate) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a template could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong\n").into_response()
        }
    }
}

type Page = Result<Response, PageError>;
