//! `daypass roles`

use super::{
    Failure,
    home::Home,
    role::{available, pick},
    terminal::{self, print},
    whoami::list,
};
use clap::Args;

/// List your roles, those you took of late first; or choose one by typing parts of its name.
#[derive(Debug, Args)]
pub struct Roles {
    /// Choose one, and print it as ACCOUNT/ROLE for other commands: daypass exec "$(daypass roles --pick)" -- COMMAND
    #[arg(long)]
    pick: bool,
}

impl Roles {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let roles = available(&Home::open()?).await?;
        if !self.pick {
            if terminal::json() {
                return terminal::print_json(&roles);
            }
            print(&list(&roles));
            return Ok(());
        }
        if !terminal::can_ask() {
            return Err(Failure::new("nobody is there to choose").hint("leave --pick out for the list"));
        }
        if roles.is_empty() {
            return Err(Failure::refused(list(&roles).trim_end()));
        }
        print(&format!("{}\n", pick(&roles.iter().collect::<Vec<_>>())?.id()));
        Ok(())
    }
}
