//! `daypass apply`

use super::{Failure, SettingsArguments, terminal};
use crate::{
    api::apply::{ApplyOrganization, OrganizationFile, Plan, PlanOrganization, ProviderEntry, Verb},
    config::variable,
    domain::{Error, Secret},
    gateway::Gateway,
};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Set up the organization of the broker on this machine from a TOML or YAML file. A running broker follows within a second.
#[derive(Debug, Args)]
pub struct Apply {
    /// The file (.toml, .yaml or .yml). config/organization.toml shows every key.
    file: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
    /// Only print the plan.
    #[arg(long, conflicts_with = "yes")]
    plan: bool,
    /// Delete what the file does not list.
    #[arg(long)]
    prune: bool,
    /// Give people without a password a new one, and print it once.
    #[arg(long)]
    new_passwords: bool,
}

impl Apply {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let text = fs::read_to_string(&self.file).map_err(|error| Failure::new(format!("{}: {error}", self.file.display())))?;
        let extension = self.file.extension().and_then(|extension| extension.to_str()).unwrap_or("toml");
        let mut file = parse(&text, extension).map_err(|problem| Failure::new(format!("{}: {problem}", self.file.display())))?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let sources = file.identity_sources.iter_mut().enumerate().map(|(i, entry)| (format!("identity_sources[{i}]"), entry));
        let providers = file.identity_providers.iter_mut().enumerate();
        for (key, entry) in sources.chain(providers.map(|(i, entry)| (format!("identity_providers[{i}]"), entry))) {
            resolve(&key, entry, folder)?;
        }
        let settings = self.settings.load()?;
        let gateway = terminal::waiting("Opening the store", settings.open()).await?;
        let sources = file.identity_sources.iter_mut().enumerate().map(|(i, entry)| (format!("identity_sources[{i}]"), entry));
        let providers = file.identity_providers.iter_mut().enumerate();
        for (key, entry) in sources.chain(providers.map(|(i, entry)| (format!("identity_providers[{i}]"), entry))) {
            terminal::waiting("Fetching metadata", fetch(&gateway, &key, entry)).await?;
        }
        let wish = PlanOrganization { file: file.clone(), prune: self.prune, new_passwords: self.new_passwords };
        let plan = terminal::waiting("Planning", gateway.call(&gateway.operator(), wish)).await.map_err(|error| {
            let line = line_of(&text, &error.public).map(|line| format!("line {line}, ")).unwrap_or_default();
            Failure::from(Error { public: format!("{}: {line}{}", self.file.display(), error.public), ..error })
        })?;
        if !terminal::json() {
            print(&plan);
        }
        if terminal::json() && (plan.changes.is_empty() || self.plan) {
            return terminal::print_json(&plan);
        }
        if plan.changes.is_empty() || self.plan {
            return Ok(());
        }
        if !self.yes && !terminal::confirmed("Apply?")? {
            return Err(Failure::new("nothing was changed"));
        }
        let applied = terminal::waiting("Applying", apply(&gateway, file, self.prune, self.new_passwords)).await?;
        gateway.broker.store.close().await;
        if terminal::json() {
            let passwords = applied.passwords.iter().map(|(user, password)| (user.to_string(), password.expose().clone()));
            let passwords: std::collections::BTreeMap<_, _> = passwords.collect();
            return terminal::print_json(&serde_json::json!({ "applied": applied, "passwords": passwords }));
        }
        terminal::line!("Applied {}.", count(applied.changes.len(), "change"));
        if !applied.passwords.is_empty() {
            terminal::line!("\nNew passwords, shown only now:");
            for (user, password) in &applied.passwords {
                terminal::line!("  {:<28} {}", user.to_string(), password.expose());
            }
        }
        Ok(())
    }
}

