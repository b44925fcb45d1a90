//! The key ring, the SAML signing key and the keys of web identity tokens: made on first start, sealed under the master key.

use super::{
    Store, WriteTx,
    sql::{self, Database},
};
use crate::{
    crypto::{
        private_key_pem,
        seal::{KeyRing, Purpose, RingKey},
    },
    domain::{Error, ErrorKind, Random, Secret, Timestamp},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// An RSA key of ours for SAML, and the certificate that our metadata publishes for it.
#[derive(Debug)]
pub struct CertifiedKey {
    /// PKCS #8, DER.
    pub private_key: Secret<Vec<u8>>,
    /// X.509, DER.
    pub certificate: Vec<u8>,
}

/// A new ring key opens at once and seals after so many seconds: until then every node has read it.
pub const RING_KEY_SETTLES_SECONDS: i64 = 10;

/// A key of the ring, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RingKeyInfo {
    /// Stands in the clear in everything it seals.
    pub id: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether new things are sealed with it.
    pub sealing: bool,
}

/// What seals the ring's own keys.
pub(super) fn master_ring(master_key: &[u8; 32], random: Arc<dyn Random>) -> Result<KeyRing, Error> {
    let key = RingKey { id: 0, key: Secret::new(*master_key), seals: true };
    KeyRing::new(&[key], random).map_err(Error::internal)
}

/// The ring's keys; the first one is made when there is none.
pub(super) async fn read_ring(
    pool: &Database,
    master: &KeyRing,
    random: &dyn Random,
    now: Timestamp,
) -> Result<(Vec<RingKey>, Vec<RingKeyInfo>), Error> {
    let rows = sql::query("SELECT id, sealed, created FROM ring_key ORDER BY id").fetch_all(pool).await?;
    let (mut keys, mut infos) = (Vec::new(), Vec::new());
    for row in rows {
        let id: u32 = row.get("id");
        let sealed: Vec<u8> = row.get("sealed");
        let opened = master.open(Purpose::RingKey, &id.to_string(), &sealed).and_then(|key| key.try_into().ok());
        let wrong = || Error::new(ErrorKind::Unavailable, "the master key is not the one this store was made with");
        let created = Timestamp(row.get("created"));
        // The first has no other before it.
        let seals = keys.is_empty() || created.plus_seconds(RING_KEY_SETTLES_SECONDS) <= now;
        keys.push(RingKey { id, key: Secret::new(opened.ok_or_else(wrong)?), seals });
        infos.push(RingKeyInfo { id, created, sealing: false });
    }
    if keys.is_empty() {
        let key: [u8; 32] = random.bytes();
        let sealed = master.seal(Purpose::RingKey, "1", &key).map_err(Error::internal)?;
        sql::query("INSERT INTO ring_key (id, sealed, created) VALUES (1, $1, $2)")
            .bind(sealed)
            .bind(now.0)
            .execute(pool)
            .await?;
        keys.push(RingKey { id: 1, key: Secret::new(key), seals: true });
        infos.push(RingKeyInfo { id: 1, created: now, sealing: false });
    }
    let sealing = keys.iter().filter(|key| key.seals).map(|key| key.id).max();
    for info in &mut infos {
        info.sealing = Some(info.id) == sealing;
    }
    Ok((keys, infos))
}

impl Store {
    /// When the keys were made that seal and sign new things, by purpose.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn key_ages(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        let mut ages = vec![];
        ages.extend(self.renew_ring().await?.into_iter().filter(|key| key.sealing).map(|key| ("ring".to_owned(), key.created)));
        Ok(ages)
    }
}

impl WriteTx<'_> {
    /// Adds a key to the ring.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add_ring_key(&mut self, key: &Secret<[u8; 32]>, now: Timestamp) -> Result<u32, Error> {
        let row = sql::query("SELECT max(id) AS newest FROM ring_key").fetch_one(&mut self.tx).await?;
        let id = row.get::<u32>("newest") + 1;
        let sealed = self.store.master.seal(Purpose::RingKey, &id.to_string(), key.expose()).map_err(Error::internal)?;
        let insert = sql::query("INSERT INTO ring_key (id, sealed, created) VALUES ($1, $2, $3)");
        self.execute(insert.bind(id).bind(sealed).bind(now.0)).await?;
        Ok(id)
    }
}

/// What a certified key is for; one key has one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SamlPurpose {
    /// Our requests and metadata.
    Signing,
    /// Assertions encrypted to us.
    Encryption,
}

impl SamlPurpose {
    const fn row(self) -> &'static str {
        match self {
            Self::Signing => "saml",
            Self::Encryption => "saml-encryption",
        }
    }
}

/// Reads a key; it is made when there is none.
pub(super) async fn open_certified_key(pool: &Database, ring: &KeyRing, purpose: SamlPurpose) -> Result<CertifiedKey, Error> {
    open_row(pool, ring, purpose.row(), make_certificate).await
}

/// A private key by its name, PKCS #8, with its certificate where it has one; it is made when there is none.
async fn open_row(
    pool: &Database,
    ring: &KeyRing,
    name: &str,
    make: impl FnOnce() -> Result<(Vec<u8>, Vec<u8>), rcgen::Error>,
) -> Result<CertifiedKey, Error> {
    let context = format!("signing_key/{name}");
    let select = || sql::query("SELECT sealed, certificate FROM signing_key WHERE name = $1").bind(name).fetch_optional(pool);
    let mut row = select().await?;
    if row.is_none() {
        let (private_key, certificate) = make().map_err(Error::internal)?;
        let sealed = ring.seal(Purpose::StoredSecret, &context, &private_key).map_err(Error::internal)?;
        // Another process may have been faster: its key counts.
        let insert = "INSERT INTO signing_key (name, sealed, certificate) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        sql::query(insert).bind(name).bind(sealed).bind(certificate).execute(pool).await?;
        row = select().await?;
    }
    let row = row.ok_or_else(|| Error::internal("a key that was just written is not there"))?;
    let opened = ring.open(Purpose::StoredSecret, &context, row.get("sealed"));
    let opened =
        opened.ok_or_else(|| Error::new(ErrorKind::Unavailable, format!("the key {name} in the store can't be opened")))?;
    Ok(CertifiedKey { private_key: Secret::new(opened), certificate: row.get("certificate") })
}

