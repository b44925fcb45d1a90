//! `daypass explain`

use super::{
    Failure, SettingsArguments,
    client::BrokerClient,
    home::{BrokerChoice, Home},
    login::now,
    policy::{say, show},
    role::RoleChoice,
    session::{SavedSession, role_credentials},
    signature::Draft,
    terminal,
};
use crate::{
    domain::Timestamp,
    gateway::receipt::Receipt,
    policy::{Explanation, decision::PolicyTrace},
};
use clap::Args;
use serde::Deserialize;
use std::io::Read as _;

/// Say why somebody was refused, from the encoded authorization message in the refusal.
///
/// On the broker's own machine its store is read. Anywhere else the broker is asked, with a role of yours that may
/// `sts:DecodeAuthorizationMessage`, in the account of whoever was refused or of what they asked for.
#[derive(Debug, Args)]
pub struct Explain {
    /// The encoded message; `-` reads it from standard input. The whole refusal is fine, too.
    #[arg(value_name = "RECEIPT")]
    message: String,
    #[command(flatten)]
    role: RoleChoice,
    #[command(flatten)]
    broker: BrokerChoice,
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
        let encoded = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).max_by_key(|word| word.len());
        let encoded = encoded.unwrap_or_default();
        let settings = self.settings.load()?;
        let receipt = match !self.role.is_given() && (self.settings.are_given() || settings.has_store()) {
            true => {
                let gateway = self.settings.open().await?;
                let receipt = Receipt::open(gateway.broker.store.ring(), encoded);
                gateway.broker.store.close().await;
                receipt
                    .ok_or_else(|| unknown("of the broker on this machine").hint("of another one: add a ROLE of yours there"))?
            }
            false => of_broker(&self.broker, self.role, encoded).await?,
        };
        if terminal::json() {
            return terminal::print_json(&receipt);
        }
        say(&format!("{}\n{}", receipt.time, show(&receipt.explanation, &receipt.principal)));
        Ok(())
    }
}

fn unknown(whose: &str) -> Failure {
    Failure::new(format!("this is no encoded authorization message {whose}"))
        .hint("It stands in the refusal, after \"Encoded authorization failure message:\".")
}

/// Asks the broker that the person is signed in to (STS, `DecodeAuthorizationMessage`).
async fn of_broker(broker: &BrokerChoice, choice: RoleChoice, encoded: &str) -> Result<Receipt, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        decode_authorization_message_response: Response,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Response {
        decode_authorization_message_result: Decoded,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Decoded {
        decoded_message: String,
    }
    let home = Home::open(broker)?;
    let (account, role) = choice.resolve(&home).await?;
    let asking = async {
        let credentials = role_credentials(&home, &account, &role).await?;
        let form = [("Action", "DecodeAuthorizationMessage"), ("Version", "2011-06-15"), ("EncodedMessage", encoded)];
        let draft = Draft {
            path: "/",
            service: "sts",
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ],
            body: url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish(),
            time: now(),
        };
        let client = BrokerClient::new(&SavedSession::load(&home)?.url)?;
        draft.send_as::<Answer>(&client, &credentials).await
    };
    let answer = asking.await?.map_err(|refused| match refused.code.as_str() {
        "InvalidAuthorizationMessageException" => unknown("that this role may read"),
        "AccessDenied" => Failure::refused(format!("{account}/{role} may not sts:DecodeAuthorizationMessage"))
            .hint("say another ROLE: daypass roles"),
        _ => Failure::from(refused),
    })?;
    let strange = || Failure::new("the broker's answer is no decoded message");
    let text = answer.decode_authorization_message_response.decode_authorization_message_result.decoded_message;
    let message: Message = serde_json::from_str(&text).map_err(|_| strange())?;
    let MessageContext { principal, action, resource } = message.context;
    Ok(Receipt {
        accounts: Vec::new(),
        time: Timestamp::parse(&message.time).ok_or_else(strange)?,
        principal: principal.arn,
        explanation: Explanation {
            action,
            resource,
            allowed: message.allowed,
            explicit_deny: message.explicit_deny,
            reason: message.reason,
            policies: message.policies,
        },
    })
}

/// A decoded message (STS API reference, `DecodeAuthorizationMessage`), with the reasons that a Daypass broker adds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    allowed: bool,
    explicit_deny: bool,
    context: MessageContext,
    time: String,
    reason: String,
    policies: Vec<PolicyTrace>,
}

#[derive(Deserialize)]
struct MessageContext {
    principal: MessagePrincipal,
    action: String,
    resource: String,
}

#[derive(Deserialize)]
struct MessagePrincipal {
    arn: String,
}
