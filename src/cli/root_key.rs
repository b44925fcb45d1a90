//! `daypass root-key`

use super::{Failure, SettingsArguments, terminal};
use crate::{api::iam::access_keys::CreateRootAccessKey, domain::name::AccountId};
use clap::Args;

/// Make an access key for the root user of an account, on the broker's own machine. For when nobody else can sign in.
#[derive(Debug, Args)]
pub struct RootKey {
    /// Twelve digits.
    account: String,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl RootKey {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let account_id = AccountId::parse(&self.account)
            .map_err(|_| Failure::new(format!("`{}` is no account", self.account)).hint("An account is twelve digits."))?;
        let gateway = self.settings.open().await?;
        let made = gateway.call(&gateway.operator(), CreateRootAccessKey { account_id }).await;
        gateway.broker.store.close().await;
        let key = made?.access_key;
        if terminal::json() {
            return terminal::print_json(&key);
        }
        terminal::line!("aws_access_key_id = {}", key.access_key_id);
        terminal::line!("aws_secret_access_key = {}", key.secret_access_key.expose());
        terminal::note!("The secret is shown only now. Delete the key when you are done: aws iam delete-access-key.");
        Ok(())
    }
}