/// A P-256 key of ours: what a client authenticates with at OpenID providers (`private_key_jwt`), or what signs the audit log.
pub struct SigningKey {
    key: EncodingKey,
    id: String,
    set: JwkSet,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Signs claims as a compact JWS, ES256.
    ///
    /// # Errors
    /// `Internal`.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(Error::internal)
    }

    /// The claims of a compact JWS that this key signed; none where it did not. Times are not looked at.
    #[must_use]
    pub fn verify<T: serde::de::DeserializeOwned + Clone>(&self, jws: &str) -> Option<T> {
        let kid = jsonwebtoken::decode_header(jws).ok()?.kid?;
        let key = DecodingKey::from_jwk(self.set.find(&kid)?).ok()?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(jws, &key, &validation).ok().map(|token| token.claims)
    }

    /// What verifies it (RFC 7517).
    #[must_use]
    pub const fn public(&self) -> &JwkSet {
        &self.set
    }
}

/// Reads such a key by its name; it is made when there is none.
pub(super) async fn open_signing_key(pool: &Database, ring: &KeyRing, name: &str) -> Result<SigningKey, Error> {
    let make = || Ok(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?.serialize_der());
    let private = open_private(pool, ring, name, make).await?;
    let key = EncodingKey::from_ec_pem(private_key_pem(private.expose()).expose().as_bytes()).map_err(Error::internal)?;
    let (jwk, id) = published(&key, Algorithm::ES256)?;
    Ok(SigningKey { key, id, set: JwkSet { keys: vec![jwk] } })
}

/// A private key without a certificate, PKCS #8.
async fn open_private(
    pool: &Database,
    ring: &KeyRing,
    name: &str,
    make: impl FnOnce() -> Result<Vec<u8>, rcgen::Error>,
) -> Result<Secret<Vec<u8>>, Error> {
    open_row(pool, ring, name, || Ok((make()?, Vec::new()))).await.map(|row| row.private_key)
}

/// The public half, named by its thumbprint.
fn published(key: &EncodingKey, algorithm: Algorithm) -> Result<(Jwk, String), Error> {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).map_err(Error::internal)?;
    let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(Error::internal)?;
    jwk.common.key_id = Some(id.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok((jwk, id))
}

/// How web identity tokens of ours are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenAlgorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    RS256,
    /// ECDSA, P-384, SHA-384.
    ES384,
}

impl fmt::Display for TokenAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RS256 => "RS256",
            Self::ES384 => "ES384",
        })
    }
}

impl TokenAlgorithm {
    const ALL: [Self; 2] = [Self::RS256, Self::ES384];

    const fn of_jose(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::ES384 => Algorithm::ES384,
        }
    }
    const fn row(self) -> &'static str {
        match self {
            Self::RS256 => "token-rs256",
            Self::ES384 => "token-es384",
        }
    }
    fn make(self) -> Result<Vec<u8>, rcgen::Error> {
        let key = match self {
            Self::RS256 => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?,
            Self::ES384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?,
        };
        Ok(key.serialize_der())
    }
}

/// The keys that sign web identity tokens of ours.
pub struct TokenKeys {
    keys: Vec<(TokenAlgorithm, EncodingKey, String)>,
    set: JwkSet,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKeys")
    }
}

impl TokenKeys {
    /// Signs claims as a compact JWS (RFC 7515).
    ///
    /// # Errors
    /// `Internal`.
    pub fn sign(&self, algorithm: TokenAlgorithm, claims: &serde_json::Value) -> Result<Secret<String>, Error> {
        let found = self.keys.iter().find(|(known, _, _)| *known == algorithm);
        let (_, key, id) = found.ok_or_else(|| Error::internal("a token algorithm without a key"))?;
        let header = Header { kid: Some(id.clone()), ..Header::new(algorithm.of_jose()) };
        jsonwebtoken::encode(&header, claims, key).map(Secret::new).map_err(Error::internal)
    }

    /// What verifies them (RFC 7517).
    #[must_use]
    pub const fn public(&self) -> &JwkSet {
        &self.set
    }
}

pub(super) async fn open_token_keys(pool: &Database, ring: &KeyRing) -> Result<TokenKeys, Error> {
    let (mut keys, mut set) = (Vec::new(), JwkSet { keys: Vec::new() });
    for algorithm in TokenAlgorithm::ALL {
        let private = open_private(pool, ring, algorithm.row(), || algorithm.make()).await?;
        let pem = private_key_pem(private.expose());
        let key = match algorithm {
            TokenAlgorithm::RS256 => EncodingKey::from_rsa_pem(pem.expose().as_bytes()),
            TokenAlgorithm::ES384 => EncodingKey::from_ec_pem(pem.expose().as_bytes()),
        };
        let key = key.map_err(Error::internal)?;
        let (jwk, id) = published(&key, algorithm.of_jose())?;
        set.keys.push(jwk);
        keys.push((algorithm, key, id));
    }
    Ok(TokenKeys { keys, set })
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
