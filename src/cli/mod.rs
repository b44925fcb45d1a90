//! The `daypass` command: running a broker, and using one.
//!
//! Answers go to standard output, everything else to standard error. Exit codes: 0 done, 1 it did not work, 2 the command
//! was typed wrongly, 3 nobody is signed in, 4 the broker refused.

// Whoever reads may stop reading: `terminal` knows.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod agent;
pub mod apply;
pub mod audit;
pub mod backup;
pub mod client;
pub mod completions;
pub mod configure;
pub mod console;
pub mod credential_process;
pub mod doctor;
pub mod exec;
pub mod explain;
mod home;
pub mod keys;
pub mod login;
pub mod logout;
mod policy;
pub mod revoke;
mod role;
pub mod roles;
pub mod root_key;
pub mod serve;
mod session;
mod signature;
pub mod store;
mod terminal;
pub mod whoami;

use crate::{
    config::{LogFormat, Settings, variable},
    gateway::Gateway,
    server::traces::Traces,
};
use clap::{Args, Parser, Subcommand};
pub(crate) use role::RoleArguments;
use std::{fmt, future::Future, path::PathBuf, process::ExitCode};
use tracing::Dispatch;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 it did not work, 2 the command was typed wrongly, 3 nobody is signed in, 4 the broker refused.
Variables: DAYPASS_URL (the broker that a command is for), DAYPASS_HOME (where sessions are kept), DAYPASS_KEYRING=off (their key in a
file), BROWSER (the browser to open), NO_COLOR.";

/// A self-hosted federation identity broker: sign in with your company's identity provider, leave with time-limited credentials.
#[derive(Debug, Parser)]
#[command(name = "daypass", version, about, after_help = AFTER_HELP)]
struct Arguments {
    /// Answers and failures for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

// What each is for stands at its own type, in whole.
#[derive(Debug, Subcommand)]
enum Command {
    Login(login::Login),
    Logout(logout::Logout),
    Whoami(whoami::Whoami),
    Roles(roles::Roles),
    Exec(exec::Exec),
    Env(exec::Env),
    Console(console::Console),
    Configure(configure::Configure),
    CredentialProcess(credential_process::CredentialProcess),
    Agent(agent::Agent),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(completions::Man),
    Policy(policy::PolicyCommand),
    Serve(serve::Serve),
    Apply(apply::Apply),
    Explain(explain::Explain),
    Sessions(revoke::Sessions),
    Revoke(revoke::Revoke),
    Keys(keys::Keys),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Store(store::StoreCommand),
    Audit(audit::Audit),
    RootKey(root_key::RootKey),
    /// The broker runs it to verify XML signatures apart from itself.
    #[command(hide = true)]
    XmlVerifier,
}

/// Where a broker's settings are, for the commands that run on its machine.
#[derive(Debug, Args)]
pub(crate) struct SettingsArguments {
    /// Settings file [default: the environment and built-in defaults].
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Data folder, over the settings file.
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) data: Option<PathBuf>,
}

impl SettingsArguments {
    /// Whether somebody said where they are.
    pub(crate) const fn are_given(&self) -> bool {
        self.config.is_some() || self.data.is_some()
    }

    pub(crate) fn load(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::load(self.config.as_deref(), variable).map_err(Failure::from)?;
        if let Some(data) = &self.data {
            settings.data.clone_from(data);
        }
        Ok(settings)
    }

    /// The broker of this machine, for commands that work with one that is there.
    pub(crate) async fn open(&self) -> Result<Gateway, Failure> {
        let settings = self.load_with_store()?;
        Ok(terminal::waiting("Opening the store", settings.open()).await?)
    }

    /// The settings of a broker that is there.
    pub(crate) fn load_with_store(&self) -> Result<Settings, Failure> {
        let settings = self.load()?;
        if !settings.has_store() {
            return Err(Failure::new(format!("there is no broker in {}", settings.data.display()))
                .hint("say where it is: --data FOLDER, or --config FILE"));
        }
        Ok(settings)
    }
}

/// Why a command did not work: one sentence, perhaps what to do about it, and an exit code.
#[derive(Clone, Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), hint: None }
    }
    /// The command was typed wrongly.
    pub(crate) fn typed(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), hint: None }
    }
    pub(crate) fn signed_out(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into(), hint: Some("run: daypass login".to_owned()) }
    }
    /// The same, where it is known of what.
    pub(crate) fn signed_out_of(url: &str, message: impl Into<String>) -> Self {
        Self::signed_out(message).hint(format!("run: daypass login {url}"))
    }
    /// Whether the broker, or the want of a session, said no: trying again changes nothing.
    pub(crate) const fn is_of_the_session(&self) -> bool {
        matches!(self.code, 3 | 4)
    }
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { code: 4, message: message.into(), hint: None }
    }
    /// The answer on standard output said it all: only the exit code is left to give.
    pub(crate) const fn silent(code: u8) -> Self {
        Self { code, message: String::new(), hint: None }
    }
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "daypass: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl From<crate::domain::Error> for Failure {
    fn from(error: crate::domain::Error) -> Self {
        // On the machine itself, the operator may see the private reason.
        let message = error.private.map_or(error.public.clone(), |private| format!("{} ({private})", error.public));
        Self::new(message)
    }
}

