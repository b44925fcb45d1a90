//! `daypass exec` and `daypass env`: a role's credentials in the environment.

use super::{
    Failure,
    client::RoleCredentials,
    home::{BrokerChoice, Home},
    role::{RoleChoice, remember},
    session::{SavedSession, role_credentials},
    terminal::{self, print},
};
use crate::{config::variable, domain::Timestamp};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::os::unix::process::CommandExt as _;

/// Services of the broker, as the AWS CLI's configuration spells them: programs find them there and nothing else.
pub(super) const SERVICES: [&str; 10] =
    ["sts", "sso", "sso_oidc", "sso_admin", "signin", "iam", "organizations", "cloudtrail", "accessanalyzer", "rolesanywhere"];
/// The region of a command.
const REGION: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The one that came from here: it goes with `--unset`.
const OUR_REGION: &str = "DAYPASS_REGION";
/// Which profile is meant: some programs put it above credentials in the environment.
const PROFILE: [&str; 2] = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
/// Other ways in, and what would lead past the broker, left from another time.
const OTHER_WAYS: [&str; 9] = [
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
];
/// The credentials themselves, and when they end.
pub(super) const KEYS: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION"];

/// Run a command with the credentials of a role in its environment.
///
/// The command takes the place of daypass: its signals, output and exit code are its own (126 and 127 say that it could not be
/// run or found). For programs that run longer than the credentials live, `daypass agent` renews them.
///
/// For example: daypass exec sandbox/developer -- aws s3 ls
#[derive(Debug, Args)]
pub struct Exec {
    #[command(flatten)]
    role: RoleChoice,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Region of the command [default: the one that is set, else us-east-1].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The command and its words, after `--` [default, at a terminal: your shell].
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Print the credentials of a role as lines for a shell: eval "$(daypass env ROLE)"
#[derive(Debug, Args)]
pub struct Env {
    #[command(flatten)]
    role: RoleChoice,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Region of the commands to come [default: the one that is set, else us-east-1].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The shell that reads them [default: the one in $SHELL, else bash].
    #[arg(long, value_enum)]
    shell: Option<Shell>,
    /// Print lines that take them out of the environment again.
    #[arg(long, conflicts_with_all = ["text", "account"])]
    unset: bool,
}

/// How variables are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// bash, zsh and other POSIX shells.
    #[value(alias = "zsh", alias = "sh")]
    Bash,
    /// fish.
    Fish,
    /// PowerShell.
    #[value(alias = "pwsh")]
    Powershell,
}

impl Shell {
    fn of_person() -> Self {
        match variable("SHELL") {
            Some(shell) if shell.ends_with("/fish") => Self::Fish,
            Some(shell) if shell.ends_with("/pwsh") => Self::Powershell,
            _ => Self::Bash,
        }
    }

    fn set(self, name: &str, value: &str) -> String {
        match self {
            Self::Bash => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
            Self::Fish => format!("set -gx {name} '{}'\n", value.replace('\\', r"\\").replace('\'', r"\'")),
            // It takes typographic quotes for quotes.
            Self::Powershell => {
                let quote = |c: char| matches!(c, '\'' | '\u{2018}'..='\u{201b}');
                let doubled = value.chars().flat_map(|c| std::iter::repeat_n(c, if quote(c) { 2 } else { 1 }));
                format!("$Env:{name} = '{}'\n", doubled.collect::<String>())
            }
        }
    }

    fn unset(self, name: &str) -> String {
        match self {
            Self::Bash => format!("unset {name}\n"),
            Self::Fish => format!("set -e {name}\n"),
            Self::Powershell => format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue\n"),
        }
    }
}

/// Where the broker is, and a region: programs want one, and the broker takes any.
pub(super) fn surroundings(url: &str, region: Option<&str>) -> Vec<(String, String)> {
    let endpoint = |service: &str| (format!("AWS_ENDPOINT_URL_{}", service.to_uppercase()), url.to_owned());
    let mut variables = Vec::from(SERVICES.map(endpoint));
    let none = REGION.iter().all(|name| variable(name).is_none());
    if let Some(region) = region.or_else(|| none.then_some("us-east-1")) {
        let names = REGION.into_iter().chain([OUR_REGION]);
        variables.extend(names.map(|name| (name.to_owned(), region.to_owned())));
    }
    variables
}

/// A line for a POSIX shell.
pub(super) fn exported(name: &str, value: &str) -> String {
    Shell::Bash.set(name, value)
}

