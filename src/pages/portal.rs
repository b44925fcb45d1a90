//! The portal: accounts and roles of the signed-in person, with the reason for each.

use super::{
    Browser, CONSOLE, Console, Page, PageError, Pages,
    console::destination,
    render,
    second_factor::{After, Waiting},
};
use crate::{
    api::{
        signin::OpenConsole,
        sso::{
            GetRoleCredentials,
            portal::{ListRoleOffers, PortalRole, SetFavouriteRole},
        },
    },
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        name::AccountId,
        organization::{Account, AccountColor},
        session::Caller,
    },
    signin::step::Continuation,
};
use askama::Template;
use axum::{
    Form, Json, Router,
    extract::{Query, RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/portal", get(portal))
        .route("/portal/favourite", post(favourite))
        .route("/portal/credentials", post(credentials))
        .route("/portal/console", get(bookmark).post(console))
}

/// Where a console can open: address and name.
const DESTINATIONS: &[(&str, &str)] = &[
    ("/admin", "its first page"),
    ("/admin/sources", "Sources"),
    ("/admin/people", "People"),
    ("/admin/sign-ins", "Sign-ins"),
    ("/admin/sessions", "Sessions"),
    ("/admin/audit", "Audit"),
];

/// What people's own pages show at their top.
pub(super) struct PersonBar {
    pub(super) organization: String,
    pub(super) person: String,
    pub(super) email: String,
    /// Which entry of the menu is current.
    pub(super) current: &'static str,
}

impl PersonBar {
    pub(super) fn new(pages: &Pages, caller: &Caller, current: &'static str) -> Result<Self, PageError> {
        let identity = &caller.person().ok_or_else(|| Error::internal("a person's page without a person"))?.identity;
        let organization = pages.gateway.snapshot().organization.as_ref().map(|organization| organization.name.clone());
        Ok(Self {
            organization: organization.unwrap_or_default(),
            person: identity.display_name().to_owned(),
            email: identity.email.clone().unwrap_or_default(),
            current,
        })
    }
}

/// How an account looks on pages.
#[derive(Clone)]
pub(super) struct AccountLook {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) color: Option<&'static str>,
    pub(super) labels: Vec<String>,
}

impl AccountLook {
    pub(super) fn new(id: &AccountId, account: Option<&Account>) -> Self {
        Self {
            id: id.to_string(),
            name: account.map(|account| account.name.clone()).unwrap_or_default(),
            color: account.and_then(|account| account.color).map(AccountColor::name),
            labels: account
                .into_iter()
                .flat_map(|account| account.tags.values())
                .filter(|text| !text.is_empty())
                .cloned()
                .collect(),
        }
    }
}

/// An account with the roles that the person may take in it.
pub(super) struct AccountCard {
    pub(super) look: Arc<AccountLook>,
    pub(super) roles: Vec<Arc<RoleLine>>,
}

impl std::ops::Deref for AccountCard {
    type Target = AccountLook;
    fn deref(&self) -> &AccountLook {
        &self.look
    }
}

pub(super) struct RoleLine {
    /// `<account>/<name>`.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    because: String,
    hours: String,
    /// Whether a second factor is asked for first.
    pub(super) step_up: bool,
    favourite: bool,
}

