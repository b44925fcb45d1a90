//! `daypass agent`: role credentials for programs on this machine, by the two endpoints that every AWS SDK knows.

mod serve;
mod source;

use super::{Failure, login::now};
use crate::{
    config::{SystemRandom, write_private},
    domain::{Arn, Random, Secret},
};
use clap::Args;
use source::{Certificate, Source, WebIdentity};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::net::TcpListener;

/// Serve credentials of a role to programs on this machine, renewed before they end.
///
/// The role is taken by a workload's token (--web-identity-token-file), by a certificate (--certificate), or with the session
/// of `daypass login` (--account, --role). No key is kept anywhere.
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

    /// Role of the signed-in person: its account.
    #[arg(long, value_name = "ID", requires = "role", conflicts_with = "role_arn")]
    account: Option<String>,
    /// Role of the signed-in person: its name.
    #[arg(long, value_name = "NAME", requires = "account")]
    role: Option<String>,

    /// Address of the broker, for a workload.
    #[arg(long, env = "DAYPASS_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Role of a workload.
    #[arg(long, value_name = "ARN")]
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
    /// Run a command with the credentials at hand, and stop when it ends; without one, print what to export and go on.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The command's exit code is ours.
fn passed_on(ended: Result<std::io::Result<std::process::ExitStatus>, tokio::task::JoinError>) -> Result<(), Failure> {
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Failure::silent(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
        Ok(Err(error)) => Err(Failure::new(error.to_string())),
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

impl Agent {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if !self.listen.ip().is_loopback() {
            return Err(Failure::new(format!("{} is not a loopback address", self.listen))
                .hint("who can reach the agent can have the role: it serves this machine alone"));
        }
        let source = self.source()?;
        let role_name = source.role_name();
        let keeper = Arc::new(source::Keeper::new(source));
        // Wrong settings are found now, not by the first program that asks.
        super::terminal::waiting("Asking for credentials", keeper.credentials(now())).await?;
        let random: &dyn Random = &SystemRandom;
        let token = Secret::new(random.token());
        if let Some(file) = &self.token_file {
            write_private(file, token.expose()).map_err(Failure::from)?;
        }
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|error| Failure::new(format!("can't listen on {}: {error}", self.listen)))?;
        let address = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?;
        // These exist to hand the token to programs of the same person.
        let mut variables = vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/credentials"))];
        variables.push(match &self.token_file {
            Some(file) => ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.display().to_string()),
            None => ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token.expose().clone()),
        });
        if self.imds {
            variables.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{address}/")));
        }
        let serving = serve::serve(listener, keeper, token, self.imds.then_some(role_name.clone()));
        if let Some((program, words)) = self.command.split_first() {
            let mut command = std::process::Command::new(program);
            command.args(words).envs(variables);
            // These would win over what the agent serves.
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
            {
                command.env_remove(name);
            }
            let mut child = command.spawn().map_err(|error| Failure::new(format!("{program}: {error}")))?;
            let ended = tokio::task::spawn_blocking(move || child.wait());
            return tokio::select! {
                served = serving => served.map_err(|error| Failure::new(error.to_string())),
                ended = ended => passed_on(ended),
            };
        }
        for (name, value) in variables {
            println!("export {name}={value}");
        }
        eprintln!("Serving credentials of {role_name} on {address}. Stop with Ctrl-C.");
        serving.await.map_err(|error| Failure::new(error.to_string()))
    }

    fn source(&self) -> Result<Source, Failure> {
        if let (Some(account), Some(role)) = (&self.account, &self.role) {
            return Ok(Source::Person { account: account.clone(), role: role.clone() });
        }
        let arn = |what: &str, text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            Arn::parse(text).map_err(|_| Failure::new(format!("{what}: `{text}` is no ARN")))
        };
        let missing = || {
            Failure::new("say how to take the role")
                .hint("--account and --role, or --role-arn with --web-identity-token-file or --certificate")
        };
        if self.role_arn.is_none() {
            return Err(missing());
        }
        let role_arn = arn("--role-arn", &self.role_arn)?;
        let (url, session_name) = (self.url.clone(), self.role_session_name.clone());
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
