//! The roles a person may take: finding one by what they type, or by choosing from a list, those of late first.

use super::{
    Failure,
    client::BrokerClient,
    home::Home,
    login::now,
    session::{SavedSession, name},
    terminal::{self, Paint},
};
use crate::domain::{
    Timestamp,
    name::{AccountId, RoleName},
};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use console::{Term, measure_text_width, truncate_str};
use dialoguer::{
    FuzzySelect,
    theme::{ColorfulTheme, SimpleTheme, Theme},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinSet};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// How many questions a broker gets at once.
const AT_ONCE: usize = 16;
/// How many are remembered.
const MOST_RECENT: usize = 20;
const RECENT: &str = "recent/";
/// Below this the roles of a session are kept, for each broker: for finding one by its name, and for shells that complete it.
const KNOWN: &str = "roles/";
/// How long they are good for that, in seconds. The broker decides about each use in any case.
const KNOWN_SECONDS: i64 = 3600;
/// From which likeness on a name may be meant (Jaro-Winkler).
const ALIKE: f64 = 0.85;

/// A role, for commands that programs call.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoleArguments {
    /// Twelve digits.
    #[arg(long, value_name = "ID")]
    pub(crate) account: String,
    /// Name of the role.
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) role: String,
}

/// A role, for commands that people type.
#[derive(Clone, Debug, Args)]
pub(super) struct RoleChoice {
    /// The role: ACCOUNT/ROLE, a role's name, or some words of both [default: choose from a list].
    #[arg(value_name = "ROLE", add = ArgValueCompleter::new(super::completions::roles))]
    text: Option<String>,
    /// Account of the role, twelve digits.
    #[arg(long, value_name = "ID", requires = "role")]
    account: Option<String>,
    /// Name of the role.
    #[arg(long, value_name = "NAME", requires = "account", conflicts_with = "text", allow_hyphen_values = true)]
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
    /// The same in so many columns: the account's name gives way first.
    fn short_line(&self, columns: usize) -> String {
        let rest = format!("  {}  {}", self.role, self.account);
        let name = truncate_str(&self.account_name, columns.saturating_sub(measure_text_width(&rest)).max(8), "…");
        truncate_str(&format!("{name}{rest}"), columns, "…").into_owned()
    }
    /// As a message names it.
    fn named(&self) -> String {
        format!("{} ({} in {})", self.id(), self.role, self.account_name)
    }
}

/// The roles of a session, as they were when it asked.
#[derive(Serialize, Deserialize)]
struct Known {
    session: String,
    time: Timestamp,
    roles: Vec<AvailableRole>,
}

/// The roles that the session had a while ago, without asking.
pub(super) fn known(home: &Home) -> Option<Vec<AvailableRole>> {
    let session = SavedSession::load(home).ok()?;
    let known: Known = home.kept(&name(KNOWN, &session.url))?;
    (known.session == session.id && now().seconds_since(known.time) < KNOWN_SECONDS).then_some(known.roles)
}

#[derive(Serialize, Deserialize)]
struct Recent {
    account: String,
    role: String,
}

/// Remembers that a role was taken.
pub(super) fn remember(home: &Home, account: &str, role: &str) -> Result<(), Failure> {
    let place = name(RECENT, home.broker().unwrap_or_default());
    let mut recent: Vec<Recent> = home.kept(&place).unwrap_or_default();
    recent.retain(|known| known.account != account || known.role != role);
    recent.insert(0, Recent { account: account.to_owned(), role: role.to_owned() });
    recent.truncate(MOST_RECENT);
    home.keep(&place, &recent)
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
    let (session, roles) = terminal::waiting("Asking for your roles", all(home)).await?;
    home.keep(&name(KNOWN, &session.url), &Known { session: session.id, time: now(), roles: roles.clone() })?;
    Ok(by_use(home, roles))
}

/// By the accounts' names; those taken of late stand first.
fn by_use(home: &Home, mut roles: Vec<AvailableRole>) -> Vec<AvailableRole> {
    let recent: Vec<Recent> = home.kept(&name(RECENT, home.broker().unwrap_or_default())).unwrap_or_default();
    let place = |role: &AvailableRole| {
        let found = recent.iter().position(|known| known.account == role.account && known.role == role.role);
        found.unwrap_or(usize::MAX)
    };
    roles.sort_by_cached_key(|role| {
        (place(role), role.account_name.to_lowercase(), role.account.clone(), role.role.to_lowercase())
    });
    roles
}

/// And the session that they are of.
async fn all(home: &Home) -> Result<(SavedSession, Vec<AvailableRole>), Failure> {
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
    Ok((session, roles))
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
        let whole = self.account.as_deref().zip(self.role.as_deref());
        let whole = whole.or_else(|| self.text.as_deref().and_then(|text| text.split_once('/')));
        if let Some((account, role)) = whole
            && (self.account.is_some() || AccountId::parse(account).is_ok())
        {
            let wrong = |what: &str| {
                Failure::typed(format!("`{what}` is no account and role")).hint("for example 111122223333/Administrator")
            };
            let account = AccountId::parse(account).map_err(|_| wrong(account))?;
            let role = RoleName::parse(role).map_err(|_| wrong(role))?;
            return Ok((account.to_string(), role.to_string()));
        }
        // Nor does a name in whole, of a role that was there a while ago.
        if let (Some(known), Some(text)) = (known(home), &self.text)
            && let [one] = named(&known, text).as_slice()
        {
            return Ok((one.account.clone(), one.role.clone()));
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
                let failure = Failure::refused(format!("none of your roles is `{text}`"));
                return Err(match alike(&roles, text) {
                    Some(role) => failure.hint(format!("did you mean {}?", role.named())),
                    None => failure.hint("run: daypass roles"),
                });
            }
            ([one], _) => (*one).clone(),
            (several, _) if terminal::can_ask() => pick(several)?,
            (_, None) => return Err(Failure::typed("say which role").hint("run: daypass roles")),
            (several, Some(text)) => {
                let shown: Vec<String> = several.iter().take(5).map(|role| role.named()).collect();
                let message = format!("`{text}` could be {} roles: {}", several.len(), shown.join(", "));
                let message = if several.len() > 5 { format!("{message} …") } else { message };
                return Err(Failure::typed(message).hint("say more of it: words of the account and of the role, or ACCOUNT/ROLE"));
            }
        };
        Ok((chosen.account, chosen.role))
    }
}

