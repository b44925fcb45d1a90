//! `daypass console`

use super::{
    Failure,
    client::BrokerClient,
    home::{BrokerChoice, Home},
    login::{has_browser, open_browser, started},
    role::{RoleChoice, remember},
    session::{SavedSession, new_role_credentials},
    terminal::{self, print},
};
use crate::config::variable;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use std::path::Path;

/// Open the console of a role in the browser.
///
/// The browser is given a link that is good once, for fifteen minutes. On a machine that others use at the same time they could
/// see it in the list of processes and be first: there, --print it, and paste it yourself.
#[derive(Debug, Args)]
pub struct Console {
    #[command(flatten)]
    role: RoleChoice,
    /// Print the link instead. It is good once, for fifteen minutes; whoever has it is you in this role.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    broker: BrokerChoice,
    /// The page to begin with.
    #[arg(long, value_enum, value_name = "PAGE", default_value = "roles")]
    service: Place,
    /// Open it in a browser profile of its own for this role, so that several roles can be open side by side.
    #[arg(long, conflicts_with = "print")]
    separate: bool,
}

/// Pages of the console.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// Roles and their trust policies.
    Roles,
    /// People of the directory.
    People,
    /// Who holds which credentials.
    Sessions,
    /// Why somebody was refused.
    Refusals,
    /// Sign-ins, with every check.
    SignIns,
    /// Identity providers.
    Sources,
    /// Which people get which role, by which claims.
    Mapping,
    /// What somebody may do, and why.
    Try,
    /// Roles that stand in many accounts.
    PermissionSets,
    /// Accounts and their places.
    Accounts,
    /// Service and resource control policies.
    Guardrails,
    /// Changes that wait for a second person.
    Proposals,
    /// What is too open, or used by nobody.
    Findings,
    /// What was changed and decided.
    Audit,
    /// How the broker is set up.
    Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SigninToken {
    signin_token: String,
}

impl Console {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::open(&self.broker)?;
        let (account, role) = self.role.clone().resolve(&home).await?;
        let link = terminal::waiting("Asking for a link", self.link(&home, &account, &role)).await?;
        remember(&home, &account, &role)?;
        if terminal::json() {
            return terminal::print_json(&serde_json::json!({ "link": link, "account": account, "role": role }));
        }
        let opened = match self.separate {
            _ if self.print => {
                print(&format!("{link}\n"));
                return Ok(());
            }
            _ if !has_browser() => false,
            true => {
                let folder = SavedSession::load(&home)?.browsers();
                open_separately(&home.folder().join(folder).join(format!("{account}-{role}")), &link)?
            }
            false => open_browser(&link),
        };
        if !opened {
            terminal::tell(
                "There is no browser to open here. The link is good once, for fifteen minutes; whoever has it is you in this role:",
            );
            print(&format!("{link}\n"));
            return Ok(());
        }
        terminal::tell(&format!("The console of {role} in {account} opens in your browser."));
        Ok(())
    }

    async fn link(&self, home: &Home, account: &str, role: &str) -> Result<String, Failure> {
        let session = SavedSession::fresh(home).await?;
        let credentials = new_role_credentials(&session, account, role).await?;
        let shape = serde_json::json!({
            "sessionId": credentials.access_key_id,
            "sessionKey": credentials.secret_access_key.expose(),
            "sessionToken": credentials.session_token.expose(),
        });
        let client = BrokerClient::new(&session.url)?;
        let form = [("Action", "getSigninToken"), ("Session", &shape.to_string())];
        let token: SigninToken = client.form("/federation", &form).await?.map_err(Failure::from)?;
        let page = self.service.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "login")
            .append_pair("Issuer", "daypass")
            .append_pair("Destination", &format!("{}/admin/{page}", session.url))
            .append_pair("SigninToken", &token.signin_token)
            .finish();
        Ok(format!("{}/federation?{query}", session.url))
    }
}

/// Browsers that keep everything in a folder, and how they are told which.
const SEPARATE: [(&str, &str); 6] = [
    ("chromium", "--user-data-dir"),
    ("google-chrome", "--user-data-dir"),
    ("microsoft-edge", "--user-data-dir"),
    ("brave-browser", "--user-data-dir"),
    ("chrome", "--user-data-dir"),
    ("firefox", "--profile"),
];

fn open_separately(folder: &Path, link: &str) -> Result<bool, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    let wanted = variable("BROWSER").unwrap_or_default();
    let name = wanted.rsplit('/').next().unwrap_or_default();
    let chosen = SEPARATE.iter().filter(|(known, _)| name.starts_with(known)).map(|(_, option)| (wanted.as_str(), *option));
    let others = SEPARATE.iter().map(|(known, option)| (*known, *option));
    Ok(chosen.chain(others).any(|(program, option)| {
        let mut command = std::process::Command::new(program);
        match option {
            "--profile" => command.arg(option).arg(folder).arg("--new-instance").arg(link),
            _ => command.arg(format!("{option}={}", folder.display())).arg("--no-first-run").arg(link),
        };
        started(&mut command)
    }))
}
