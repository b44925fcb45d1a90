//! `daypass configure`: the AWS CLI's own files, for every role that somebody may take.

pub(crate) mod aws_config;
pub(crate) mod models;
pub(crate) mod profiles;

use super::{
    Failure,
    home::{BrokerChoice, Home, user_home},
    role::available,
    session::SavedSession,
    terminal::{self, Paint},
};
use crate::config::{variable, write_private};
use aws_config::{inside, others, sections, with_part};
use clap::Args;
use profiles::{Options, Part, Wish, Written};
use serde_json::json;
use similar::{ChangeTag, TextDiff};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Write ~/.aws/config: a profile for every role you may take, and where the broker is.
///
/// Only the lines between two marks are written, and written anew each time: roles that you lost are gone, your own lines stay,
/// a profile keeps its name. What you choose here is remembered there. The difference is shown before anything is changed.
#[derive(Debug, Args)]
pub struct Configure {
    /// Name of the session, and of the services section.
    #[arg(long, value_name = "NAME", default_value = "daypass")]
    session: String,
    /// Names of the profiles, of {account}, {account_name}, {role} and {session} [default: {account_name}-{role}].
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// Region of the profiles [default: us-east-1; for an AWS CLI before 2.13 the one that leads it to the broker].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// A certificate authority of your own, PEM.
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Let profiles call `daypass credential-process`: `daypass login` then signs in all programs, also those that know no
    /// single sign-on. `--credential-process=false` goes back.
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    credential_process: Option<bool>,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Where an AWS CLI before 2.13 has its `botocore/data` [default: found beside the one on the path].
    #[arg(long, value_name = "FOLDER")]
    aws_data: Option<PathBuf>,
    /// Take away what was written.
    #[arg(long)]
    remove: bool,
    /// Show the difference, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// A file that changes.
struct Change {
    file: PathBuf,
    old: Option<String>,
    /// None where it goes.
    new: Option<String>,
    /// Whether it is data of the AWS CLI's, one long line of it, and not written for people.
    data: bool,
}

impl Configure {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !plain(&self.session) {
            return Err(Failure::typed("--session has letters, digits, - _ and . only"));
        }
        let file = config_file()?;
        let old = read(&file)?;
        let text = old.clone().unwrap_or_default();
        let broken = |why: String| Failure::new(format!("{}: {why}", file.display()));
        let (mut left_out, mut first, mut no_roles) = (Vec::new(), None, false);
        // botocore looks for them here, wherever the configuration is.
        let folder = user_home().map(|home| home.join(".aws/models"));
        let data;
        let part = if self.remove {
            data = folder.map_or_else(|| Ok(Vec::new()), |folder| models::files_without(&folder, &self.session))?;
            String::new()
        } else {
            let home = Home::open(&self.broker)?;
            let mut before = Written::read(inside(&text, &self.session).map_err(broken)?.unwrap_or_default());
            let options = self.options(before.options.clone())?;
            let url = SavedSession::load(&home)?.url;
            let roles = available(&home).await?;
            let by_rule = || folder.as_deref().and_then(|folder| models::leads(folder, &self.session));
            if let Some(other) = before.url.take().or_else(by_rule).filter(|other| *other != url) {
                // The AWS CLI keeps tokens by the session's name alone: it would show those of one broker to the other.
                let message = format!("{}: the session `{}` leads to {other}", file.display(), self.session);
                return Err(Failure::new(message).hint(format!(
                    "choose another name with --session; or, if the broker has moved, first: daypass configure --session {} \
                     --remove",
                    self.session
                )));
            }
            let by_region = models::are_needed(self.aws_data.as_deref());
            let wish = Wish { session: self.session.clone(), url, process: process(&options)?, options, by_region };
            let own = sections(&others(&text, &self.session).map_err(broken)?);
            for name in [format!("sso-session {}", self.session), format!("services {}", self.session)] {
                if let Some(section) = own.iter().find(|section| section.name == name) {
                    let message =
                        format!("{}: you have a section [{name}] of your own, in line {}", file.display(), section.line);
                    return Err(Failure::new(message).hint("choose another name with --session"));
                }
            }
            let mut taken: BTreeSet<String> = own.into_iter().map(|section| section.name).collect();
            // Keys of their own stand there under the profile's bare name.
            let keys = credentials_file().map(|file| read(&file)).transpose()?.flatten().unwrap_or_default();
            taken.extend(sections(&keys).into_iter().map(|section| profiles::section(&section.name)));
            let Part { text, profiles, left_out: without } = wish.part(&roles, &taken, &before);
            (left_out, first) = (without, profiles.into_iter().next());
            no_roles = roles.is_empty();
            data = folder.map_or_else(
                || Ok(Vec::new()),
                |folder| models::files(&folder, &self.session, &wish.url, self.aws_data.as_deref()),
            )?;
            text
        };
        let new = with_part(&text, &self.session, &part).map_err(broken)?;
        let mut changes = vec![Change {
            new: if old.is_none() && new.is_empty() { None } else { Some(new) },
            file: file.clone(),
            old,
            data: false,
        }];
        let ours = !data.is_empty() || inside(&text, &self.session).map_err(broken)?.is_some();
        for (file, new) in data {
            changes.push(Change { old: read(&file)?, file, new, data: true });
        }
        if let Some(file) = token_file(&self.session).filter(|_| self.remove && ours) {
            changes.push(Change { old: read(&file)?, file, new: None, data: true });
        }
        changes.retain(|change| change.old != change.new);
        let next = self.next(first.as_deref(), no_roles);
        self.carry_out(&changes, &left_out, &next)
    }

