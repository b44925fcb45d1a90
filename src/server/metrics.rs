//! What operators watch, in Prometheus's text format, on an address of its own: no names of people, no keys.

use crate::{
    crypto::x509,
    domain::{Error, ErrorKind, iam::ProviderKind},
    federation::metadata,
    gateway::Gateway,
};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of histograms of durations, in seconds.
const SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Every metric: kind, name, what it is. A test looks for the names in the code, the alerts and the dashboard.
pub const METRICS: &[(Kind, &str, &str)] = &[
    (Kind::Counter, "daypass_requests_total", "Calls of operations, by operation and outcome (ok, or the class of the failure)."),
    (Kind::Histogram, "daypass_request_seconds", "How long calls took, by service."),
    (Kind::Counter, "daypass_decisions_total", "What the policy engine said: allow, deny, or refuse before it was asked."),
    (Kind::Counter, "daypass_sign_ins_total", "Sign-ins that came back from a source, by outcome and reason."),
    (Kind::Counter, "daypass_audit_records_total", "Audit records on disk, by outcome of what they are about."),
    (Kind::Counter, "daypass_audit_broken_total", "Times that the audit log was found altered, and was not signed."),
    (Kind::Gauge, "daypass_audit_export_lag_records", "Audit records that a sink has not got yet."),
    (Kind::Counter, "daypass_audit_export_failures_total", "Failed exports of audit records, by sink; they are tried again."),
    (Kind::Counter, "daypass_trace_export_failures_total", "Failed exports of traces; what they had is gone."),
    (Kind::Histogram, "daypass_store_seconds", "How long statements took, by database and outcome."),
    (Kind::Gauge, "daypass_store_connections", "Connections to the database, by pool and state."),
    (Kind::Histogram, "daypass_redis_seconds", "How long Redis took, by outcome."),
    (Kind::Counter, "daypass_known_sessions_total", "Signed calls whose session was known already, or had to be opened."),
    (
        Kind::Gauge,
        "daypass_snapshot_staleness_seconds",
        "How long ago this node last knew everything. Past 5 it decides nothing.",
    ),
    (Kind::Histogram, "daypass_snapshot_delay_seconds", "From a change of the organization until this node decided by it."),
    (Kind::Gauge, "daypass_snapshot_roles", "Roles that this node knows."),
    (Kind::Gauge, "daypass_key_age_seconds", "Age of the key that seals or signs new things, by purpose."),
    (
        Kind::Gauge,
        "daypass_certificate_ends_timestamp_seconds",
        "When a certificate or a provider's metadata ends, in seconds since 1970, by what it is of.",
    ),
    (Kind::Gauge, "daypass_http_connections", "Connections that are open."),
    (Kind::Counter, "daypass_turned_away_total", "Requests of browsers that were told to come again, because too many waited."),
    (Kind::Counter, "daypass_panics_total", "Requests that ended in a defect of the program."),
    (Kind::Gauge, "process_resident_memory_bytes", "Memory in use."),
    (Kind::Gauge, "process_open_fds", "File descriptors in use."),
    (Kind::Gauge, "process_max_fds", "File descriptors that may be in use."),
];

/// What kind a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations.
    Histogram,
}

/// Begins to count in this process.
///
/// # Errors
/// When something else counts already.
pub fn install() -> Result<PrometheusHandle, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, format!("metrics: {error}"));
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS);
    let recorder = builder.map_err(|error| failed(&error))?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| failed(&error))?;
    for (kind, name, what) in METRICS {
        match kind {
            Kind::Counter => describe_counter!(*name, *what),
            Kind::Gauge => describe_gauge!(*name, *what),
            Kind::Histogram => describe_histogram!(*name, Unit::Seconds, *what),
        }
    }
    Ok(handle)
}

/// Looks at what is not counted as it happens.
#[allow(clippy::cast_precision_loss, reason = "gauges are floating point")]
pub async fn look(gateway: &Gateway) {
    let (store, now) = (&gateway.broker.store, gateway.broker.clock.now());
    gauge!("daypass_snapshot_staleness_seconds").set(store.staleness() as f64 / 1000.0);
    let snapshot = store.snapshot();
    gauge!("daypass_snapshot_roles").set(snapshot.roles.len() as f64);
    for (pool, all, idle) in store.connections() {
        gauge!("daypass_store_connections", "pool" => pool, "state" => "idle").set(idle as f64);
        gauge!("daypass_store_connections", "pool" => pool, "state" => "busy").set(f64::from(all) - idle as f64);
    }
    if let Ok(ages) = store.key_ages().await {
        for (purpose, created) in ages {
            gauge!("daypass_key_age_seconds", "purpose" => purpose).set(now.seconds_since(created) as f64);
        }
    }
    for source in snapshot.identity_sources() {
        let ProviderKind::Saml(saml) = &source.kind else { continue };
        let Ok(idp) = metadata::parse(&saml.metadata) else { continue };
        let ends = idp.certificates.iter().filter_map(|certificate| x509::ends(&certificate.der));
        if let Some(first) = ends.chain(idp.valid_until).min() {
            let of = format!("saml:{}", source.name);
            gauge!("daypass_certificate_ends_timestamp_seconds", "of" => of).set(first.seconds() as f64);
        }
    }
    process();
}

/// What the kernel says of this process (proc(5)); nothing where there is no `/proc`.
#[allow(clippy::cast_precision_loss, reason = "gauges are floating point")]
fn process() {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    if let Some(pages) = pages {
        gauge!("process_resident_memory_bytes").set((pages * rustix::param::page_size() as u64) as f64);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(open.count() as f64);
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        gauge!("process_max_fds").set(most as f64);
    }
}
