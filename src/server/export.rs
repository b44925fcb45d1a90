//! The audit log to other places: a file, syslog, a webhook. Each record arrives at least once, in order; a place that is away is
//! tried again, with pauses that grow, and gets what it missed.

use crate::{
    api::audit_log::AuditEvent,
    config::AuditSettings,
    domain::{Error, ErrorKind, Secret},
    gateway::Gateway,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};
use tokio_rustls::TlsConnector;
use url::Url;

/// How often it is looked for new records, in milliseconds.
const LOOK_MILLISECONDS: u64 = 1000;
/// Most records at once; half of them after each failure, since a receiver may have a limit.
const BATCH: u32 = 200;
/// Longest record that is sent whole, in bytes; over UDP, where one is one packet.
const MAX_RECORD: usize = 200 * 1024;
const MAX_PACKET: usize = 60 * 1024;
/// Longest pause after a failure, in seconds.
const LONGEST_PAUSE: u64 = 60;
/// How long a place may take, in seconds.
const PATIENCE: u64 = 10;
/// `authpriv`, informational (RFC 5424 section 6.2.1).
const PRIORITY: u8 = 10 * 8 + 6;

/// A place that records go to.
#[derive(Clone, Debug)]
pub enum Sink {
    /// JSON, one record a line.
    File(PathBuf),
    /// RFC 5424.
    Syslog {
        /// Host and port.
        address: String,
        /// How it gets there.
        transport: Transport,
    },
    /// POST of `{"Records": […]}`, as CloudTrail's files are.
    Webhook {
        /// https.
        url: Url,
        /// Sent as a bearer token.
        token: Option<Secret<String>>,
    },
}

/// How syslog messages travel.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Packets, which are lost where nobody hears (RFC 5426).
    Udp,
    /// A stream with octet counts (RFC 6587).
    Tcp,
    /// The same, to a server that proves to have a name, so that nobody between reads or changes it (RFC 5425).
    Tls(Arc<ClientConfig>, ServerName<'static>),
}

impl Sink {
    /// The name that its progress is kept under.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Syslog { .. } => "syslog",
            Self::Webhook { .. } => "webhook",
        }
    }

    async fn send(&self, gateway: &Gateway, records: &[AuditEvent]) -> Result<(), String> {
        let work = async {
            match self {
                Self::File(file) => append(file, records).map_err(|error| format!("{}: {error}", file.display())),
                Self::Syslog { address, transport } => {
                    syslog(gateway, address, transport, records).await.map_err(|error| format!("{address}: {error}"))
                }
                Self::Webhook { url, token } => {
                    let body = json!({ "Records": records.iter().map(|record| whole(record, MAX_RECORD)).collect::<Vec<_>>() })
                        .to_string();
                    let token = token.as_ref().map(|token| token.expose().as_str());
                    gateway
                        .broker
                        .federation
                        .post_json(url, body, token)
                        .await
                        .map_err(|error| error.private.unwrap_or(error.public))
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(PATIENCE), work).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }
}

/// A record, and its place in the chain: noted elsewhere, it shows whether the log was cut. One that is too long is sent without
/// what makes it so.
fn whole(record: &AuditEvent, most: usize) -> serde_json::Value {
    let mut whole = record.cloud_trail();
    if let Some(members) = whole.as_object_mut() {
        members.insert("sequence".to_owned(), json!(record.sequence));
        members.insert("chainHash".to_owned(), json!(record.hash));
    }
    let size = whole.to_string().len();
    if size > most
        && let Some(members) = whole.as_object_mut()
    {
        members.remove("requestParameters");
        members.insert("additionalEventData".to_owned(), json!({ "omitted": format!("{size} bytes") }));
    }
    whole
}

fn append(file: &PathBuf, records: &[AuditEvent]) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let lines: String = records.iter().map(|record| format!("{}\n", whole(record, usize::MAX))).collect();
    // Opened each time: whoever rotates it need not tell.
    let mut handle = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    handle.write_all(lines.as_bytes())?;
    handle.sync_data()
}

async fn syslog(gateway: &Gateway, address: &str, transport: &Transport, records: &[AuditEvent]) -> std::io::Result<()> {
    let host = gateway.broker.federation.addresses.public_url.host_str().unwrap_or("-");
    let message = |record: &AuditEvent, most| {
        format!("<{PRIORITY}>1 {} {host} daypass - {} - {}", record.time, record.event_name, whole(record, most))
    };
    let counted = || records.iter().map(|record| message(record, MAX_RECORD)).map(|text| format!("{} {text}", text.len()));
    match transport {
        Transport::Udp => {
            let socket = UdpSocket::bind("[::]:0").await.or(UdpSocket::bind("0.0.0.0:0").await)?;
            for record in records {
                socket.send_to(message(record, MAX_PACKET).as_bytes(), address).await?;
            }
            Ok(())
        }
        Transport::Tcp => stream(TcpStream::connect(address).await?, counted()).await.map(drop),
        Transport::Tls(config, name) => {
            let socket = TcpStream::connect(address).await?;
            let mut said = stream(TlsConnector::from(config.clone()).connect(name.clone(), socket).await?, counted()).await?;
            // Closed with tickets of the server unread, the kernel would throw away what is still on its way: the server closes first.
            match tokio::io::copy(&mut said, &mut tokio::io::sink()).await {
                Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
                Ok(_) | Err(_) => Ok(()),
            }
        }
    }
}

