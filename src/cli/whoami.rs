//! `daypass whoami`

use super::{
    Failure,
    client::{BrokerClient, SavedSession},
    login::now,
};
use clap::Args;
use serde::{Deserialize, Serialize};

/// Say who is signed in, and which roles they may take.
#[derive(Debug, Args)]
pub struct Whoami {
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accounts {
    next_token: Option<String>,
    account_list: Vec<Account>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    account_id: String,
    account_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Roles {
    next_token: Option<String>,
    role_list: Vec<Role>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Role {
    role_name: String,
}

#[derive(Debug, Serialize)]
struct Line {
    account: String,
    account_name: String,
    role: String,
}

#[derive(Debug, Serialize)]
struct Answer {
    url: String,
    expires: String,
    roles: Vec<Line>,
}

impl Whoami {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let session = SavedSession::load(now())?;
        let client = BrokerClient::new(&session.url)?;
        let mut roles = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> = next.iter().map(|token| ("next_token", token.as_str())).collect();
            let page: Accounts = client.get("/assignment/accounts", &query, &session.access_token).await?;
            for account in page.account_list {
                roles_of(&client, &session, &account, &mut roles).await?;
            }
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        let answer = Answer { url: session.url.clone(), expires: session.expires.to_string(), roles };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&answer).map_err(|error| Failure::new(error.to_string()))?);
            return Ok(());
        }
        println!("Signed in to {} until {}.", answer.url, answer.expires);
        if answer.roles.is_empty() {
            println!("No role lets you in: no trust policy matches what your identity provider says about you.");
        }
        let width = answer.roles.iter().map(|line| line.role.chars().count()).max().unwrap_or_default();
        for line in &answer.roles {
            println!("  {}  {:<width$}  {}", line.account, line.role, line.account_name);
        }
        Ok(())
    }
}

async fn roles_of(client: &BrokerClient, session: &SavedSession, account: &Account, all: &mut Vec<Line>) -> Result<(), Failure> {
    let mut next: Option<String> = None;
    loop {
        let mut query = vec![("account_id", account.account_id.as_str())];
        query.extend(next.iter().map(|token| ("next_token", token.as_str())));
        let page: Roles = client.get("/assignment/roles", &query, &session.access_token).await?;
        all.extend(page.role_list.into_iter().map(|role| Line {
            account: account.account_id.clone(),
            account_name: account.account_name.clone(),
            role: role.role_name,
        }));
        next = page.next_token;
        if next.is_none() {
            return Ok(());
        }
    }
}