/// Runs the command line.
#[must_use]
pub fn run() -> ExitCode {
    completions::answer();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return mistyped(&error),
    };
    if matches!(arguments.command, Command::XmlVerifier) {
        // Before there is any thread: the cage holds for all of this process.
        let served = crate::crypto::cage::serve(std::io::stdin().lock(), std::io::stdout().lock());
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    }
    if arguments.json {
        terminal::ask_for_json();
    }
    let outcome = match arguments.command {
        Command::CredentialProcess(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::XmlVerifier => Ok(()),
        Command::Serve(command) => with_threads(command.run()),
        Command::Agent(command) => with_threads(command.run()),
        Command::Apply(command) => with_threads(command.run()),
        Command::Login(command) => wait(command.run()),
        Command::Logout(command) => wait(command.run()),
        Command::Whoami(command) => wait(command.run()),
        Command::Roles(command) => wait(command.run()),
        Command::Exec(command) => wait(command.run()),
        Command::Env(command) => wait(command.run()),
        Command::Console(command) => wait(command.run()),
        Command::Configure(command) => wait(command.run()),
        Command::Doctor(command) => wait(command.run()),
        Command::Explain(command) => wait(command.run()),
        Command::Sessions(command) => wait(command.run()),
        Command::Revoke(command) => wait(command.run()),
        Command::Keys(command) => wait(command.run()),
        Command::Backup(command) => wait(command.run()),
        Command::Restore(command) => wait(command.run()),
        Command::Store(command) => wait(command.run()),
        Command::Audit(command) => wait(command.run()),
        Command::RootKey(command) => wait(command.run()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if terminal::json() && !failure.message.is_empty() {
                let report = serde_json::json!({ "error": failure.message, "hint": failure.hint, "exit_code": failure.code });
                terminal::note!("{report}");
            } else if !failure.message.is_empty() {
                failure.to_string().lines().for_each(terminal::tell);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Says what is wrong with a command, or what was asked of it (`--help`, `--version`).
fn mistyped(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let own = words.iter().take_while(|word| *word != "--");
    if error.use_stderr() && own.clone().any(|word| word == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        terminal::note!("{}", serde_json::json!({ "error": message, "hint": "daypass --help", "exit_code": 2 }));
        return ExitCode::from(2);
    }
    let _ = error.print();
    let runs = own.clone().any(|word| matches!(word.as_str(), "exec" | "agent"));
    if error.kind() == clap::error::ErrorKind::UnknownArgument && runs {
        terminal::note!("\nThe command to run comes after two dashes, such as: daypass exec Developer -- aws s3 ls");
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// Carries out what waits for others.
fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(error.to_string()))?.block_on(work)
}

/// The same on all cores.
fn with_threads<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(error.to_string()))?.block_on(work)
}

/// Starts logging to standard error, and sending traces where they are wanted.
pub(crate) fn start_log(settings: &Settings) -> Result<Option<Traces>, Failure> {
    let traces = settings.traces.as_ref().map(Traces::open).transpose()?;
    listener(settings, traces.as_ref())?.init();
    Ok(traces)
}

/// What hears of events and spans.
fn listener(settings: &Settings, traces: Option<&Traces>) -> Result<Dispatch, Failure> {
    let filter = EnvFilter::try_new(&settings.log.level).map_err(|error| Failure::new(format!("log.level: {error}")))?;
    // Spans are for traces: in a line of the log they would say again what it says.
    let events = filter_fn(|metadata| metadata.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let log = match settings.log.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    let registry = tracing_subscriber::registry().with(log.with_filter(filter.and(events)));
    // A layer that is not there would want to be asked about every span.
    Ok(match traces {
        Some(traces) => registry.with(traces.layer()).into(),
        None => registry.into(),
    })
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test that can't go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_traces_there_are_no_spans_and_nothing_below_the_level_is_made() {
        let Ok(listener) = listener(&Settings::default(), None) else { panic!("the default settings are wrong") };
        tracing::dispatcher::with_default(&listener, || {
            assert!(tracing::info_span!("request").is_disabled());
            assert!(tracing::event_enabled!(tracing::Level::INFO));
            assert!(!tracing::event_enabled!(tracing::Level::DEBUG));
        });
    }
}
