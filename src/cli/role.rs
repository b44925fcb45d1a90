//! The roles a person may take: finding one by what they type, or by choosing from a list, those of late first.

use super::{
    Failure,
    client::BrokerClient,
    home::Home,
    session::SavedSession,
    terminal::{self, Paint},
};
use crate::domain::name::{AccountId, RoleName};
use clap::Args;
use dialoguer::{
    FuzzySelect,
    theme::{ColorfulTheme, SimpleTheme, Theme},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinSet};

/// How many questions a broker gets at once.
const AT_ONCE: usize = 16;
/// How many are remembered.
const MOST_RECENT: usize = 20;
const RECENT: &str = "recent";

/// A role, for commands that programs call.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoleArguments {
    /// Twelve digits.
    #[arg(long, value_name = "ID")]
    pub(crate) account: String,
    /// Name of the role.
    #[arg(long, value_name = "NAME")]
    pub(crate) role: String,
}

/// A role, for commands that people type.
#[derive(Clone, Debug, Args)]
pub(super) struct RoleChoice {
    /// The role: ACCOUNT/ROLE, a role's name, or some words of both [default: choose from a list].
    #[arg(value_name = "ROLE")]
    text: Option<String>,
    /// Account of the role, twelve digits.
    #[arg(long, value_name = "ID", requires = "role")]
    account: Option<String>,
    /// Name of the role.
    #[arg(long, value_name = "NAME", requires = "account", conflicts_with = "text")]
    role: Option<String>,
}

/// A role that somebody may take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct AvailableRole {
    pub(super) account_name: String,
    pub(super) account: String,
    pub(super) role: String,
}

impl AvailableRole {
    /// `111122223333/Administrator`: what every command takes.
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.account, self.role)
    }
    /// In the list to choose from, in the order in which people type parts of it.
    fn line(&self) -> String {
        format!("{}  {}  {}", self.account_name, self.role, self.account)
    }
}

#[derive(Serialize, Deserialize)]
struct Recent {
    account: String,
    role: String,
}