/// Reads the document; errors name the line, the key and what was expected.
///
/// # Errors
/// The sentence for the person who wrote the file.
pub fn parse(text: &str, extension: &str) -> Result<OrganizationFile, String> {
    match extension {
        "yaml" | "yml" => {
            let reader = serde_yaml_ng::Deserializer::from_str(text);
            serde_path_to_error::deserialize(reader).map_err(|error| {
                let (key, inner) = (error.path().to_string(), error.into_inner());
                let line = inner.location().map_or(0, |location| location.line());
                format!("line {line}, {key}: {inner}")
            })
        }
        "toml" => {
            let reader = toml::Deserializer::parse(text).map_err(|error| located(text, "", &error))?;
            serde_path_to_error::deserialize(reader).map_err(|error| {
                let key = error.path().to_string();
                located(text, &key, error.inner())
            })
        }
        other => Err(format!("`.{other}` is not a kind of file this reads: use .toml or .yaml")),
    }
}

/// The line where the entry begins that a message is about (`roles[3].account: …`), in TOML.
#[must_use]
pub fn line_of(text: &str, message: &str) -> Option<usize> {
    let key = message.split_once(':')?.0;
    let (section, index) = match key.split_once('[') {
        Some((section, rest)) => (format!("[[{section}]]"), rest.split_once(']')?.0.parse().ok()?),
        None => (format!("[{}]", key.split_once('.')?.0), 0),
    };
    let begins = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(&section));
    begins.map(|(number, _)| number + 1).nth(index)
}

fn located(text: &str, key: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    let key = if key.is_empty() || key == "." { String::new() } else { format!(", {key}") };
    format!("line {line}{key}: {}", error.message())
}

/// Fills in what stands in other files and in the environment.
fn resolve(key: &str, entry: &mut ProviderEntry, folder: &Path) -> Result<(), Failure> {
    let read = |name: &str, file: &str| {
        let path = folder.join(file);
        fs::read_to_string(&path).map_err(|error| Failure::new(format!("{key}.{name}: {}: {error}", path.display())))
    };
    if let Some(file) = entry.metadata_file.take() {
        entry.metadata = Some(read("metadata_file", &file)?);
    }
    if let Some(file) = entry.metadata_certificate_file.take() {
        let pem = read("metadata_certificate_file", &file)?;
        let lines = pem.lines().skip_while(|line| !line.contains("BEGIN CERTIFICATE")).skip(1);
        entry.metadata_certificate = Some(lines.take_while(|line| !line.starts_with("-----")).collect());
    }
    if let Some(file) = entry.client_secret_file.take() {
        entry.client_secret = Some(Secret::new(read("client_secret_file", &file)?.trim().to_owned()));
    }
    if let Some(name) = entry.client_secret_env.take() {
        let value =
            variable(&name).ok_or_else(|| Failure::new(format!("{key}.client_secret_env: the variable {name} is not set")))?;
        entry.client_secret = Some(Secret::new(value));
    }
    Ok(())
}

/// Fetches metadata that is published.
async fn fetch(gateway: &Gateway, key: &str, entry: &mut ProviderEntry) -> Result<(), Failure> {
    if let (Some(url), None) = (&entry.metadata_url, &entry.metadata) {
        let fetched = gateway.broker.federation.fetch_metadata(url, entry.metadata_certificate.as_deref()).await;
        let fetched = fetched.map_err(|error| Error { public: format!("{key}.metadata_url: {}", error.public), ..error })?;
        entry.metadata = Some(fetched);
    }
    Ok(())
}

pub(super) async fn apply(gateway: &Gateway, file: OrganizationFile, prune: bool, new_passwords: bool) -> Result<Plan, Failure> {
    let wish = ApplyOrganization(PlanOrganization { file, prune, new_passwords });
    gateway.call(&gateway.operator(), wish).await.map_err(Failure::from)
}

fn print(plan: &Plan) {
    if plan.changes.is_empty() {
        terminal::line!("Nothing to change.");
    }
    for change in &plan.changes {
        let sign = match change.verb {
            Verb::Create => "+ create",
            Verb::Update => "~ update",
            Verb::Delete => "- delete",
        };
        let parts = if change.parts.is_empty() { String::new() } else { format!(": {}", change.parts.join(", ")) };
        terminal::line!("  {sign} {}{parts}", change.what);
    }
    if !plan.unlisted.is_empty() {
        terminal::line!("  Not in the file, left alone (--prune deletes them): {}", plan.unlisted.join(", "));
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
