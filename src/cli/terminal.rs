//! What a terminal is told: colours where somebody sees them, progress on what takes its time, JSON where a program asks.

use super::Failure;
use crate::{config::variable, domain::name::deceives};
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    future::Future,
    io::{IsTerminal as _, Write as _},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

static JSON: OnceLock<bool> = OnceLock::new();
/// What takes longer says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// `--json` was given.
pub(super) fn ask_for_json() {
    let _ = JSON.set(true);
}

/// Whether answers and failures are for a program.
pub(super) fn json() -> bool {
    JSON.get().copied().unwrap_or_default()
}

/// Prints an answer for programs.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
    print(&format!("{text}\n"));
    Ok(())
}

/// Prints an answer. Whoever reads may stop reading; an answer that is lost otherwise is none.
pub(super) fn print(text: &str) {
    let mut output = std::io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            note!("daypass: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints a line of an answer, as [`print`] does.
macro_rules! line {
    ($($part:tt)*) => { $crate::cli::terminal::print(&format!("{}\n", format_args!($($part)*))) };
}
pub(super) use line;

/// Says a line to the person, on standard error. Nobody has to listen.
macro_rules! note {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}
pub(super) use note;

/// Text from elsewhere without what a terminal would obey, or a person not see.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if deceives(c) { '\u{fffd}' } else { c }).collect()
}

/// A sentence in lines that are not wider than the terminal; those after the first begin with the indent. Nothing is broken
/// where no terminal is, and no word (an address) anywhere.
pub(super) fn wrapped(text: &str, indent: &str, term: &Term) -> String {
    let Some(columns) = columns(term) else { return text.to_owned() };
    let options = textwrap::Options::new(columns).subsequent_indent(indent).break_words(false);
    textwrap::fill(text, options.word_splitter(textwrap::WordSplitter::NoHyphenation))
}

/// How many columns a terminal has, where there is one that is not too narrow for anything.
pub(super) fn columns(term: &Term) -> Option<usize> {
    term.size_checked().map(|(_, columns)| usize::from(columns)).filter(|columns| *columns >= 30)
}

/// Tells the person something, on standard error.
pub(super) fn tell(text: &str) {
    note!("{}", wrapped(text, "  ", &Term::stderr()));
}

/// Whether somebody can be asked: questions go to standard error, answers come from standard input.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !json()
}

/// Asks for a yes.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !can_ask() {
        return Err(Failure::new("nobody is there to ask").hint("add --yes to go on without asking"));
    }
    let mut asked = std::io::stderr();
    let _ = write!(asked, "{question} [y/N] ").and_then(|()| asked.flush());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::new(error.to_string()))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Waits; after a second it says for what, where somebody sees it. What is waited for within is not said besides.
pub(super) async fn waiting<T>(what: &'static str, future: impl Future<Output = T>) -> T {
    let Some(_taken) = Taken::new() else { return future.await };
    let mut future = std::pin::pin!(future);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut future).await {
        return done;
    }
    let spinner = Cleared(ProgressBar::new_spinner().with_elapsed(PATIENCE));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.0.set_style(style);
    }
    spinner.0.set_message(what);
    spinner.0.enable_steady_tick(Duration::from_millis(120));
    future.await
}

/// Says nothing of waiting any more: the terminal is another program's now.
pub(super) fn say_no_waiting() {
    PROGRESS.store(true, Ordering::Relaxed);
}

/// Whether progress has its one line already.
static PROGRESS: AtomicBool = AtomicBool::new(false);

struct Taken;

impl Taken {
    fn new() -> Option<Self> {
        // Not `then_some`: what it made in vain would be dropped, and free the line.
        (!PROGRESS.swap(true, Ordering::Relaxed)).then(|| Self)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        PROGRESS.store(false, Ordering::Relaxed);
    }
}

/// Progress that leaves nothing behind, also where nobody waits any longer.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Colours, where somebody sees them (no-color.org).
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// On standard output.
    pub(super) fn output() -> Self {
        Self(std::io::stdout().is_terminal() && wanted())
    }
    /// On standard error.
    pub(super) fn error() -> Self {
        Self(std::io::stderr().is_terminal() && wanted())
    }
    pub(super) const fn is_on(self) -> bool {
        self.0
    }
    fn on(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
    pub(super) fn bold(self, text: &str) -> String {
        self.on("1", text)
    }
    pub(super) fn dim(self, text: &str) -> String {
        self.on("2", text)
    }
    pub(super) fn red(self, text: &str) -> String {
        self.on("1;31", text)
    }
    pub(super) fn yellow(self, text: &str) -> String {
        self.on("1;33", text)
    }
    pub(super) fn green(self, text: &str) -> String {
        self.on("1;32", text)
    }
    pub(super) fn blue(self, text: &str) -> String {
        self.on("1;34", text)
    }
}

fn wanted() -> bool {
    !json() && variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_one_line_whoever_else_wants_it() {
        let first = Taken::new();
        assert!(first.is_some());
        assert!(Taken::new().is_none());
        assert!(Taken::new().is_none(), "who got none frees none");
        drop(first);
        assert!(Taken::new().is_some());
        say_no_waiting();
        assert!(Taken::new().is_none() && Taken::new().is_none());
    }
}
