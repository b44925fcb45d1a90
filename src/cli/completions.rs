//! `daypass completions` and `daypass man`: what shells and `man` know of the command.

use super::{Arguments, Failure, terminal::print};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::{fs, path::PathBuf};

/// Print completions for a shell.
///
/// bash: daypass completions bash > ~/.local/share/bash-completion/completions/daypass
/// zsh: daypass completions zsh > "${fpath[1]}/_daypass"
/// fish: daypass completions fish > ~/.config/fish/completions/daypass.fish
/// PowerShell: daypass completions powershell >> $PROFILE
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "daypass", &mut text);
        print(&String::from_utf8_lossy(&text));
        Ok(())
    }
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
        clap_mangen::generate_to(Arguments::command(), &self.folder).map_err(wrong)
    }
}