/// What a program needs: the credentials, and where the broker is.
fn variables(credentials: &RoleCredentials, url: &str, account: &str, role: &str, region: Option<&str>) -> Vec<(String, String)> {
    let [id, secret, token, end] = KEYS.map(str::to_owned);
    let mut variables = vec![
        (id, credentials.access_key_id.clone()),
        (secret, credentials.secret_access_key.expose().clone()),
        (token, credentials.session_token.expose().clone()),
        (end, Timestamp(credentials.expiration).to_string()),
        ("AWS_ACCOUNT_ID".to_owned(), account.to_owned()),
        ("DAYPASS_ROLE".to_owned(), format!("{account}/{role}")),
    ];
    variables.extend(surroundings(url, region));
    variables
}

async fn taken(broker: &BrokerChoice, choice: RoleChoice, region: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let home = Home::open(broker)?;
    let url = SavedSession::load(&home)?.url;
    let (account, role) = choice.resolve(&home).await?;
    let credentials = terminal::waiting("Asking for credentials", role_credentials(&home, &account, &role)).await?;
    remember(&home, &account, &role)?;
    Ok(variables(&credentials, &url, &account, &role, region))
}

/// A shell of the person's own, where somebody sits at a terminal.
fn own_shell() -> Option<String> {
    if terminal::can_ask() { variable("SHELL").or_else(|| Some("/bin/sh".to_owned())) } else { None }
}

impl Exec {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let shell = own_shell().filter(|_| self.command.is_empty());
        let command: Vec<String> = shell.iter().cloned().chain(self.command).collect();
        let Some((program, words)) = command.split_first() else {
            return Err(Failure::typed("say which command to run").hint("for example: daypass exec Developer -- aws s3 ls"));
        };
        let variables = taken(&self.broker, self.role, self.region.as_deref()).await?;
        if shell.is_some() {
            let role = variables.iter().find(|(name, _)| name == "DAYPASS_ROLE").map(|(_, role)| role.as_str());
            terminal::tell(&format!("A shell as {}. Leave it with `exit`.", role.unwrap_or_default()));
        }
        let mut command = std::process::Command::new(program);
        command.args(words).envs(variables);
        for name in leftovers() {
            command.env_remove(name);
        }
        Err(not_started(program, &command.exec()))
    }
}

/// What would win over the credentials of a role, or stand beside them.
pub(super) fn leftovers() -> impl Iterator<Item = &'static str> {
    PROFILE.into_iter().chain(OTHER_WAYS)
}

/// Why a command does not run, with the code that shells give.
pub(super) fn not_started(program: &str, error: &std::io::Error) -> Failure {
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Failure { code, ..Failure::new(format!("{program}: {error}")) }.hint("is the command installed, and typed right?")
}

impl Env {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let shell = self.shell.unwrap_or_else(Shell::of_person);
        if self.unset {
            let set = variables(&RoleCredentials::default(), "", "", "", Some(""));
            let foreign = |name: &str| REGION.contains(&name) && variable(name) != variable(OUR_REGION);
            let names = set.iter().map(|(name, _)| name.as_str()).filter(|name| !foreign(name)).chain(OTHER_WAYS);
            if terminal::json() {
                return terminal::print_json(&json!({ "unset": names.collect::<Vec<_>>() }));
            }
            print(&names.map(|name| shell.unset(name)).collect::<String>());
            return Ok(());
        }
        let variables = taken(&self.broker, self.role, self.region.as_deref()).await?;
        if terminal::json() {
            return terminal::print_json(&json!(variables.into_iter().collect::<std::collections::BTreeMap<_, _>>()));
        }
        print(&leftovers().map(|name| shell.unset(name)).collect::<String>());
        print(&variables.iter().map(|(name, value)| shell.set(name, value)).collect::<String>());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_that_is_served_is_found_at_the_broker() {
        let served = include_str!("../../tests/golden/operations.txt").lines().filter_map(|line| {
            let (name, count) = line.strip_prefix("## ")?.split_once(": ")?;
            (!count.starts_with("0 ")).then_some(name)
        });
        for name in served {
            let spelled = if name == "access-analyzer" { "accessanalyzer".to_owned() } else { name.replace('-', "_") };
            assert!(SERVICES.contains(&spelled.as_str()), "{name} is served, and profiles lead to AWS for it");
        }
    }

    #[test]
    fn a_value_stays_one_word_in_every_shell() {
        let value = r"it's a \ $HOME `x`";
        assert_eq!(Shell::Bash.set("A", value), "export A='it'\\''s a \\ $HOME `x`'\n");
        assert_eq!(Shell::Fish.set("A", value), "set -gx A 'it\\'s a \\\\ $HOME `x`'\n");
        assert_eq!(Shell::Powershell.set("A", "a\u{2019}b"), "$Env:A = 'a\u{2019}\u{2019}b'\n");
        assert_eq!(Shell::Powershell.set("A", value), "$Env:A = 'it''s a \\ $HOME `x`'\n");
    }
}
