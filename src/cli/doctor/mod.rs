//! `daypass doctor`: finds what usually keeps a command line from working, and says what to do.

mod aws;
mod server;

use super::{
    Failure, SettingsArguments,
    client::{BrokerClient, cause},
    configure::{aws_config::sections, config_file, read},
    home::{BrokerChoice, Home},
    login::now,
    session::SavedSession,
    terminal::{self, Paint, print},
};
use crate::{config::variable, domain::Timestamp};
use clap::Args;
use serde::Serialize;
use std::fs;

/// Find what keeps your command line from working: clock, certificates, proxy, endpoints, old caches, leftover variables.
///
/// Exit code: 0 nothing is wrong, 1 something is.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    broker: BrokerChoice,
    /// Look at the broker of this machine instead: settings, keys, store, certificates.
    #[arg(long)]
    server: bool,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It may be meant so.
    Warning,
    /// It keeps something from working.
    Problem,
}

/// One look.
#[derive(Debug, Serialize)]
struct Finding {
    /// Stands for the kind of trouble.
    check: &'static str,
    state: State,
    /// What was seen.
    what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: State::Ok, what: what.into(), fix: None }
    }
    fn warning(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Warning, what: what.into(), fix: Some(fix.into()) }
    }
    fn problem(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Problem, what: what.into(), fix: Some(fix.into()) }
    }
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.server {
            let settings = self.settings.load_with_store()?;
            let findings = server::look(&settings).await?;
            return outcome(settings.public_url.as_str(), &findings);
        }
        let home = Home::open(&self.broker)?;
        let url = home.broker().unwrap_or("http://127.0.0.1:8080").to_owned();
        let mut findings = vec![place(&home), proxy(&url)];
        let (reached, more) = terminal::waiting("Asking the broker", broker(&url)).await;
        findings.extend(more);
        if reached || SavedSession::load(&home).is_err() {
            findings.push(terminal::waiting("Asking about your session", session(&home)).await);
        }
        findings.extend(environment(&url));
        let file = config_file()?;
        let config = sections(&read(&file)?.unwrap_or_default());
        findings.push(aws::profiles(&file, &config, &url));
        findings.push(aws::cli(&config));
        findings.push(aws::caches(&config));
        outcome(&url, &findings)
    }
}

fn outcome(url: &str, findings: &[Finding]) -> Result<(), Failure> {
    tell(url, findings)?;
    match findings.iter().any(|finding| finding.state == State::Problem) {
        true => Err(Failure::silent(1)),
        false => Ok(()),
    }
}

/// Below what was found.
const INDENT: &str = "         ";

fn tell(url: &str, findings: &[Finding]) -> Result<(), Failure> {
    if terminal::json() {
        return terminal::print_json(&serde_json::json!({ "url": url, "findings": findings }));
    }
    let paint = Paint::output();
    for finding in findings {
        let mark = match finding.state {
            State::Ok => paint.green("ok     "),
            State::Warning => paint.yellow("look   "),
            State::Problem => paint.red("problem"),
        };
        let term = console::Term::stdout();
        let line = |text: &str| print(&format!("{}\n", terminal::wrapped(text, INDENT, &term)));
        line(&format!("{mark}  {}: {}", paint.bold(finding.check), finding.what));
        if let Some(fix) = &finding.fix {
            line(&format!("{INDENT}{fix}"));
        }
    }
    Ok(())
}

/// 1. What is kept is the person's alone.
fn place(home: &Home) -> Finding {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = home.folder().display();
    let open = fs::metadata(home.folder()).is_ok_and(|data| data.permissions().mode() & 0o077 != 0);
    let key = if home.keyring { "the key in this machine's keyring" } else { "the key beside it, since there is no keyring" };
    match open {
        true => Finding::problem("files", format!("others can look into {folder}"), format!("chmod 700 {folder}")),
        false => Finding::ok("files", format!("your session is sealed in {folder}, {key}")),
    }
}

/// 2. A proxy that stands between.
fn proxy(url: &str) -> Finding {
    if url.starts_with("http:") {
        return Finding::ok("proxy", "none is used on this machine itself");
    }
    let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set = names.into_iter().find_map(|name| Some((name, variable(name)?)));
    let Some((name, value)) = set else { return Finding::ok("proxy", "none") };
    let without = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
    let excepted = without.split(',').map(str::trim).any(|entry| {
        entry == "*" || entry == host || (!entry.is_empty() && host.ends_with(&format!(".{}", entry.trim_start_matches('.'))))
    });
    match excepted {
        true => Finding::ok("proxy", format!("{name} is set, and NO_PROXY excepts {host}")),
        false => Finding::warning(
            "proxy",
            format!("{name} sends requests for {host} through {}", without_password(&value)),
            format!("if the proxy can't reach the broker: export NO_PROXY={host}"),
        ),
    }
}

fn without_password(proxy: &str) -> String {
    match url::Url::parse(proxy) {
        Ok(mut url) => {
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url.to_string()
        }
        Err(_) => "a proxy".to_owned(),
    }
}

