//! `daypass credential-process`

use super::{
    Failure, RoleArguments,
    home::{BrokerChoice, Home},
    session::{SavedSession, role_credentials_or_left},
    terminal::print,
    wait,
};
use crate::domain::Timestamp;
use clap::Args;

/// Print credentials of a role as JSON, for `credential_process` in ~/.aws/config.
#[derive(Debug, Args)]
pub struct CredentialProcess {
    #[command(flatten)]
    role: RoleArguments,
    #[command(flatten)]
    broker: BrokerChoice,
}

impl CredentialProcess {
    /// Programs call this again and again: what is there already is answered without a network, or threads for one.
    pub(super) fn run(self) -> Result<(), Failure> {
        let (home, RoleArguments { account, role }) = (Home::open(&self.broker)?, self.role);
        let credentials = match SavedSession::load(&home)?.cached(&home, &account, &role) {
            Some(cached) => cached,
            None => wait(role_credentials_or_left(&home, &account, &role))?,
        };
        // This command exists to hand these out; SDKs read them from its standard output.
        let answer = serde_json::json!({
            "Version": 1,
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key.expose(),
            "SessionToken": credentials.session_token.expose(),
            "Expiration": Timestamp(credentials.expiration).to_string(),
            "AccountId": account,
        });
        print(&format!("{answer}\n"));
        Ok(())
    }
}
