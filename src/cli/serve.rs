//! `daypass serve`

use super::{Failure, SettingsArguments, apply::apply, start_log, terminal};
use crate::{
    config::{Settings, write_private},
    gateway::Gateway,
    server,
};
use clap::Args;
use tokio::net::TcpListener;

/// Run a broker.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Set up a sample organization with two people when the store is empty, and print their passwords once.
    #[arg(long)]
    demo: bool,
}

const DEMO: &str = include_str!("../../config/demo.toml");

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let settings = self.settings.load()?;
        // Some systems give huge pages to everybody; a broker at rest would be twice as large. Where it can't be told, it just is.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::disable_transparent_huge_pages(true);
        let traces = start_log(&settings)?;
        let gateway = settings.open().await?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.map_err(|error| {
            Failure::new(format!("can't listen on {}: {error}", settings.listen))
                .hint("is another broker running? set `listen` to another port")
        })?;
        if self.demo {
            demo(&settings, &gateway).await?;
        }
        tracing::info!(address = %settings.listen, url = %settings.public_url, "listening");
        let served = server::serve(&settings, gateway, listener, stop()).await;
        if let Some(traces) = traces {
            traces.close().await;
        }
        served.map_err(Failure::from)
    }
}

/// Ctrl-C, or a service manager's SIGTERM.
pub(super) async fn stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

async fn demo(settings: &Settings, gateway: &Gateway) -> Result<(), Failure> {
    let url = settings.public_url.as_str().trim_end_matches('/');
    terminal::line!("");
    if gateway.snapshot().organization.is_none() {
        let file = super::apply::parse(DEMO, "toml").map_err(|error| Failure::new(format!("the demo: {error}")))?;
        let plan = apply(gateway, file, false, true).await?;
        terminal::line!("  A sample organization is set up. These passwords are printed only now:\n");
        for (user, password) in &plan.passwords {
            terminal::line!("    {:<28} {}", user.to_string(), password.expose());
        }
        terminal::line!("");
    } else {
        terminal::line!("  The sample organization is here already; its passwords were printed when it was made.");
        terminal::line!("  To start anew, stop and remove the folder {}.\n", settings.data.display());
    }
    let program = std::env::current_exe().map_or_else(|_| "daypass".to_owned(), |path| path.display().to_string());
    let profile = settings.data.join("aws-config");
    let text = format!(
        "[profile sandbox]\nregion = us-east-1\nendpoint_url = {url}\ncredential_process = \"{program}\" credential-process --account 333344445555 --role Developer\n"
    );
    write_private(&profile, &text)?;
    terminal::line!("  Three things to try:\n");
    terminal::line!("    1. Open {url} and sign in as jane@example.com.");
    terminal::line!("    2. In another terminal:  {program} login --url {url}");
    terminal::line!(
        "    3. Then:  AWS_CONFIG_FILE={} AWS_PROFILE=sandbox aws sts get-caller-identity --endpoint-url {url}\n",
        profile.canonicalize().unwrap_or(profile).display()
    );
    Ok(())
}
