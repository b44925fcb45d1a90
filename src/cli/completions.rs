//! `daypass completions` and `daypass man`: what shells and `man` know of the command.

use super::{
    Arguments, Failure,
    home::{BrokerChoice, Home},
    role::{dashed, folded, known},
    terminal::{self, print},
};
use crate::config::variable;
use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{
    CompleteEnv,
    engine::CompletionCandidate,
    env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh},
};
use std::{ffi::OsStr, fs, path::PathBuf};

/// Set by the shells' scripts when they ask.
const VARIABLE: &str = "DAYPASS_COMPLETE";

/// A fresh zsh has no completions at all yet; and roles begin with capitals, which nobody types.
const ZSH: &str = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
zstyle ':completion:*:*:daypass:*' matcher 'm:{[:lower:]}={[:upper:]}'
";

/// Print completions for a shell: commands, options, and the names of your roles.
///
/// bash: echo 'source <(daypass completions bash)' >> ~/.bashrc
/// zsh: echo 'source <(daypass completions zsh)' >> ~/.zshrc
/// fish: echo 'daypass completions fish | source' > ~/.config/fish/completions/daypass.fish
/// PowerShell: echo 'daypass completions powershell | Out-String | Invoke-Expression' >> $PROFILE
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Shells that can be told.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Elvish => &Elvish,
            Shell::Fish => &Fish,
            Shell::Powershell => &Powershell,
            Shell::Zsh => &Zsh,
        };
        let mut text = Vec::new();
        let written = shell.write_registration(VARIABLE, "daypass", "daypass", "daypass", &mut text);
        written.map_err(|error| Failure::new(error.to_string()))?;
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if matches!(self.shell, Shell::Zsh) {
            // Below the line that names the command.
            let head = text.find('\n').map_or(0, |end| end + 1);
            text.insert_str(head, ZSH);
        }
        print(&text);
        Ok(())
    }
}

/// Answers a shell that asks how a line may go on, and ends; does nothing where none asks.
pub(super) fn answer() {
    CompleteEnv::with_factory(Arguments::command).var(VARIABLE).complete();
}

/// Roles that begin like what was typed: those that the session had when it last asked.
pub(super) fn roles(typed: &OsStr) -> Vec<CompletionCandidate> {
    let broker = BrokerChoice { url: variable("DAYPASS_URL") };
    let roles = Home::open(&broker).ok().and_then(|home| known(&home)).unwrap_or_default();
    let typed = folded(&typed.to_string_lossy());
    let candidates = roles.iter().flat_map(|role| {
        // Of a name in another script nothing may be left.
        let account = Some(dashed(&role.account_name)).filter(|name| !name.is_empty());
        let by_name = format!("{}/{}", account.unwrap_or_else(|| role.account.clone()), role.role);
        let all = [(by_name, role.account.as_str()), (role.id(), role.account_name.as_str())];
        all.into_iter().map(|(value, help)| (value, help.to_owned()))
    });
    // Ids are for who begins with digits.
    let wanted = |value: &str| {
        folded(value).starts_with(&typed) && (!typed.is_empty() || !value.starts_with(|c: char| c.is_ascii_digit()))
    };
    let candidates = candidates.filter(|(value, _)| wanted(value));
    candidates.map(|(value, help)| CompletionCandidate::new(value).help(Some(help.into()))).collect()
}

/// Write man pages into a folder: one for daypass, and one for each command.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder, such as ~/.local/share/man/man1.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let wrong = |error: std::io::Error| Failure::new(format!("{}: {error}", self.folder.display()));
        fs::create_dir_all(&self.folder).map_err(wrong)?;
        clap_mangen::generate_to(Arguments::command(), &self.folder).map_err(wrong)?;
        if terminal::json() {
            return terminal::print_json(&serde_json::json!({ "folder": self.folder }));
        }
        Ok(())
    }
}
