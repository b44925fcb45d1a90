//! `daypass agent`: role credentials for programs on this machine, by the two endpoints that every AWS SDK knows.

mod serve;
mod source;

use super::{
    Failure,
    client::address,
    exec::{KEYS, exported, leftovers, not_started, surroundings},
    home::{BrokerChoice, Home},
    role::{RoleChoice, remember},
    session::SavedSession,
    terminal,
};
use crate::{
    config::{SystemRandom, write_private},
    domain::{Arn, Random, Secret},
};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use source::{Certificate, Source, WebIdentity};
use std::{
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::Arc,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Serve credentials of a role to programs on this machine, renewed before they end.
///
/// The role is taken by a workload's token (--web-identity-token-file), by a certificate (--certificate), or with the session
/// of `daypass login` (ROLE). No key is kept anywhere. For a token or a certificate, --url or DAYPASS_URL has to say where the
/// broker is.
#[derive(Debug, Args)]
pub struct Agent {
    /// Where to listen: a loopback address; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Also answer like the instance metadata service (IMDSv2), for programs that can't be given variables of their own. Then
    /// every user of this machine can have the role, as on EC2.
    #[arg(long)]
    imds: bool,
    /// Where to write the authorization token for programs that read it from a file.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    choice: RoleChoice,

    #[command(flatten)]
    broker: BrokerChoice,
    /// Role of a workload.
    #[arg(long, value_name = "ARN", conflicts_with_all = ["text", "account"])]
    role_arn: Option<String>,
    /// Name of a workload's sessions [default: daypass-agent, or the certificate's serial number].
    #[arg(long, value_name = "NAME")]
    role_session_name: Option<String>,
    /// A file with the workload's ID token; read anew for each renewal.
    #[arg(long, value_name = "FILE", requires = "role_arn", conflicts_with = "certificate")]
    web_identity_token_file: Option<PathBuf>,
    /// The workload's certificate, PEM; those of intermediate authorities may follow it.
    #[arg(long, value_name = "FILE", requires_all = ["role_arn", "private_key", "trust_anchor_arn", "profile_arn"])]
    certificate: Option<PathBuf>,
    /// The certificate's private key, PEM: RSA or P-256.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The trust anchor that vouches for the certificate.
    #[arg(long, value_name = "ARN")]
    trust_anchor_arn: Option<String>,
    /// The profile that lists the role.
    #[arg(long, value_name = "ARN")]
    profile_arn: Option<String>,
    /// Run a command with the credentials at hand, and stop when it ends. It finds no other ones: ~/.aws is not read. Without a
    /// command, print what to export and go on.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Where a file is, for programs in other folders.
fn from_anywhere(file: &Path) -> Result<String, Failure> {
    let file = std::path::absolute(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    Ok(file.display().to_string())
}

/// The command's exit code is ours; of one that a signal ended, as shells have it.
fn passed_on(status: ExitStatus) -> Result<(), Failure> {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    if code == 0 { Ok(()) } else { Err(Failure::silent(u8::try_from(code).unwrap_or(1))) }
}

/// Waits for a command while the agent serves it. What a terminal sends (Ctrl-C) reaches both, and the command decides what
/// becomes of it; what is sent to the agent alone is passed on.
async fn beside(serving: impl Future<Output = std::io::Result<()>>, mut child: Child) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::new(error.to_string());
    let listen = |kind| signal(kind).map_err(wrong);
    let (mut interrupts, mut quits) = (listen(SignalKind::interrupt())?, listen(SignalKind::quit())?);
    let (mut ends, mut hangups) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let (pid, terminal) = (Pid::from_child(&child), std::fs::File::open("/dev/tty").is_ok());
    let pass_on = |signal| {
        let _ = kill_process(pid, signal);
    };
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    let mut serving = std::pin::pin!(serving);
    loop {
        tokio::select! {
            served = &mut serving => return served.map_err(wrong),
            status = &mut ended => return passed_on(status.map_err(|error| Failure::new(error.to_string()))?.map_err(wrong)?),
            _ = interrupts.recv() => if !terminal { pass_on(Signal::INT) },
            _ = quits.recv() => if !terminal { pass_on(Signal::QUIT) },
            _ = ends.recv() => pass_on(Signal::TERM),
            _ = hangups.recv() => pass_on(Signal::HUP),
        }
    }
}

fn missing() -> Failure {
    Failure::typed("say how to take the role")
        .hint("a ROLE of yours, or --role-arn with --web-identity-token-file or --certificate")
}

impl Agent {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if !self.listen.ip().is_loopback() {
            return Err(Failure::typed(format!("{} is not a loopback address", self.listen))
                .hint("who can reach the agent can have the role: it serves this machine alone"));
        }
        let (source, url) = self.source().await?;
        let role_name = source.role_name();
        let keeper = Arc::new(source::Keeper::new(source));
        // Wrong settings are found now, not by the first program that asks.
        terminal::waiting("Asking for credentials", keeper.credentials()).await?;
        terminal::say_no_waiting();
        let random: &dyn Random = &SystemRandom;
        let token = Secret::new(random.token());
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|error| Failure::new(format!("can't listen on {}: {error}", self.listen)))?;
        // Now that it is the only one there: the file may be another agent's.
        if let Some(file) = &self.token_file {
            write_private(file, token.expose()).map_err(Failure::from)?;
        }
        let address = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?;
        // These exist to hand the token to programs of the same person.
        let mut variables = vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/credentials"))];
        variables.push(match &self.token_file {
            Some(file) => ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", from_anywhere(file)?),
            None => ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token.expose().clone()),
        });
        if self.imds {
            variables.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{address}/")));
        }
        let role = self.imds.then_some(role_name.clone());
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(surroundings(&url, None));
        if let Some((program, words)) = self.command.split_first() {
            let mut command = std::process::Command::new(program);
            command.args(words);
            for name in leftovers().chain(KEYS) {
                command.env_remove(name);
            }
            // Nor what the person's files say of other credentials.
            command.envs(variables).envs(["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"].map(|name| (name, "/dev/null")));
            let child = command.spawn().map_err(|error| not_started(program, &error))?;
            return beside(serve::serve(listener, keeper, token, role, std::future::pending()), child).await;
        }
        let variables: Vec<(String, String)> = variables.collect();
        if terminal::json() {
            terminal::print_json(&variables.iter().cloned().collect::<std::collections::BTreeMap<_, _>>())?;
        } else {
            terminal::print(&variables.iter().map(|(name, value)| exported(name, value)).collect::<String>());
        }
        terminal::note!("Serving credentials of {role_name} on {address}. Stop with Ctrl-C.");
        let serving = serve::serve(listener, keeper, token, role, super::serve::stop());
        serving.await.map_err(|error| Failure::new(error.to_string()))
    }

    /// How the role is taken, and the broker's address.
    async fn source(&self) -> Result<(Source, String), Failure> {
        if self.choice.is_given() || (self.role_arn.is_none() && terminal::can_ask()) {
            let home = Home::open(&self.broker)?;
            let SavedSession { url, person, .. } = SavedSession::load(&home)?;
            let (account, role) = self.choice.clone().resolve(&home).await?;
            remember(&home, &account, &role)?;
            return Ok((Source::Person { home, person, account, role }, url));
        }
        if self.role_arn.is_none() {
            return Err(missing());
        }
        // A secret goes there: no address is guessed.
        let unsaid = || Failure::typed("say which broker").hint("--url https://daypass.example.com, or DAYPASS_URL");
        let url = address(self.broker.said().ok_or_else(unsaid)?)?;
        Ok((self.workload(url.clone())?, url))
    }

    fn workload(&self, url: String) -> Result<Source, Failure> {
        let arn = |what: &str, text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            Arn::parse(text).map_err(|_| Failure::typed(format!("{what}: `{text}` is no ARN")))
        };
        let role_arn = arn("--role-arn", &self.role_arn)?;
        let session_name = self.role_session_name.clone();
        if let Some(token_file) = &self.web_identity_token_file {
            return Ok(Source::WebIdentity(WebIdentity { url, role_arn, session_name, token_file: token_file.clone() }));
        }
        match (&self.certificate, &self.private_key) {
            (Some(certificate), Some(private_key)) => Ok(Source::Certificate(Certificate {
                url,
                role_arn,
                session_name,
                certificate: certificate.clone(),
                private_key: private_key.clone(),
                trust_anchor_arn: arn("--trust-anchor-arn", &self.trust_anchor_arn)?,
                profile_arn: arn("--profile-arn", &self.profile_arn)?,
            })),
            _ => Err(missing()),
        }
    }
}
