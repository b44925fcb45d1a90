//! The portal: accounts and roles of the signed-in person, with the reason for each.

use super::{
    Browser, CONSOLE, Console, Page, PageError, Pages, render,
    second_factor::{After, Waiting},
};
use crate::{
    api::{
        signin::OpenConsole,
        sso::{GetRoleCredentials, ListRoleOffers, PortalRole},
    },
    domain::{Error, ErrorKind, Timestamp, name::AccountId, session::Caller},
    signin::step::Continuation,
};
use askama::Template;
use axum::{
    Form, Router,
    extract::State,
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/portal", get(portal))
        .route("/portal/credentials", post(credentials))
        .route("/portal/console", post(console))
}

/// An account with the roles that the person may take in it.
pub(super) struct AccountCard {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) roles: Vec<RoleLine>,
}

pub(super) struct RoleLine {
    pub(super) name: String,
    pub(super) description: String,
    because: String,
    hours: String,
    /// Whether a second factor is asked for first.
    pub(super) step_up: bool,
}

/// All of them, by the accounts' names.
pub(super) async fn account_cards(pages: &Pages, caller: &Caller) -> Result<Vec<AccountCard>, PageError> {
    let offers = pages.gateway.call(caller, ListRoleOffers {}).await?.offers;
    let snapshot = pages.gateway.snapshot();
    let mut accounts: Vec<AccountCard> = Vec::new();
    for PortalRole { offer, step_up } in offers {
        let role = &offer.role.role;
        let line = RoleLine {
            name: role.name.to_string(),
            description: role.description.clone(),
            because: offer.explanation.because().unwrap_or_default(),
            hours: duration(role.max_session_seconds),
            step_up,
        };
        match accounts.last_mut().filter(|card| card.id == role.account.as_str()) {
            Some(card) => card.roles.push(line),
            None => accounts.push(AccountCard {
                id: role.account.to_string(),
                name: snapshot.accounts.get(&role.account).map(|account| account.name.clone()).unwrap_or_default(),
                roles: vec![line],
            }),
        }
    }
    accounts.sort_by_key(|card| card.name.to_lowercase());
    Ok(accounts)
}

#[derive(Template)]
#[template(path = "portal.html")]
struct PortalPage {
    organization: String,
    person: String,
    email: String,
    until: String,
    accounts: Vec<AccountCard>,
    role_count: usize,
    console_open: Option<String>,
}

async fn portal(State(pages): State<Pages>, browser: Browser) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    let accounts = account_cards(&pages, &caller).await?;
    let role_count = accounts.iter().map(|card| card.roles.len()).sum();
    let snapshot = pages.gateway.snapshot();
    let session = caller.person().ok_or_else(|| Error::internal("a portal without a person"))?;
    Ok(render(&PortalPage {
        organization: snapshot.organization.as_ref().map(|organization| organization.name.clone()).unwrap_or_default(),
        person: session.identity.display_name().to_owned(),
        email: session.identity.email.clone().unwrap_or_default(),
        until: clock_time(session.expires),
        accounts,
        role_count,
        console_open: browser.console(&pages).await.ok().map(|(_, console)| console.session.role_name.to_string()),
    }))
}

fn duration(seconds: u32) -> String {
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

/// A role that a person asked for; kept while they give a second factor for it.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Wish {
    account_id: AccountId,
    role_name: String,
    #[serde(default)]
    console: bool,
}

impl Wish {
    /// Carries the wish out, or has the second factor asked for that the role wants.
    pub(super) async fn grant(self, pages: &Pages, browser: &Browser, caller: &Caller) -> Page {
        let outcome = if self.console {
            open_console(pages, browser, caller, &self).await
        } else {
            show_credentials(pages, caller, &self).await
        };
        match outcome {
            Err(PageError(error)) if error.kind == ErrorKind::StepUpRequired => {
                After::keep(browser, Waiting::Role(self)).await?;
                Ok(Redirect::to("/second-factor").into_response())
            }
            outcome => outcome,
        }
    }
}

#[derive(Template)]
#[template(path = "credentials.html")]
struct CredentialsPage {
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

async fn credentials(State(pages): State<Pages>, browser: Browser, Form(wish): Form<Wish>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    Wish { console: false, ..wish }.grant(&pages, &browser, &caller).await
}

async fn show_credentials(pages: &Pages, caller: &Caller, wish: &Wish) -> Page {
    let call = GetRoleCredentials { role_name: wish.role_name.clone(), account_id: wish.account_id.clone() };
    let issued = pages.gateway.call(caller, call).await?.role_credentials;
    let endpoint = pages.gateway.broker.federation.addresses.at("");
    let (key, secret, token) = (&issued.access_key_id, issued.secret_access_key.expose(), issued.session_token.expose());
    let until = Timestamp(issued.expiration);
    let profile = format!("{}-{}", wish.account_id, wish.role_name);
    let blocks = vec![
        Block {
            id: "shell",
            title: "Shell",
            hint: "macOS and Linux: paste into the terminal you work in.",
            text: format!(
                "export AWS_ACCESS_KEY_ID={key}\nexport AWS_SECRET_ACCESS_KEY={secret}\nexport AWS_SESSION_TOKEN={token}\nexport AWS_ENDPOINT_URL={endpoint}\nexport AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"
            ),
        },
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
        role: wish.role_name.clone(),
        until: clock_time(until),
        blocks,
    }))
}

async fn console(State(pages): State<Pages>, browser: Browser, Form(wish): Form<Wish>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    Wish { console: true, ..wish }.grant(&pages, &browser, &caller).await
}

async fn open_console(pages: &Pages, browser: &Browser, caller: &Caller, wish: &Wish) -> Page {
    let open = OpenConsole { account_id: wish.account_id.clone(), role_name: wish.role_name.clone() };
    let opened = pages.gateway.call(caller, open).await?;
    browser.rotate(pages).await?;
    browser.session.insert(CONSOLE, Console { session: opened.session, until: opened.until }).await?;
    Ok(Redirect::to("/admin").into_response())
}