/// The roles that a text may mean. A name in whole wins over words that occur.
fn matching<'r>(roles: &'r [AvailableRole], text: &str) -> Vec<&'r AvailableRole> {
    let found = named(roles, text);
    if found.is_empty() { containing(roles, text) } else { found }
}

/// The roles that a text names in whole.
fn named<'r>(roles: &'r [AvailableRole], text: &str) -> Vec<&'r AvailableRole> {
    let text = folded(text);
    let exact = |role: &&AvailableRole| {
        let (name, account) = (folded(&role.role), folded(&role.account_name));
        let whole = [format!("{account}/{name}"), format!("{}/{name}", dashed(&account)), role.id().to_lowercase()];
        name == text || whole.contains(&text)
    };
    roles.iter().filter(exact).collect()
}

/// Forgets the roles of a broker's session.
pub(super) fn forget_known(home: &Home, url: &str) -> Result<(), Failure> {
    home.forget(&name(KNOWN, url))
}

/// The roles in which all words of a text stand.
pub(super) fn containing<'r>(roles: &'r [AvailableRole], text: &str) -> Vec<&'r AvailableRole> {
    let text = folded(text);
    let words: Vec<&str> = text.split([' ', '/', '-']).filter(|word| !word.is_empty()).collect();
    let line = |role: &AvailableRole| folded(&role.line());
    roles.iter().filter(|role| !words.is_empty() && words.iter().all(|word| line(role).contains(word))).collect()
}

/// Letters without case and accents: what people can type.
pub(super) fn folded(text: &str) -> String {
    text.nfd().filter(|c| !is_combining_mark(*c)).collect::<String>().to_lowercase()
}

/// A name in letters that need no quotes anywhere: without accents, and a dash for everything else. Of a name in another
/// script nothing may be left.
pub(super) fn dashed(text: &str) -> String {
    let plain = text.nfd().filter(|c| !is_combining_mark(*c));
    let plain: String = plain.map(|c| if c.is_ascii_alphanumeric() || "_.@+=,".contains(c) { c } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// The role whose name is most like a text, if any is.
fn alike<'r>(roles: &'r [AvailableRole], text: &str) -> Option<&'r AvailableRole> {
    let text = folded(text);
    let likeness = |role: &AvailableRole| {
        let (name, account) = (folded(&role.role), folded(&role.account_name));
        let whole = [name.clone(), account.clone(), format!("{account}/{name}"), format!("{account} {name}")];
        whole.iter().map(|whole| strsim::jaro_winkler(whole, &text)).fold(0.0, f64::max)
    };
    let best = roles.iter().map(|role| (likeness(role), role)).max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= ALIKE).then_some(best.1)
}

/// Lets the person choose: typing narrows the list.
pub(super) fn pick(roles: &[&AvailableRole]) -> Result<AvailableRole, Failure> {
    // The list is drawn anew for every key: a line that the terminal breaks in two would stay behind. A mark stands before each.
    let columns = terminal::columns(&Term::stderr()).map_or(usize::MAX, |columns| columns - 4);
    let lines: Vec<String> = roles.iter().map(|role| role.short_line(columns)).collect();
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
        let spaced = [role("111122223333", "Example Corp", "Admin"), role("111122223333", "Example Corp", "Administrator")];
        assert_eq!(matching(&spaced, "Example-Corp/Admin").len(), 1, "as shells complete it");
        assert_eq!(found("222233334444/ADMIN"), ["222233334444/Admin"]);
        assert_eq!(found("sand read"), ["222233334444/Read-Only"]);
        assert_eq!(found("prod ator"), ["111122223333/Administrator"]);
        assert!(found("nobody").is_empty() && found("-").is_empty());
        let meant = |text: &str| alike(&roles, text).map(AvailableRole::id);
        assert_eq!(meant("adminstrator").as_deref(), Some("111122223333/Administrator"));
        assert_eq!(meant("sandbx/admin").as_deref(), Some("222233334444/Admin"));
        assert_eq!(meant("nobody"), None);
        let line = AvailableRole::short_line;
        assert_eq!(line(&roles[1], 80), "Production  Administrator  111122223333");
        assert_eq!(line(&roles[1], 37), "Product…  Administrator  111122223333");
        assert_eq!(line(&roles[1], 30), "Product…  Administrator  1111…");
        let cafe = [role("333344445555", "Café Zürich", "Admin")];
        assert_eq!(matching(&cafe, "cafe zurich").len(), 1);
        assert_eq!(matching(&cafe, "CAFÉ").len(), 1);
    }
}
