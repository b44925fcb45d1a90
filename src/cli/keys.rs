//! `daypass keys`

use super::{Failure, SettingsArguments, terminal};
use crate::api::keys::{ListRingKeys, RotateRingKey, SETTLES_SECONDS};
use clap::{Args, Subcommand};

/// List or rotate the keys that seal session tokens and stored secrets.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Option<Rotate>,
    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Debug, Subcommand)]
enum Rotate {
    /// Seal with a new key from now on. What older keys sealed stays good.
    Rotate,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let gateway = self.settings.load()?.open().await?;
        let caller = gateway.operator();
        let rotated = match self.command {
            Some(Rotate::Rotate) => Some(gateway.call(&caller, RotateRingKey {}).await?),
            None => None,
        };
        let keys = gateway.call(&caller, ListRingKeys {}).await?.keys;
        gateway.broker.store.close().await;
        if terminal::json() {
            return terminal::print_json(&serde_json::json!({ "made": rotated.map(|rotated| rotated.id), "keys": keys }));
        }
        if let Some(rotated) = rotated {
            println!("Key {} is new: it seals in {} seconds.", rotated.id, SETTLES_SECONDS);
        }
        for key in keys {
            println!("key {}  made {}{}", key.id, key.created, if key.sealing { "  seals" } else { "" });
        }
        Ok(())
    }
}
