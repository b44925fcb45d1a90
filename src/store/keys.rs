//! The key ring and the SAML signing key: made on first start, sealed under the master key.

use super::unavailable;
use crate::{
    crypto::seal::{KeyRing, Purpose},
    domain::{Error, ErrorKind, Random, Secret, Timestamp},
};
use sqlx::{Row as _, SqlitePool};
use std::sync::Arc;

/// The RSA key that signs SAML requests, and the certificate that our metadata publishes.
#[derive(Debug)]
pub struct SigningKey {
    /// PKCS #8, DER.
    pub private_key: Secret<Vec<u8>>,
    /// X.509, DER.
    pub certificate: Vec<u8>,
}

pub(super) async fn open_ring(
    pool: &SqlitePool,
    master_key: &[u8; 32],
    random: Arc<dyn Random>,
    now: Timestamp,
) -> Result<KeyRing, Error> {
    let master = KeyRing::new(&[(0, *master_key)], random.clone()).map_err(Error::internal)?;
    let rows = sqlx::query("SELECT id, sealed FROM ring_key ORDER BY id").fetch_all(pool).await.map_err(unavailable)?;
    let mut keys = Vec::new();
    for row in rows {
        let id: u32 = row.get("id");
        let sealed: Vec<u8> = row.get("sealed");
        let opened = master.open(Purpose::RingKey, &id.to_string(), &sealed).and_then(|key| key.try_into().ok());
        let wrong = || Error::new(ErrorKind::Unavailable, "the master key is not the one this store was made with");
        keys.push((id, opened.ok_or_else(wrong)?));
    }
    if keys.is_empty() {
        let key: [u8; 32] = random.bytes();
        let sealed = master.seal(Purpose::RingKey, "1", &key).map_err(Error::internal)?;
        sqlx::query("INSERT INTO ring_key (id, sealed, created) VALUES (1, $1, $2)")
            .bind(sealed)
            .bind(now.0)
            .execute(pool)
            .await
            .map_err(unavailable)?;
        keys.push((1, key));
    }
    KeyRing::new(&keys, random).map_err(Error::internal)
}

pub(super) async fn open_signing_key(pool: &SqlitePool, ring: &KeyRing) -> Result<SigningKey, Error> {
    const NAME: &str = "saml";
    let row = sqlx::query("SELECT sealed, certificate FROM signing_key WHERE name = $1")
        .bind(NAME)
        .fetch_optional(pool)
        .await
        .map_err(unavailable)?;
    if let Some(row) = row {
        let private_key = ring
            .open(Purpose::StoredSecret, "signing_key/saml", &row.get::<Vec<u8>, _>("sealed"))
            .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the SAML signing key in the store can't be opened"))?;
        return Ok(SigningKey { private_key: Secret::new(private_key), certificate: row.get("certificate") });
    }
    let (private_key, certificate) = make_certificate().map_err(Error::internal)?;
    let sealed = ring.seal(Purpose::StoredSecret, "signing_key/saml", &private_key).map_err(Error::internal)?;
    sqlx::query("INSERT INTO signing_key (name, sealed, certificate) VALUES ($1, $2, $3)")
        .bind(NAME)
        .bind(sealed)
        .bind(&certificate)
        .execute(pool)
        .await
        .map_err(unavailable)?;
    Ok(SigningKey { private_key: Secret::new(private_key), certificate })
}

fn make_certificate() -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
    let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Daypass");
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2050, 1, 1);
    let certificate = parameters.self_signed(&key)?;
    Ok((key.serialize_der(), certificate.der().to_vec()))
}