    /// What was chosen now, else the last time.
    fn options(&self, before: Option<Options>) -> Result<Options, Failure> {
        let mut options = before.unwrap_or_default();
        if let Some(template) = &self.template {
            options.template.clone_from(template);
        }
        if let Some(region) = &self.region {
            options.region = Some(region.clone());
        }
        if let Some(file) = &self.ca_bundle {
            options.ca_bundle = Some(absolute(file)?);
        }
        options.credential_process = self.credential_process.unwrap_or(options.credential_process);
        options.check()?;
        Ok(options)
    }

    fn carry_out(&self, changes: &[Change], left_out: &[String], next: &str) -> Result<(), Failure> {
        let asks = !changes.is_empty() && !self.dry_run && !self.yes;
        if asks && !terminal::can_ask() {
            return Err(Failure::new("nobody is there to ask").hint("add --yes, or --dry-run for the difference"));
        }
        if terminal::json() {
            let shown = |change: &Change| json!({ "file": change.file.display().to_string(), "difference": change.difference() });
            let changes: Vec<_> = changes.iter().map(shown).collect();
            terminal::print_json(&json!({ "changed": changes, "left_out": left_out, "dry_run": self.dry_run }))?;
        } else {
            for change in changes {
                show(change);
            }
            for name in left_out {
                terminal::tell(&format!("Left out: there is a profile `{name}` already. --template gives other names."));
            }
            if changes.is_empty() {
                terminal::note!("Nothing to change.");
            }
        }
        if changes.is_empty() || self.dry_run {
            return Ok(());
        }
        if asks && !terminal::confirmed("Write this?")? {
            return Err(Failure::new("nothing was changed"));
        }
        for change in changes {
            write(change)?;
        }
        if !terminal::json() {
            terminal::tell(next);
        }
        Ok(())
    }

    /// What to do now that it is written.
    fn next(&self, first: Option<&str>, no_roles: bool) -> String {
        match (first, models::cli_version()) {
            _ if self.remove => "Removed.".to_owned(),
            _ if no_roles => "Written. No role lets you in: there are no profiles.".to_owned(),
            (None, _) => "Written. The profiles are signed in by: daypass login".to_owned(),
            (Some(_), Some((1, ..))) => {
                "Written. Your AWS CLI is version 1 and can't sign in by itself: for profiles that `daypass \
                                         login` signs in, add --credential-process."
                    .to_owned()
            }
            (Some(profile), _) => {
                format!("Written. The AWS CLI has a sign-in of its own. Next: aws sso login --profile {profile}")
            }
        }
    }
}

impl Change {
    /// Line by line; none of what is not written for people.
    fn difference(&self) -> Option<String> {
        let (old, new) = (self.old.as_deref().unwrap_or_default(), self.new.as_deref().unwrap_or_default());
        (!self.data).then(|| TextDiff::from_lines(old, new).unified_diff().to_string())
    }
}