/// Remembers that a role was taken.
pub(super) fn remember(home: &Home, account: &str, role: &str) -> Result<(), Failure> {
    let mut recent: Vec<Recent> = home.kept(RECENT).unwrap_or_default();
    recent.retain(|known| known.account != account || known.role != role);
    recent.insert(0, Recent { account: account.to_owned(), role: role.to_owned() });
    recent.truncate(MOST_RECENT);
    home.keep(RECENT, &recent)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accounts {
    next_token: Option<String>,
    account_list: Vec<Account>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    account_id: String,
    account_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Roles {
    next_token: Option<String>,
    role_list: Vec<Role>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Role {
    role_name: String,
}

/// Every role of whoever is signed in, by the accounts' names; those taken of late stand first.
pub(super) async fn available(home: &Home) -> Result<Vec<AvailableRole>, Failure> {
    let mut roles = terminal::waiting("Asking for your roles", all(home)).await?;
    let recent: Vec<Recent> = home.kept(RECENT).unwrap_or_default();
    let place = |role: &AvailableRole| {
        let found = recent.iter().position(|known| known.account == role.account && known.role == role.role);
        found.unwrap_or(usize::MAX)
    };
    roles.sort_by_cached_key(|role| {
        (place(role), role.account_name.to_lowercase(), role.account.clone(), role.role.to_lowercase())
    });
    Ok(roles)
}

async fn all(home: &Home) -> Result<Vec<AvailableRole>, Failure> {
    let session = SavedSession::fresh(home).await?;
    let (client, turns) = (BrokerClient::new(&session.url)?, Arc::new(Semaphore::new(AT_ONCE)));
    let mut asked = JoinSet::new();
    let mut next: Option<String> = None;
    loop {
        let mut query = vec![("max_result", "1000")];
        query.extend(next.iter().map(|token| ("next_token", token.as_str())));
        let page: Accounts = client.get("/assignment/accounts", &query, &session.token.access_token).await?;
        for account in page.account_list {
            let (client, token, turns) = (client.clone(), session.token.access_token.clone(), turns.clone());
            asked.spawn(async move {
                let _turn = turns.acquire_owned().await;
                of_account(&client, &token, account).await
            });
        }
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    let mut roles = Vec::new();
    while let Some(answer) = asked.join_next().await {
        roles.extend(answer.map_err(|error| Failure::new(error.to_string()))??);
    }
    Ok(roles)
}

async fn of_account(
    client: &BrokerClient,
    token: &crate::domain::Secret<String>,
    account: Account,
) -> Result<Vec<AvailableRole>, Failure> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let mut query = vec![("account_id", account.account_id.as_str()), ("max_result", "1000")];
        query.extend(next.iter().map(|token| ("next_token", token.as_str())));
        let page: Roles = client.get("/assignment/roles", &query, token).await?;
        for role in page.role_list {
            // They end up in files, in commands and on the screen.
            let strange = |_| Failure::new("the broker's answer is not one of roles");
            all.push(AvailableRole {
                account: AccountId::parse(&account.account_id).map_err(strange)?.to_string(),
                account_name: terminal::harmless(&account.account_name),
                role: RoleName::parse(&role.role_name).map_err(strange)?.to_string(),
            });
        }
        next = page.next_token;
        if next.is_none() {
            return Ok(all);
        }
    }
}

impl RoleChoice {
    /// Whether anything was said.
    pub(super) const fn is_given(&self) -> bool {
        self.text.is_some() || self.account.is_some()
    }

    /// Account and name of the role that is meant.
    pub(super) async fn resolve(self, home: &Home) -> Result<(String, String), Failure> {
        // What says it all needs nobody to be asked.
        let named = self.account.as_deref().zip(self.role.as_deref());
        let named = named.or_else(|| self.text.as_deref().and_then(|text| text.split_once('/')));
        if let Some((account, role)) = named
            && (self.account.is_some() || AccountId::parse(account).is_ok())
        {
            let wrong = |what: &str| {
                Failure::new(format!("`{what}` is no account and role")).hint("for example 111122223333/Administrator")
            };
            let account = AccountId::parse(account).map_err(|_| wrong(account))?;
            let role = RoleName::parse(role).map_err(|_| wrong(role))?;
            return Ok((account.to_string(), role.to_string()));
        }
        let roles = available(home).await?;
        let found = match &self.text {
            Some(text) => matching(&roles, text),
            None => roles.iter().collect(),
        };
        let chosen = match (found.as_slice(), &self.text) {
            ([], _) if roles.is_empty() => {
                return Err(Failure::refused(
                    "no role lets you in: no trust policy matches what your identity provider says about you",
                ));
            }
            ([], text) => {
                let text = text.as_deref().unwrap_or_default();
                return Err(Failure::new(format!("none of your roles is `{text}`")).hint("run: daypass roles"));
            }
            ([one], _) => (*one).clone(),
            (several, _) if terminal::can_ask() => pick(several)?,
            (_, None) => return Err(Failure::new("say which role").hint("run: daypass roles")),
            (several, Some(text)) => {
                let shown: Vec<String> = several.iter().take(5).map(|role| role.id()).collect();
                let message = format!("`{text}` could be {} roles: {}", several.len(), shown.join(", "));
                return Err(Failure::new(if several.len() > 5 { format!("{message} …") } else { message }));
            }
        };
        Ok((chosen.account, chosen.role))
    }
}

/// The roles that a text may mean. An exact name wins over words that occur.
fn matching<'r>(roles: &'r [AvailableRole], text: &str) -> Vec<&'r AvailableRole> {
    let text = text.to_lowercase();
    let exact = |role: &&AvailableRole| {
        let (name, account) = (role.role.to_lowercase(), role.account_name.to_lowercase());
        name == text || format!("{account}/{name}") == text || role.id().to_lowercase() == text
    };
    let found: Vec<&AvailableRole> = roles.iter().filter(exact).collect();
    if !found.is_empty() {
        return found;
    }
    let words: Vec<&str> = text.split([' ', '/', '-']).filter(|word| !word.is_empty()).collect();
    let line = |role: &AvailableRole| role.line().to_lowercase();
    roles.iter().filter(|role| !words.is_empty() && words.iter().all(|word| line(role).contains(word))).collect()
}

/// Lets the person choose: typing narrows the list.
pub(super) fn pick(roles: &[&AvailableRole]) -> Result<AvailableRole, Failure> {
    let lines: Vec<String> = roles.iter().map(|role| role.line()).collect();
    let (colourful, plain) = (ColorfulTheme::default(), SimpleTheme);
    let theme: &dyn Theme = if Paint::error().is_on() { &colourful } else { &plain };
    let chosen = FuzzySelect::with_theme(theme).with_prompt("Role").items(&lines).default(0).max_length(12).interact_opt();
    let chosen = chosen.map_err(|error| Failure::new(error.to_string()))?;
    match chosen.and_then(|number| roles.get(number)) {
        Some(role) => Ok((*role).clone()),
        None => Err(Failure::new("no role was chosen")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_found_by_what_people_type() {
        let role = |account: &str, account_name: &str, role: &str| AvailableRole {
            account: account.to_owned(),
            account_name: account_name.to_owned(),
            role: role.to_owned(),
        };
        let roles = [
            role("111122223333", "Production", "Admin"),
            role("111122223333", "Production", "Administrator"),
            role("222233334444", "Sandbox", "Admin"),
            role("222233334444", "Sandbox", "Read-Only"),
        ];
        let found = |text: &str| matching(&roles, text).iter().map(|role| role.id()).collect::<Vec<_>>();
        assert_eq!(found("administrator"), ["111122223333/Administrator"]);
        assert_eq!(found("admin"), ["111122223333/Admin", "222233334444/Admin"], "an exact name, not all that contain it");
        assert_eq!(found("sandbox/admin"), ["222233334444/Admin"]);
        assert_eq!(found("222233334444/ADMIN"), ["222233334444/Admin"]);
        assert_eq!(found("sand read"), ["222233334444/Read-Only"]);
        assert_eq!(found("prod ator"), ["111122223333/Administrator"]);
        assert!(found("nobody").is_empty() && found("-").is_empty());
    }
}
