//! `daypass console`

use super::{
    Failure, RoleArguments,
    client::{BrokerClient, SavedSession},
    login::{now, open_browser},
};
use clap::Args;
use serde::Deserialize;

/// Open the console of a role in the browser.
#[derive(Debug, Args)]
pub struct Console {
    #[command(flatten)]
    role: RoleArguments,
    /// Print the link instead. It is good once, for fifteen minutes; whoever has it is you in this role.
    #[arg(long)]
    print: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SigninToken {
    signin_token: String,
}

impl Console {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let session = SavedSession::load(now())?;
        let credentials = session.role_credentials(&self.role.account, &self.role.role).await?;
        let shape = serde_json::json!({
            "sessionId": credentials.access_key_id,
            "sessionKey": credentials.secret_access_key.expose(),
            "sessionToken": credentials.session_token.expose(),
        });
        let client = BrokerClient::new(&session.url)?;
        let form = [("Action", "getSigninToken"), ("Session", &shape.to_string())];
        let token: SigninToken = client.form("/federation", &form).await?.map_err(|refused| Failure::refused(refused.message))?;
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "login")
            .append_pair("Issuer", "daypass")
            .append_pair("Destination", &format!("{}/admin", session.url))
            .append_pair("SigninToken", &token.signin_token)
            .finish();
        let link = format!("{}/federation?{query}", session.url);
        if self.print {
            println!("{link}");
        } else if open_browser(&link) {
            eprintln!("The console of {} opens in your browser.", self.role.role);
        } else {
            return Err(Failure::new("there is no browser to open").hint("add --print for the link"));
        }
        Ok(())
    }
}
