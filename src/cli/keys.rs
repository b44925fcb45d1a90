//! `daypass keys`

use super::{Failure, SettingsArguments, terminal};
use crate::api::keys::{KeyPurpose, ListRingKeys, ListSigningKeys, RotateRingKey, RotateSigningKey, SETTLES_SECONDS};
use clap::{Args, Subcommand, ValueEnum};

/// List the keys of the broker with their ages, or have new ones follow them.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Option<KeysCommand>,
    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a new key. It is published at once, and takes over when others have had time to read it.
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Rotate {
    /// What it is for.
    #[arg(value_enum, default_value = "ring")]
    key: Key,
    /// It takes over now, and those before it count no more: for when somebody else knows one of them.
    #[arg(long)]
    at_once: bool,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Key {
    /// Seals session tokens and stored secrets.
    Ring,
    /// Signs our SAML requests and metadata.
    Saml,
    /// Decrypts SAML assertions.
    SamlEncryption,
    /// Authenticates us at OpenID providers.
    OidcClient,
    /// Signs web identity tokens, RSA.
    TokenRs256,
    /// Signs web identity tokens, P-384.
    TokenEs384,
    /// Signs the audit log.
    Audit,
}

impl Key {
    const fn purpose(self) -> Option<KeyPurpose> {
        Some(match self {
            Self::Ring => return None,
            Self::Saml => KeyPurpose::Saml,
            Self::SamlEncryption => KeyPurpose::SamlEncryption,
            Self::OidcClient => KeyPurpose::OidcClient,
            Self::TokenRs256 => KeyPurpose::TokenRs256,
            Self::TokenEs384 => KeyPurpose::TokenEs384,
            Self::Audit => KeyPurpose::Audit,
        })
    }
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(KeysCommand::Rotate(Rotate { key: Key::Ring, at_once: true })) = self.command {
            return Err(Failure::new("what the ring sealed is opened with the key that sealed it: older keys of it stay")
                .hint("To end every session: daypass revoke --everything"));
        }
        if let Some(KeysCommand::Rotate(Rotate { key: Key::Audit, at_once: true })) = self.command {
            return Err(Failure::new("what an old key of the audit log signed has to be proved with it: it stays")
                .hint("Rotate without --at-once; it takes over now all the same. Note a head elsewhere: daypass audit verify"));
        }
        let gateway = self.settings.open().await?;
        let caller = gateway.operator();
        let mut made = None;
        if let Some(KeysCommand::Rotate(Rotate { key, at_once })) = self.command {
            made = Some(match key.purpose() {
                None => {
                    let rotated = gateway.call(&caller, RotateRingKey {}).await?;
                    (format!("ring/{}", rotated.id), format!("it seals in {SETTLES_SECONDS} seconds"))
                }
                Some(purpose) => {
                    let rotated = gateway.call(&caller, RotateSigningKey { purpose, at_once }).await?;
                    (rotated.name, format!("it takes over on {}", rotated.signs))
                }
            });
        }
        let ring = gateway.call(&caller, ListRingKeys {}).await?.keys;
        let signing = gateway.call(&caller, ListSigningKeys {}).await?.keys;
        let now = gateway.broker.clock.now();
        gateway.broker.store.close().await;
        if terminal::json() {
            let made = made.map(|(name, _)| name);
            return terminal::print_json(&serde_json::json!({ "made": made, "ring": ring, "keys": signing }));
        }
        if let Some((name, takes_over)) = made {
            terminal::line!("{name} is new: {takes_over}.");
        }
        let line = |name: &str, created, now_used: &str| {
            let days = now.seconds_since(created).div_euclid(86_400);
            terminal::line!("{name:<32} {days:>5} days  {now_used}");
        };
        for key in ring {
            line(&format!("ring/{}", key.id), key.created, if key.sealing { "seals" } else { "opens" });
        }
        for key in signing {
            line(&key.name, key.created, if key.signs { "in use" } else { "published" });
        }
        Ok(())
    }
}