async fn stream<S: AsyncWrite + Unpin>(mut stream: S, messages: impl Iterator<Item = String>) -> std::io::Result<S> {
    for message in messages {
        stream.write_all(message.as_bytes()).await?;
    }
    // Nothing comes back; that the other end took it all is as much as can be known.
    stream.shutdown().await.map(|()| stream)
}

/// What a syslog server has to prove itself by: an authority of the settings, or those of the machine.
fn trust(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let bad = |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidInput, format!("audit.syslog: {error}"));
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| bad(&error))?;
    let Some(file) = ca_file else {
        let machine = rustls_platform_verifier::Verifier::new(provider).map_err(|error| bad(&error))?;
        return Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(machine)).with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(file).map_err(|error| bad(&format!("{}: {error}", file.display())))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| bad(&format!("{}: {error}", file.display())))?;
        roots.add(certificate).map_err(|error| bad(&format!("{}: {error}", file.display())))?;
    }
    if roots.is_empty() {
        return Err(bad(&format!("{}: no certificate is in it", file.display())));
    }
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Exports to a place until it is dropped.
pub(super) async fn follow(gateway: Gateway, sink: Sink) {
    let (node, name) = (gateway.broker.random.uuid(), sink.name());
    let (mut pause, mut most) = (0, BATCH);
    loop {
        tokio::time::sleep(Duration::from_millis(LOOK_MILLISECONDS) + Duration::from_secs(pause)).await;
        loop {
            match step(&gateway, &sink, &node, most).await {
                Ok(0) => break,
                Ok(_) => (pause, most) = (0, (most * 2).min(BATCH)),
                Err(why) => {
                    (pause, most) = ((pause * 2).clamp(1, LONGEST_PAUSE), (most / 2).max(1));
                    metrics::counter!("daypass_audit_export_failures_total", "sink" => name).increment(1);
                    tracing::warn!(sink = name, why, "audit records could not be exported; it is tried again");
                    break;
                }
            }
        }
    }
}

async fn step(gateway: &Gateway, sink: &Sink, node: &str, most: u32) -> Result<usize, String> {
    let store = &gateway.broker.store;
    let told = |error: Error| error.private.unwrap_or(error.public);
    let records = store.unexported(sink.name(), node, most).await.map_err(told)?;
    let Some(last) = records.last() else { return Ok(0) };
    sink.send(gateway, &records).await?;
    store.exported(sink.name(), node, last.sequence).await.map_err(told)?;
    Ok(records.len())
}

/// The places that the settings name.
///
/// # Errors
/// `InvalidInput` with what was expected.
pub fn sinks(settings: &AuditSettings) -> Result<Vec<Sink>, Error> {
    let bad = |message: String| Error::new(ErrorKind::InvalidInput, message);
    let mut sinks = Vec::new();
    sinks.extend(settings.file.clone().map(Sink::File));
    if let Some(text) = &settings.syslog {
        let (scheme, address) = text.split_once("://").unwrap_or(("", text));
        let transport = match scheme {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => {
                let name = address.rsplit_once(':').map_or(address, |(name, _)| name).trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(name).map_err(|error| bad(format!("audit.syslog: `{text}`: {error}")))?;
                Transport::Tls(Arc::new(trust(settings.syslog_ca_file.as_deref())?), name)
            }
            _ => {
                return Err(bad(format!("audit.syslog: `{text}`: expected tls://host:port, tcp://host:port or udp://host:port")));
            }
        };
        if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(bad(format!("audit.syslog: `{text}`: expected a port")));
        }
        if settings.syslog_ca_file.is_some() && scheme != "tls" {
            return Err(bad("audit.syslog_ca_file: it is of use with tls:// alone".to_owned()));
        }
        sinks.push(Sink::Syslog { address: address.to_owned(), transport });
    }
    if let Some(url) = &settings.webhook {
        // It may hold a key: no error repeats it.
        let url = Url::parse(url.expose()).ok().filter(crate::federation::metadata::is_safe);
        let url = url.ok_or_else(|| bad("audit.webhook: expected an https address, or http on a loopback address".to_owned()))?;
        let token = settings.webhook_token_file.as_deref().map(crate::config::read_private).transpose()?;
        sinks.push(Sink::Webhook { url, token });
    }
    Ok(sinks)
}

/// How far behind places are, for metrics.
#[allow(clippy::cast_precision_loss, reason = "a gauge of records")]
pub(super) async fn look(gateway: &Gateway, sinks: &[Sink]) {
    for sink in sinks {
        if let Ok(lag) = gateway.broker.store.export_lag(sink.name()).await {
            metrics::gauge!("daypass_audit_export_lag_records", "sink" => sink.name()).set(lag as f64);
        }
    }
}
