//! `daypass logout`

use super::{
    Failure,
    client::BrokerClient,
    home::{BrokerChoice, Home},
    session::SavedSession,
    terminal::{self, Paint},
};
use clap::Args;
use serde_json::json;

/// Sign out: end the session at the broker, and forget it and its credentials here.
#[derive(Debug, Args)]
pub struct Logout {
    #[command(flatten)]
    broker: BrokerChoice,
}

impl Logout {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let home = Home::open(&self.broker)?;
        let session = SavedSession::load(&home)?;
        // Renewed first, where it has to be: the broker ends what it is shown.
        let session = SavedSession::fresh(&home).await.unwrap_or(session);
        let ended = BrokerClient::new(&session.url)?.log_out(&session.token.access_token).await;
        // It goes from this machine in any case.
        session.forget(&home).await?;
        match ended {
            Ok(Err(refused)) if refused.status != 401 => return Err(Failure::new(refused.message)),
            Err(failure) => {
                return Err(
                    failure.hint("It is forgotten here; at the broker it lives on. End it in the portal, under Security.")
                );
            }
            Ok(_) => {}
        }
        if terminal::json() {
            return terminal::print_json(&json!({ "url": session.url }));
        }
        terminal::note!(
            "{} of {}. Credentials that were taken live on until they end.",
            Paint::error().green("Signed out"),
            session.url
        );
        Ok(())
    }
}
