//! `daypass doctor --server`: what keeps a broker from working, looked at on its machine.

use super::{Finding, broker};
use crate::{
    api::keys::ListRingKeys,
    cli::{Failure, terminal},
    config::Settings,
    crypto::x509,
    domain::{Timestamp, iam::ProviderKind},
    federation::metadata,
    gateway::Gateway,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::os::unix::fs::PermissionsExt as _;

/// A certificate that ends sooner is worth a word, in days.
const SOON_DAYS: i64 = 14;
/// A ring that seals for longer, too.
const OLD_RING_DAYS: i64 = 60;

/// Every look, from the settings to the outside.
pub(super) async fn look(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let mut findings = vec![Finding::ok("settings", format!("the broker is {}", settings.public_url)), data(settings)];
    findings.push(match settings.master_key_in_use() {
        Ok(_) => Finding::ok("master key", "it can be read, by its owner alone"),
        Err(error) => Finding::problem("master key", error.public, "Restore it from where you keep it apart from backups."),
    });
    match settings.open().await {
        Ok(gateway) => {
            findings.extend(inside(&gateway, settings).await?);
            gateway.broker.store.close().await;
        }
        Err(error) => {
            let why = error.private.unwrap_or(error.public);
            let fix = "Is the database up, and the master key the one of this store?";
            findings.push(Finding::problem("store", why, fix));
        }
    }
    findings.extend(certificate(settings));
    findings.push(descriptors(settings));
    let url = settings.public_url.as_str().trim_end_matches('/').to_owned();
    findings.extend(terminal::waiting("Asking the broker", broker(&url)).await.1);
    Ok(findings)
}

/// The data folder is the broker's alone.
fn data(settings: &Settings) -> Finding {
    let shown = settings.data.display();
    match std::fs::metadata(&settings.data) {
        Err(_) if settings.postgres.is_some() => Finding::ok("data folder", "none is needed"),
        Err(error) => Finding::problem("data folder", format!("{shown}: {error}"), "Start the broker once, or set `data`."),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            Finding::problem("data folder", format!("others may look into {shown}"), format!("Run: chmod 700 {shown}"))
        }
        Ok(_) => Finding::ok("data folder", format!("{shown} is readable by its owner alone")),
    }
}

/// What an open store tells.
async fn inside(gateway: &Gateway, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let (store, now) = (&gateway.broker.store, gateway.broker.clock.now());
    let place = if settings.postgres.is_some() { "PostgreSQL" } else { "the embedded store" };
    let snapshot = store.snapshot();
    let mut findings = vec![match &snapshot.organization {
        Some(organization) => Finding::ok("store", format!("{place}: {}, {} roles", organization.name, snapshot.roles.len())),
        None => Finding::warning("store", format!("{place}: there is no organization"), "Run: daypass apply FILE"),
    }];
    if settings.redis.is_some() {
        findings.push(match store.ephemeral().reach().await {
            Ok(()) => Finding::ok("redis", "it answers"),
            Err(error) => Finding::problem(
                "redis",
                error.private.unwrap_or(error.public),
                "Without it nobody can sign in; signed calls go on.",
            ),
        });
    }
    let ring = gateway.call(&gateway.operator(), ListRingKeys {}).await?.keys;
    if let Some(key) = ring.iter().find(|key| key.sealing) {
        let days = now.seconds_since(key.created).div_euclid(86_400);
        let what = format!("the ring's key is {days} days old");
        findings.push(match days > OLD_RING_DAYS {
            true => Finding::warning("keys", what, "Set keys.ring_days, or run: daypass keys rotate"),
            false => Finding::ok("keys", what),
        });
    }
    for source in snapshot.identity_sources() {
        let ProviderKind::Saml(saml) = &source.kind else { continue };
        let name = format!("source {}", source.name);
        let ends = metadata::parse(&saml.metadata).ok().and_then(|idp| {
            let certificates = idp.certificates.iter().filter_map(|certificate| x509::ends(&certificate.der));
            certificates.chain(idp.valid_until).min()
        });
        if let Some(ends) = ends {
            findings.push(ending("certificates", &name, ends, now, "Ask the provider for its next metadata."));
        }
    }
    Ok(findings)
}

fn ending(check: &'static str, what: &str, ends: Timestamp, now: Timestamp, fix: &str) -> Finding {
    let days = ends.seconds_since(now).div_euclid(86_400);
    match days {
        ..0 => Finding::problem(check, format!("{what}: it ended {} days ago", -days), fix),
        0..SOON_DAYS => Finding::warning(check, format!("{what}: it ends in {days} days"), fix),
        _ => Finding::ok(check, format!("{what}: it ends in {days} days")),
    }
}

/// Our own certificate.
fn certificate(settings: &Settings) -> Option<Finding> {
    let tls = settings.tls.as_ref()?;
    let chain: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_file_iter(&tls.certificate).and_then(Iterator::collect);
    let file = tls.certificate.display().to_string();
    Some(match chain.map(|chain| chain.first().and_then(|leaf| x509::ends(leaf))) {
        Ok(Some(ends)) => ending("tls", &file, ends, super::now(), "Renew it: the broker reads it anew by itself."),
        Ok(None) => Finding::problem("tls", format!("{file} holds no certificate"), "Expected PEM, leaf first."),
        Err(error) => Finding::problem("tls", format!("{file}: {error}"), "Expected PEM, leaf first."),
    })
}

/// There is a file descriptor for each connection.
fn descriptors(settings: &Settings) -> Finding {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = settings.max_connections as u64 + 100;
    let what = format!("{most} are allowed here, {wanted} are needed for max_connections");
    match most < wanted {
        true => Finding::warning("file descriptors", what, "Raise LimitNOFILE of the service, or lower max_connections."),
        false => Finding::ok("file descriptors", what),
    }
}