/// The command for `credential_process`, in place of the AWS CLI's own sign-in. Some programs take the quotes for a part of its
/// name: there are none where none are needed.
fn process(options: &Options) -> Result<Option<String>, Failure> {
    if !options.credential_process {
        return Ok(None);
    }
    let program = std::env::current_exe().map_err(|error| Failure::new(error.to_string()))?.display().to_string();
    if program.contains(['"', '$', '`', '\\', '\n']) {
        let message = format!("the path of this program can't stand in a configuration file: {program}");
        return Err(Failure::new(message).hint("put it elsewhere, such as /usr/local/bin"));
    }
    let plain = program.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.+@".contains(c));
    let program = if plain { program } else { format!("\"{program}\"") };
    Ok(Some(format!("{program} credential-process")))
}

/// `$AWS_CONFIG_FILE`, else `~/.aws/config`.
pub(super) fn config_file() -> Result<PathBuf, Failure> {
    let usual = || user_home().map(|home| home.join(".aws/config"));
    let file = variable("AWS_CONFIG_FILE").map(as_the_cli_reads).or_else(usual);
    file.ok_or_else(|| Failure::new("there is no home folder").hint("set HOME or AWS_CONFIG_FILE"))
}

/// `$AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
fn credentials_file() -> Option<PathBuf> {
    let usual = || user_home().map(|home| home.join(".aws/credentials"));
    variable("AWS_SHARED_CREDENTIALS_FILE").map(as_the_cli_reads).or_else(usual)
}

/// Where the AWS CLI keeps the token of a session: of one that is taken away it would find it again in another of its name.
fn token_file(session: &str) -> Option<PathBuf> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let name = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, session.as_bytes()));
    user_home().map(|home| home.join(".aws/sso/cache").join(format!("{name}.json")))
}

fn as_the_cli_reads(text: String) -> PathBuf {
    match (text.strip_prefix("~/"), user_home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

pub(super) fn read(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(Failure::new(format!("{} is not text in UTF-8", file.display())).hint("the AWS CLI reads no other"))
        }
        Err(error) => Err(Failure::new(format!("{}: {error}", file.display()))),
    }
}

/// Where a path leads from wherever it is read.
fn absolute(file: &PathBuf) -> Result<String, Failure> {
    let file = std::path::absolute(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    match file.is_file() {
        true => Ok(file.display().to_string()),
        false => Err(Failure::new(format!("{}: there is no such file", file.display()))),
    }
}

/// The lines that go and come, with some around them. What a person's file says to a terminal is not said.
fn show(change: &Change) {
    let (paint, old) = (Paint::error(), change.old.as_deref().unwrap_or_default());
    terminal::note!("{}", paint.bold(&change.file.display().to_string()));
    let Some(new) = &change.new else {
        terminal::note!("  removed");
        return;
    };
    if change.data {
        terminal::note!("  {}", if old.is_empty() { "written" } else { "written anew, with a rule of ours before the others" });
        return;
    }
    let diff = TextDiff::from_lines(old, new);
    for (number, group) in diff.grouped_ops(2).iter().enumerate() {
        if number > 0 {
            terminal::note!("  …");
        }
        for line in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = terminal::harmless(line.value().trim_end_matches('\n'));
            match line.tag() {
                ChangeTag::Delete => terminal::note!("{}", paint.red(&format!("- {text}"))),
                ChangeTag::Insert => terminal::note!("{}", paint.green(&format!("+ {text}"))),
                ChangeTag::Equal => terminal::note!("  {text}"),
            }
        }
    }
}

/// Where a link leads, so that it stays one; and only if the file is still what was shown.
fn write(change: &Change) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::new(format!("{}: {error}", change.file.display()));
    let file = match fs::read_link(&change.file) {
        // One that leads nowhere yet, too.
        Ok(target) => change.file.parent().unwrap_or(Path::new("/")).join(target),
        Err(_) => change.file.clone(),
    };
    let file = fs::canonicalize(&file).unwrap_or(file);
    if fs::metadata(&file).is_ok_and(|data| !data.is_file()) {
        return Err(Failure::new(format!("{} is no file", file.display())).hint("is AWS_CONFIG_FILE set right?"));
    }
    if read(&file)? != change.old {
        return Err(Failure::new(format!("{} has changed meanwhile", file.display())).hint("try again"));
    }
    let Some(new) = &change.new else { return fs::remove_file(&file).map_err(wrong) };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    write_private(&file, new).map_err(Failure::from)
}