/// 3. to 5. The address, its certificate, and its clock.
async fn broker(url: &str) -> (bool, Vec<Finding>) {
    let client = match BrokerClient::new(url) {
        Ok(client) => client,
        Err(failure) => {
            let fix = "give the broker's address with --url, or DAYPASS_URL";
            return (false, vec![Finding::problem("address", failure.message, fix)]);
        }
    };
    let (status, date, body) = match client.look("/healthz").await {
        Ok(seen) => seen,
        Err(error) => {
            let why = cause(&error);
            let certificate = why.contains("certificate") || why.contains("UnknownIssuer");
            return (
                false,
                vec![match certificate {
                    true => Finding::problem(
                        "certificate",
                        format!("{url} shows a certificate that this machine does not trust: {why}"),
                        "install your authority's certificate on this machine; for the AWS CLI: daypass configure --ca-bundle FILE",
                    ),
                    false => Finding::problem(
                        "address",
                        format!("{url} can't be reached: {why}"),
                        "is the address right (--url), the broker running, and your VPN up?",
                    ),
                }],
            );
        }
    };
    if status != 200 || body.trim() != "ok" {
        let what = format!("{url} answers, and not like a Daypass broker (status {status})");
        return (false, vec![Finding::problem("address", what, "is it the broker's own address, without a path?")]);
    }
    let mut findings = vec![Finding::ok("address", format!("{url} answers"))];
    let theirs =
        date.and_then(|date| jiff::fmt::rfc2822::parse(&date).ok()).map(|date| Timestamp(date.timestamp().as_millisecond()));
    findings.push(match theirs.map(|theirs| now().seconds_since(theirs)) {
        Some(off) if off.abs() > 240 => Finding::problem(
            "clock",
            format!("this machine's clock is {} seconds {} the broker's", off.abs(), if off > 0 { "ahead of" } else { "behind" }),
            "set the clock; signatures are refused from five minutes on",
        ),
        Some(off) if off.abs() > 30 => {
            Finding::warning("clock", format!("this machine's clock is {} seconds off", off.abs()), "set the clock")
        }
        Some(_) => Finding::ok("clock", "like the broker's"),
        None => Finding::warning("clock", "the broker's time is not known", "does a proxy take the Date header away?"),
    });
    (true, findings)
}

/// 6. Who is signed in.
async fn session(home: &Home) -> Finding {
    let found = match SavedSession::fresh(home).await {
        Err(failure) => Err(failure),
        Ok(session) => match BrokerClient::new(&session.url) {
            Err(failure) => Err(failure),
            Ok(client) => {
                let query = [("max_result", "1")];
                let answer = client.get::<serde_json::Value>("/assignment/accounts", &query, &session.token.access_token).await;
                answer.map(|_| session)
            }
        },
    };
    match found {
        Ok(session) => Finding::ok("session", format!("signed in to {}", session.url)),
        Err(failure) => {
            Finding::problem("session", failure.message, failure.hint.unwrap_or_else(|| "run: daypass login".to_owned()))
        }
    }
}

/// 7. and 8. Variables that win over profiles, and endpoints that lead elsewhere.
fn environment(url: &str) -> [Finding; 2] {
    let keys = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let set: Vec<&str> = keys.into_iter().filter(|name| variable(name).is_some()).collect();
    let expired = variable("AWS_CREDENTIAL_EXPIRATION").and_then(|text| Timestamp::parse(&text)).is_some_and(|end| end <= now());
    let leftovers = match (set.is_empty(), expired) {
        (true, _) => Finding::ok("variables", "no credentials in the environment"),
        (false, true) => Finding::problem(
            "variables",
            format!("expired credentials in {} come before every profile", set.join(", ")),
            "eval \"$(daypass env --unset)\"",
        ),
        (false, false) => Finding::warning(
            "variables",
            format!("credentials in {} come before every profile", set.join(", ")),
            "if that is not meant: eval \"$(daypass env --unset)\"",
        ),
    };
    let elsewhere =
        |name: &str| variable(name).filter(|value| value.trim_end_matches('/') != url).map(|value| format!("{name}={value}"));
    let services = super::exec::SERVICES.map(|service| format!("AWS_ENDPOINT_URL_{}", service.to_uppercase()));
    let wrong: Vec<String> = services.iter().filter_map(|name| elsewhere(name)).chain(elsewhere("AWS_ENDPOINT_URL")).collect();
    let ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let endpoints = match (wrong.is_empty(), ignored) {
        (_, true) => Finding::problem(
            "endpoints",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS is set: the AWS CLI calls AWS, not the broker",
            "unset AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        ),
        (false, false) => Finding::problem(
            "endpoints",
            format!("{} leads elsewhere than {url}", wrong.join(", ")),
            "unset it, or set it to the broker's address",
        ),
        (true, false) => Finding::ok("endpoints", "no variable leads elsewhere"),
    };
    [leftovers, endpoints]
}