/// What the portal lists.
pub(super) struct RoleCards {
    /// By the accounts' names.
    pub(super) accounts: Vec<AccountCard>,
    /// Favourites, and what was used of late: each with its title, where there are any.
    pinned: Vec<(&'static str, Vec<Pinned>)>,
    pub(super) role_count: usize,
}

type Pinned = (Arc<AccountLook>, Arc<RoleLine>);

impl RoleCards {
    /// All that the person may take.
    pub(super) async fn of(pages: &Pages, caller: &Caller) -> Result<Self, PageError> {
        let found = pages.gateway.call(caller, ListRoleOffers {}).await?;
        let snapshot = pages.gateway.snapshot();
        let mut accounts: Vec<AccountCard> = Vec::new();
        for PortalRole { offer, step_up, favourite } in found.offers {
            let role = &offer.role.role;
            let line = Arc::new(RoleLine {
                id: format!("{}/{}", role.account, role.name),
                name: snapshot.known_name(role).to_owned(),
                description: role.description.clone(),
                because: offer.explanation.because().unwrap_or_default(),
                hours: duration(role.max_session_seconds),
                step_up,
                favourite,
            });
            match accounts.last_mut().filter(|card| card.id == role.account.as_str()) {
                Some(card) => card.roles.push(line),
                None => accounts.push(AccountCard {
                    look: Arc::new(AccountLook::new(&role.account, snapshot.accounts.get(&role.account))),
                    roles: vec![line],
                }),
            }
        }
        for card in &mut accounts {
            card.roles.sort_by_cached_key(|role| role.name.to_lowercase());
        }
        accounts.sort_by_cached_key(|card| card.name.to_lowercase());
        let all = || accounts.iter().flat_map(|card| card.roles.iter().map(move |line| (card.look.clone(), line.clone())));
        let favourites: Vec<Pinned> = all().filter(|(_, line)| line.favourite).collect();
        let taken = |(account, name): &(AccountId, String)| {
            let id = format!("{account}/{name}");
            all().find(|(_, line)| line.id == id && !line.favourite)
        };
        let recent: Vec<Pinned> = found.recent.iter().filter_map(taken).collect();
        let pinned = [("Favourites", favourites), ("Used of late", recent)];
        let role_count = all().count();
        // A short list is its own summary.
        let pinned = pinned.into_iter().filter(|(_, list)| !list.is_empty() && role_count > SHORT).collect();
        Ok(Self { pinned, role_count, accounts })
    }
}

/// So many roles need no short cut.
const SHORT: usize = 3;

#[derive(Template)]
#[template(path = "portal.html")]
struct PortalPage {
    bar: PersonBar,
    until: String,
    accounts: Vec<AccountCard>,
    pinned: Vec<(&'static str, Vec<Pinned>)>,
    destinations: &'static [(&'static str, &'static str)],
    role_count: usize,
    console_open: Option<String>,
    problem: String,
}

async fn portal(State(pages): State<Pages>, browser: Browser) -> Page {
    page(&pages, &browser, String::new()).await
}

async fn page(pages: &Pages, browser: &Browser, problem: String) -> Page {
    let caller = browser.person_or_sign_in(pages, Continuation::Portal).await?;
    let RoleCards { accounts, pinned, role_count } = RoleCards::of(pages, &caller).await?;
    Ok(render(&PortalPage {
        bar: PersonBar::new(pages, &caller, "portal")?,
        until: caller.person().map(|session| clock_time(session.expires)).unwrap_or_default(),
        accounts,
        pinned,
        destinations: DESTINATIONS,
        role_count,
        console_open: browser.console(pages).await.ok().map(|(_, console)| console.session.role_name.to_string()),
        problem,
    }))
}

pub(super) fn duration(seconds: u32) -> String {
    match (seconds / 3600, seconds % 3600 / 60) {
        (hours, 0) => format!("{hours} h"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// `14:05 UTC`: pages have no time zone without JavaScript, which replaces it with local time.
pub(super) fn clock_time(time: Timestamp) -> String {
    time.to_string()
}

#[derive(Deserialize)]
struct On {
    on: Option<String>,
}

async fn favourite(State(pages): State<Pages>, browser: Browser, Query(on): Query<On>, Form(chosen): Form<Chosen>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    let (account_id, role_name) = chosen.role()?;
    match pages.gateway.call(&caller, SetFavouriteRole { account_id, role_name, favourite: on.on.is_some() }).await {
        Ok(()) => Ok(Redirect::to("/portal").into_response()),
        Err(error) if matches!(error.kind, ErrorKind::LimitExceeded | ErrorKind::NoSuchEntity) => {
            page(&pages, &browser, error.public).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What the portal's buttons send.
#[derive(Deserialize)]
struct Chosen {
    /// `<account>/<name>`.
    role: String,
    /// Where the console opens.
    #[serde(default)]
    destination: String,
}

impl Chosen {
    fn role(&self) -> Result<(AccountId, String), Error> {
        let parts = self.role.split_once('/').ok_or_else(|| Error::invalid("Choose a role."))?;
        Ok((AccountId::parse(parts.0)?, parts.1.to_owned()))
    }

    fn wish(self, want: Want) -> Result<Wish, Error> {
        let (account_id, role_name) = self.role()?;
        Ok(Wish { account_id, role_name, want, destination: self.destination })
    }
}

/// What is wanted of a role.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
enum Want {
    /// A page with its credentials.
    Credentials,
    /// Lines for a shell, for a program of the page.
    ShellLines,
    /// Its console.
    Console,
}

/// A role that a person asked for; kept while they give a second factor for it.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Wish {
    account_id: AccountId,
    role_name: String,
    want: Want,
    destination: String,
}

impl Wish {
    /// Carries the wish out, or has the second factor asked for that the role wants.
    pub(super) async fn grant(self, pages: &Pages, browser: &Browser, caller: &Caller) -> Page {
        let outcome = match self.want {
            Want::Console => open_console(pages, browser, caller, &self).await,
            Want::Credentials => show_credentials(pages, caller, &self).await,
            Want::ShellLines => copy_credentials(pages, caller, &self).await,
        };
        match outcome {
            Err(PageError(error)) if error.kind == ErrorKind::StepUpRequired => {
                // A page of its own comes after the factor, whoever asked.
                let want = if self.want == Want::ShellLines { Want::Credentials } else { self.want };
                After::keep(browser, Waiting::Role(Self { want, ..self })).await?;
                Ok(Redirect::to("/second-factor").into_response())
            }
            outcome => outcome,
        }
    }
}

#[derive(Template)]
#[template(path = "credentials.html")]
struct CredentialsPage {
    bar: PersonBar,
    account: String,
    role: String,
    until: String,
    blocks: Vec<Block>,
}

/// One way to carry the credentials away.
struct Block {
    id: &'static str,
    title: &'static str,
    hint: &'static str,
    text: String,
}

async fn credentials(State(pages): State<Pages>, browser: Browser, headers: HeaderMap, Form(chosen): Form<Chosen>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    let by_program = headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/json");
    let want = if by_program { Want::ShellLines } else { Want::Credentials };
    chosen.wish(want)?.grant(&pages, &browser, &caller).await
}

/// Session credentials, and where they are good.
struct Taken {
    key: String,
    secret: Secret<String>,
    token: Secret<String>,
    until: Timestamp,
    endpoint: String,
}

impl Taken {
    async fn of(pages: &Pages, caller: &Caller, wish: &Wish) -> Result<Self, PageError> {
        let call = GetRoleCredentials { role_name: wish.role_name.clone(), account_id: wish.account_id.clone() };
        let issued = pages.gateway.call(caller, call).await?.role_credentials;
        Ok(Self {
            key: issued.access_key_id,
            secret: issued.secret_access_key,
            token: issued.session_token,
            until: Timestamp(issued.expiration),
            endpoint: pages.gateway.broker.federation.addresses.at(""),
        })
    }

    fn shell(&self) -> String {
        let Self { key, endpoint, .. } = self;
        let (secret, token) = (self.secret.expose(), self.token.expose());
        format!(
            "export AWS_ACCESS_KEY_ID={key}\nexport AWS_SECRET_ACCESS_KEY={secret}\nexport AWS_SESSION_TOKEN={token}\nexport AWS_ENDPOINT_URL={endpoint}\nexport AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"
        )
    }
}

/// For the page's key that copies without showing.
#[derive(Serialize)]
struct ShellLines {
    text: String,
    until: String,
}

async fn copy_credentials(pages: &Pages, caller: &Caller, wish: &Wish) -> Page {
    let taken = Taken::of(pages, caller, wish).await?;
    Ok(Json(ShellLines { text: taken.shell(), until: clock_time(taken.until) }).into_response())
}

/// What people call the role.
fn known_name(pages: &Pages, account: &AccountId, name: &str) -> String {
    let snapshot = pages.gateway.snapshot();
    snapshot.role(account, name).map_or_else(|| name.to_owned(), |role| snapshot.known_name(&role.role).to_owned())
}

async fn show_credentials(pages: &Pages, caller: &Caller, wish: &Wish) -> Page {
    let taken = Taken::of(pages, caller, wish).await?;
    let Taken { key, endpoint, until, .. } = &taken;
    let (secret, token) = (taken.secret.expose(), taken.token.expose());
    let profile = format!("{}-{}", wish.account_id, wish.role_name);
    let blocks = vec![
        Block { id: "shell", title: "Shell", hint: "macOS and Linux: paste into the terminal you work in.", text: taken.shell() },
        Block {
            id: "powershell",
            title: "PowerShell",
            hint: "Windows: paste into PowerShell.",
            text: format!(
                "$Env:AWS_ACCESS_KEY_ID=\"{key}\"\n$Env:AWS_SECRET_ACCESS_KEY=\"{secret}\"\n$Env:AWS_SESSION_TOKEN=\"{token}\"\n$Env:AWS_ENDPOINT_URL=\"{endpoint}\"\n$Env:AWS_REGION=\"us-east-1\"\n$Env:AWS_DEFAULT_REGION=\"us-east-1\""
            ),
        },
        Block {
            id: "profile",
            title: "Profile",
            hint: "Add to ~/.aws/credentials, then use --profile.",
            text: format!(
                "[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = {token}\nendpoint_url = {endpoint}\nregion = us-east-1"
            ),
        },
        Block {
            id: "json",
            title: "JSON",
            hint: "What credential_process prints.",
            text: serde_json::to_string_pretty(&serde_json::json!({
                "Version": 1, "AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token,
                "Expiration": until.to_string(), "AccountId": wish.account_id,
            }))
            .map_err(Error::internal)?,
        },
    ];
    Ok(render(&CredentialsPage {
        account: wish.account_id.to_string(),
        role: known_name(pages, &wish.account_id, &wish.role_name),
        until: clock_time(*until),
        bar: PersonBar::new(pages, caller, "credentials")?,
        blocks,
    }))
}

async fn console(State(pages): State<Pages>, browser: Browser, Form(chosen): Form<Chosen>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    chosen.wish(Want::Console)?.grant(&pages, &browser, &caller).await
}

async fn open_console(pages: &Pages, browser: &Browser, caller: &Caller, wish: &Wish) -> Page {
    let open = OpenConsole { account_id: wish.account_id.clone(), role_name: wish.role_name.clone() };
    let opened = pages.gateway.call(caller, open).await?;
    browser.rotate(pages).await?;
    browser.session.insert(CONSOLE, Console { session: opened.session, until: opened.until }).await?;
    Ok(Redirect::to(&destination(&pages.origin, Some(&wish.destination))).into_response())
}

/// A link that people keep. It asks first: a link of somebody else's opens nothing by itself.
#[derive(Template)]
#[template(path = "bookmark.html")]
pub(super) struct BookmarkPage {
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) role: String,
    pub(super) account: String,
    /// Whether it is somebody else's.
    pub(super) foreign: bool,
    pub(super) destination: String,
}

async fn bookmark(State(pages): State<Pages>, browser: Browser, RawQuery(query): RawQuery, Query(chosen): Query<Chosen>) -> Page {
    let back = Continuation::Console { query: query.unwrap_or_default() };
    let caller = browser.person_or_sign_in(&pages, back).await?;
    let (account, role) = chosen.role()?;
    // Names of what there is besides their own are nobody's to learn.
    let cards = RoleCards::of(&pages, &caller).await?;
    let card = cards.accounts.iter().find(|card| card.roles.iter().any(|line| line.id == chosen.role));
    let line = card.and_then(|card| card.roles.iter().find(|line| line.id == chosen.role));
    Ok(render(&BookmarkPage {
        action: "portal/console",
        foreign: false,
        id: chosen.role,
        role: line.map_or(role, |line| line.name.clone()),
        account: card.map_or_else(|| account.to_string(), |card| format!("{} ({account})", card.name)),
        destination: chosen.destination,
    }))
}
