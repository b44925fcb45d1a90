//! Our certificate, read anew when its file changes: whoever renews it need not tell the broker.

use crate::{
    config::TlsSettings,
    domain::{Error, ErrorKind, Secret, Timestamp},
};
use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{path::Path, sync::Arc, time::Duration};
use tokio_rustls::TlsAcceptor;

/// How often it is looked whether the files have changed, in seconds.
const LOOK_SECONDS: u64 = 10;

/// Certificate and key, as they were last read.
pub(super) struct Certificate {
    settings: TlsSettings,
    acceptor: ArcSwap<TlsAcceptor>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// `InvalidInput` with the file that can't be used.
    pub(super) fn read(settings: TlsSettings) -> Result<Arc<Self>, Error> {
        let (acceptor, ends) = acceptor(&settings)?;
        observe(ends);
        Ok(Arc::new(Self { settings, acceptor: ArcSwap::from_pointee(acceptor) }))
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::clone(&self.acceptor.load())
    }

    /// Reads the files again when they change. What can't be used is not: the certificate so far stays.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut known = self.state();
        loop {
            tokio::time::sleep(Duration::from_secs(LOOK_SECONDS)).await;
            let now = self.state();
            if now == known {
                continue;
            }
            match acceptor(&self.settings) {
                Ok((acceptor, ends)) => {
                    self.acceptor.store(Arc::new(acceptor));
                    observe(ends);
                    tracing::info!(until = ends.map(|ends| ends.to_string()), "the certificate was read anew");
                    known = now;
                }
                // Half of the pair may be there already: it is looked at again.
                Err(error) => tracing::warn!(error = error.public, "the new certificate can't be used; the one so far stays"),
            }
        }
    }

    fn state(&self) -> [Option<(std::time::SystemTime, u64)>; 2] {
        [&self.settings.certificate, &self.settings.private_key].map(|file| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge of seconds")]
fn observe(ends: Option<Timestamp>) {
    if let Some(ends) = ends {
        metrics::gauge!("daypass_certificate_ends_timestamp_seconds", "of" => "tls").set(ends.seconds() as f64);
    }
}

fn acceptor(tls: &TlsSettings) -> Result<(TlsAcceptor, Option<Timestamp>), Error> {
    let bad =
        |file: &Path, error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidInput, format!("{}: {error}", file.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&tls.certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| bad(&tls.certificate, &error))?;
    let pem = std::fs::read(&tls.private_key).map(Secret::new).map_err(|error| bad(&tls.private_key, &error))?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|error| bad(&tls.private_key, &error))?;
    let ends = chain.first().and_then(|leaf| crate::crypto::x509::ends(leaf));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&tls.certificate, &error))?;
    Ok((TlsAcceptor::from(Arc::new(config)), ends))
}
