//! `daypass whoami`

use super::{
    Failure,
    client::BrokerClient,
    home::{BrokerChoice, Home},
    role::{AvailableRole, available},
    session::SavedSession,
    terminal::{self, Paint, print},
};
use crate::domain::Timestamp;
use clap::Args;
use console::{Term, measure_text_width};
use serde::Serialize;

/// Say who is signed in where, and which roles they may take.
#[derive(Debug, Args)]
pub struct Whoami {
    #[command(flatten)]
    broker: BrokerChoice,
}

#[derive(Serialize)]
struct Answer {
    url: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    identity_source: String,
    subject: String,
    /// When the token ends.
    expires: String,
    renewed: bool,
    /// When the session ends, however often the token is renewed.
    session_expires: String,
    roles: Vec<AvailableRole>,
}

impl Whoami {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::open(&self.broker)?;
        let roles = available(&home).await?;
        let session = SavedSession::load(&home)?;
        let person = BrokerClient::new(&session.url)?.who_am_i(&session.token.access_token).await?;
        let who = person.shown();
        let answer = Answer {
            url: session.url,
            name: person.name,
            email: person.email,
            identity_source: person.identity_source,
            subject: person.subject,
            expires: session.token.expires.to_string(),
            renewed: session.token.refresh_token.is_some(),
            session_expires: Timestamp(person.session_expiration).to_string(),
            roles,
        };
        if terminal::json() {
            return terminal::print_json(&answer);
        }
        let Answer { url, identity_source, session_expires, .. } = &answer;
        print(&format!("{who}, of {identity_source}\nSigned in to {url} until {session_expires}\n"));
        print(&list(&answer.roles));
        Ok(())
    }
}

/// Roles in lines, each with its account.
pub(super) fn list(roles: &[AvailableRole]) -> String {
    if roles.is_empty() {
        return "No role lets you in: no trust policy matches what your identity provider says about you.\n".to_owned();
    }
    let paint = Paint::output();
    let width = roles.iter().map(|role| role.role.chars().count()).max().unwrap_or_default();
    let one_line = |role: &AvailableRole| {
        let name = paint.bold(&format!("{:<width$}", role.role));
        format!("  {}  {name}  {}\n", role.account, role.account_name)
    };
    // A terminal that is too narrow for it would break names in two: there accounts have lines of their own.
    let two_lines = |role: &AvailableRole| {
        let name = paint.bold(&role.role);
        format!("  {}  {name}\n{:16}{}\n", role.account, "", role.account_name)
    };
    let lines: Vec<String> = roles.iter().map(one_line).collect();
    let widest = lines.iter().map(|line| measure_text_width(line.trim_end())).max().unwrap_or_default();
    match terminal::columns(&Term::stdout()) {
        Some(columns) if columns < widest => roles.iter().map(two_lines).collect(),
        _ => lines.concat(),
    }
}
