//! `daypass explain`

use super::{Failure, SettingsArguments, policy::show, terminal};
use crate::gateway::receipt::Receipt;
use clap::Args;
use std::io::Read as _;

/// Say why somebody was refused, from the encoded authorization message in the refusal.
#[derive(Debug, Args)]
pub struct Explain {
    /// The encoded message; `-` reads it from standard input. The whole refusal is fine, too.
    #[arg(value_name = "MESSAGE")]
    message: String,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut text = self.message;
        if text == "-" {
            text.clear();
            std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::new(error.to_string()))?;
        }
        // People paste what they see.
        let encoded = text.split_whitespace().max_by_key(|word| word.len()).unwrap_or_default();
        let gateway = self.settings.load()?.open().await?;
        let receipt = Receipt::open(gateway.broker.store.ring(), encoded);
        gateway.broker.store.close().await;
        let receipt = receipt.ok_or_else(|| {
            Failure::new("this is no encoded authorization message of this broker")
                .hint("It stands in the refusal, after \"Encoded authorization failure message:\".")
        })?;
        if terminal::json() {
            return terminal::print_json(&receipt);
        }
        println!("{}", receipt.time);
        print!("{}", show(&receipt.explanation, &receipt.principal));
        Ok(())
    }
}
