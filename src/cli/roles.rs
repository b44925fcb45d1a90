//! `daypass roles`

use super::{
    Failure,
    home::{BrokerChoice, Home},
    role::{available, containing, pick},
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
    /// Only those in which these words stand.
    #[arg(value_name = "WORDS")]
    words: Vec<String>,
    #[command(flatten)]
    broker: BrokerChoice,
}

impl Roles {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let all = available(&Home::open(&self.broker)?).await?;
        let words = self.words.join(" ");
        let roles = if words.is_empty() { all } else { containing(&all, &words).into_iter().cloned().collect() };
        if !self.pick {
            if terminal::json() {
                return terminal::print_json(&roles);
            }
            if roles.is_empty() && !words.is_empty() {
                return Err(Failure::refused(format!("none of your roles has `{words}`")).hint("run: daypass roles"));
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
