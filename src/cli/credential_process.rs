//! `daypass credential-process`

use super::{
    Failure, RoleArguments,
    client::{RoleCredentials, SavedSession, home, keep},
    login::now,
};
use crate::{crypto::sha256_hex, domain::Timestamp};
use clap::Args;
use std::{fs, path::PathBuf};

/// Print credentials of a role as JSON, for `credential_process` in ~/.aws/config.
#[derive(Debug, Args)]
pub struct CredentialProcess {
    #[command(flatten)]
    role: RoleArguments,
}

/// Credentials are taken anew when they have less than this left, in seconds.
const FRESH_SECONDS: i64 = 300;

impl CredentialProcess {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let credentials = credentials(&self.role).await?;
        // This command exists to hand these out; SDKs read them from its standard output.
        let answer = serde_json::json!({
            "Version": 1,
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key.expose(),
            "SessionToken": credentials.session_token.expose(),
            "Expiration": Timestamp(credentials.expiration).to_string(),
            "AccountId": self.role.account,
        });
        println!("{answer}");
        Ok(())
    }
}

/// From the cache while they are fresh, else from the broker.
async fn credentials(role: &RoleArguments) -> Result<RoleCredentials, Failure> {
    let session = SavedSession::load(now())?;
    // Bound to the session: credentials of the last sign-in do not outlive it here.
    let name = sha256_hex(format!("{} {} {} {}", session.url, session.access_token.expose(), role.account, role.role));
    let file: PathBuf = home()?.join("credentials").join(format!("{name}.json"));
    let cached: Option<RoleCredentials> = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
    if let Some(cached) = cached.filter(|cached| Timestamp(cached.expiration) > now().plus_seconds(FRESH_SECONDS)) {
        return Ok(cached);
    }
    let fresh = session.role_credentials(&role.account, &role.role).await?;
    keep(&file, &fresh)?;
    Ok(fresh)
}
