//! `daypass revoke` and `daypass sessions`

use super::{Failure, SettingsArguments, terminal};
use crate::{
    api::sts::sessions::{ListSessions, RevokeSessions, Revoked},
    domain::{Arn, Timestamp},
};
use clap::Args;

/// End sessions before their time: on this machine's broker at once, on other nodes within a second.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true))]
pub struct Revoke {
    /// One session, by access key id (ASIA…).
    #[arg(long, value_name = "KEY", group = "who")]
    session: Option<String>,
    /// Sessions of a role.
    #[arg(long, value_name = "ARN", group = "who")]
    role: Option<String>,
    /// Everything a person holds, as provider:subject.
    #[arg(long, value_name = "PERSON", group = "who")]
    person: Option<String>,
    /// Everything with a source identity.
    #[arg(long, value_name = "IDENTITY", group = "who")]
    source_identity: Option<String>,
    /// Everything that began with an identity provider.
    #[arg(long, value_name = "NAME", group = "who")]
    provider: Option<String>,
    /// Every session of the broker.
    #[arg(long, group = "who")]
    everything: bool,
    /// Sessions issued later live on, as 2026-11-24T12:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Revoke {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let before = match &self.before {
            Some(text) => Some(Timestamp::parse(text).ok_or_else(|| {
                Failure::new(format!("--before: `{text}` is no time")).hint("For example 2026-11-24T12:00:00Z")
            })?),
            None => None,
        };
        let role = self.role.as_deref().map(Arn::parse).transpose().map_err(Failure::from)?;
        let named = [
            self.session.map(Revoked::Session),
            role.map(Revoked::Role),
            self.person.map(Revoked::Person),
            self.source_identity.map(Revoked::SourceIdentity),
            self.provider.map(Revoked::Provider),
            self.everything.then_some(Revoked::Everything),
        ];
        let who = named.into_iter().flatten().next().ok_or_else(|| Failure::new("say whose sessions"))?;
        let gateway = self.settings.open().await?;
        let revoked = gateway.call(&gateway.operator(), RevokeSessions { who, before }).await?;
        gateway.broker.store.close().await;
        if terminal::json() {
            return terminal::print_json(&revoked);
        }
        terminal::line!("Ended: {}, issued until {}.", revoked.scope, revoked.before);
        Ok(())
    }
}

/// List live role sessions: who, from where, until when.
#[derive(Debug, Args)]
pub struct Sessions {
    /// Of this role only.
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// Of this person only, as provider:subject.
    #[arg(long, value_name = "PERSON")]
    person: Option<String>,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Sessions {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let role_arn = self.role.as_deref().map(Arn::parse).transpose().map_err(Failure::from)?;
        let gateway = self.settings.open().await?;
        let listed = gateway.call(&gateway.operator(), ListSessions { role_arn, person: self.person }).await?.sessions;
        gateway.broker.store.close().await;
        if terminal::json() {
            return terminal::print_json(&listed);
        }
        if listed.is_empty() {
            terminal::line!("No live sessions.");
        }
        for session in &listed {
            terminal::line!("{}", session.arn);
            terminal::line!("  {}  {}  from {}", session.access_key_id, terminal::harmless(&session.person), session.source_ip);
            terminal::line!("  issued {}, until {}", session.issued, session.expires);
        }
        Ok(())
    }
}
