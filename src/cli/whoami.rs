//! `daypass whoami`

use super::{
    Failure,
    home::Home,
    role::{AvailableRole, available},
    session::SavedSession,
    terminal::{self, Paint, print},
};
use clap::Args;
use serde::Serialize;

/// Say who is signed in where, and which roles they may take.
#[derive(Debug, Args)]
pub struct Whoami {}

#[derive(Serialize)]
struct Answer {
    url: String,
    expires: String,
    renewed: bool,
    roles: Vec<AvailableRole>,
}

impl Whoami {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::open()?;
        let roles = available(&home).await?;
        let session = SavedSession::load(&home)?;
        let (expires, renewed) = (session.token.expires.to_string(), session.token.refresh_token.is_some());
        let answer = Answer { url: session.url, expires, renewed, roles };
        if terminal::json() {
            return terminal::print_json(&answer);
        }
        let renews = if answer.renewed { ", and renewed by itself" } else { "" };
        print(&format!("Signed in to {} until {}{renews}.\n", answer.url, answer.expires));
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
    let line = |role: &AvailableRole| {
        let name = paint.bold(&format!("{:<width$}", role.role));
        format!("  {}  {name}  {}\n", role.account, role.account_name)
    };
    roles.iter().map(line).collect()
}
