//! Keys that sign and decrypt. Each purpose has generations: a new one is published at once, signs once everybody has had time to
//! read it, and goes when nothing that the one before it signed is about any more.

use crate::{
    crypto::{
        private_key_pem,
        seal::{KeyRing, Purpose},
    },
    domain::{Error, ErrorKind, Secret, Timestamp},
    store::{
        Store, WriteTx,
        sql::{self, Database},
    },
};
use arc_swap::{ArcSwap, ArcSwapOption};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// What a key is for; one key has one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPurpose {
    /// Our SAML requests and metadata: RSA.
    Saml,
    /// SAML assertions encrypted to us: RSA.
    SamlEncryption,
    /// What our clients authenticate with at OpenID providers: P-256.
    OidcClient,
    /// Web identity tokens of ours: RSA.
    TokenRs256,
    /// The same: P-384.
    TokenEs384,
    /// The audit log: P-256.
    Audit,
}

impl KeyPurpose {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Saml, Self::SamlEncryption, Self::OidcClient, Self::TokenRs256, Self::TokenEs384, Self::Audit];

    /// The word it is kept under.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Saml => "saml",
            Self::SamlEncryption => "saml-encryption",
            Self::OidcClient => "oidc-client",
            Self::TokenRs256 => "token-rs256",
            Self::TokenEs384 => "token-es384",
            Self::Audit => "audit",
        }
    }

    /// For how long a new key is published before it signs, in seconds: others keep what they read for so long.
    #[must_use]
    pub const fn settles_seconds(self) -> i64 {
        match self {
            // Many administrators carry metadata over by hand.
            Self::Saml => 7 * 86_400,
            Self::OidcClient | Self::TokenRs256 | Self::TokenEs384 => 3600,
            Self::SamlEncryption | Self::Audit => 0,
        }
    }

    /// For how long an old key stays once the next one signs, in seconds; none: for ever.
    #[must_use]
    pub const fn lingers_seconds(self) -> Option<i64> {
        match self {
            Self::Saml | Self::OidcClient | Self::TokenRs256 | Self::TokenEs384 => Some(86_400),
            // Providers encrypt to what they read some time ago.
            Self::SamlEncryption => Some(30 * 86_400),
            Self::Audit => None,
        }
    }

    fn make(self) -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
        let plain = |key: rcgen::KeyPair| (key.serialize_der(), Vec::new());
        match self {
            Self::Saml | Self::SamlEncryption => make_certificate(),
            Self::OidcClient | Self::Audit => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(plain),
            Self::TokenRs256 => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).map(plain),
            Self::TokenEs384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).map(plain),
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A key, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it signs now. Others are about to, or are kept for what they signed.
    pub signs: bool,
}

/// A key of one generation, PKCS #8, with its certificate where it has one.
#[derive(Debug)]
pub struct CertifiedKey {
    /// PKCS #8, DER.
    pub private_key: Secret<Vec<u8>>,
    /// X.509, DER.
    pub certificate: Vec<u8>,
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

/// SAML keys of ours: all that are published, the oldest first.
#[derive(Debug)]
pub struct SamlKeys {
    keys: Vec<CertifiedKey>,
    current: usize,
}

impl SamlKeys {
    /// The one that signs.
    ///
    /// # Errors
    /// `Internal` when there is none, which does not happen.
    pub fn current(&self) -> Result<&CertifiedKey, Error> {
        self.keys.get(self.current).ok_or_else(|| Error::internal("a purpose without a key"))
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[CertifiedKey] {
        &self.keys
    }
}

/// The names of a purpose's keys, and which of them signs.
type Seen = (Vec<(String, Timestamp)>, usize);

/// What is loaded. SAML and token keys always are; the others once somebody asks.
pub(in crate::store) struct LoadedKeys {
    saml: ArcSwap<SamlKeys>,
    tokens: ArcSwap<TokenKeys>,
    encryption: ArcSwapOption<SamlKeys>,
    client: ArcSwapOption<SigningKey>,
    audit: ArcSwapOption<SigningKey>,
    seen: Mutex<BTreeMap<KeyPurpose, Seen>>,
    /// One at a time reads them: nobody puts back what somebody else found gone.
    reading: tokio::sync::Mutex<()>,
}

/// Which of them signs: the newest that everybody has had time to read.
fn current(purpose: KeyPurpose, keys: &[(String, Timestamp)], now: Timestamp) -> usize {
    keys.iter().rposition(|(_, created)| created.plus_seconds(purpose.settles_seconds()) <= now).unwrap_or_default()
}

async fn seen(database: &Database, now: Timestamp) -> Result<BTreeMap<KeyPurpose, Seen>, Error> {
    let rows = sql::query("SELECT name, purpose, created FROM signing_key ORDER BY created, name").fetch_all(database).await?;
    let mut found: BTreeMap<KeyPurpose, Seen> = BTreeMap::new();
    for row in rows {
        let of = KeyPurpose::ALL.into_iter().find(|purpose| purpose.word() == row.get::<&str>("purpose"));
        if let Some(purpose) = of {
            found.entry(purpose).or_default().0.push((row.get("name"), Timestamp(row.get("created"))));
        }
    }
    for (purpose, (keys, signs)) in &mut found {
        *signs = current(*purpose, keys, now);
    }
    Ok(found)
}

/// A purpose's keys, the oldest first, and which of them signs; one is made when there is none.
async fn open(database: &Database, ring: &KeyRing, purpose: KeyPurpose, now: Timestamp) -> Result<SamlKeys, Error> {
    let select = || {
        let query =
            sql::query("SELECT name, sealed, certificate, created FROM signing_key WHERE purpose = $1 ORDER BY created, name");
        query.bind(purpose.word()).fetch_all(database)
    };
    let mut rows = select().await?;
    if rows.is_empty() {
        // The first has no other before it, and a name that another node gives it, too: of two, one counts.
        insert(database, ring, purpose, purpose.word(), now).await?;
        rows = select().await?;
    }
    let (mut keys, mut names) = (Vec::new(), Vec::new());
    for row in rows {
        let name: String = row.get("name");
        let opened = ring.open(Purpose::StoredSecret, &format!("signing_key/{name}"), row.get("sealed"));
        let closed = || Error::new(ErrorKind::Unavailable, format!("the key {name} in the store can't be opened"));
        keys.push(CertifiedKey { private_key: Secret::new(opened.ok_or_else(closed)?), certificate: row.get("certificate") });
        names.push((name, Timestamp(row.get("created"))));
    }
    Ok(SamlKeys { current: current(purpose, &names, now), keys })
}

fn statement(ring: &KeyRing, purpose: KeyPurpose, name: &str, now: Timestamp) -> Result<sql::Query, Error> {
    let (private_key, certificate) = purpose.make().map_err(Error::internal)?;
    let private_key = Secret::new(private_key);
    let sealed =
        ring.seal(Purpose::StoredSecret, &format!("signing_key/{name}"), private_key.expose()).map_err(Error::internal)?;
    let insert = "INSERT INTO signing_key (name, purpose, sealed, certificate, created) VALUES ($1, $2, $3, $4, $5)
                  ON CONFLICT DO NOTHING";
    Ok(sql::query(insert).bind(name).bind(purpose.word()).bind(sealed).bind(certificate).bind(now.0))
}

async fn insert(database: &Database, ring: &KeyRing, purpose: KeyPurpose, name: &str, now: Timestamp) -> Result<(), Error> {
    statement(ring, purpose, name, now)?.execute(database).await.map(drop)
}

fn signing_key(keys: &SamlKeys) -> Result<SigningKey, Error> {
    let mut set = JwkSet { keys: Vec::new() };
    let mut signs = None;
    for (number, key) in keys.keys.iter().enumerate() {
        let pem = private_key_pem(key.private_key.expose());
        let key = EncodingKey::from_ec_pem(pem.expose().as_bytes()).map_err(Error::internal)?;
        let (jwk, id) = published(&key, Algorithm::ES256)?;
        set.keys.push(jwk);
        if number == keys.current {
            signs = Some((key, id));
        }
    }
    let (key, id) = signs.ok_or_else(|| Error::internal("a purpose without a key"))?;
    Ok(SigningKey { key, id, set })
}

async fn open_tokens(database: &Database, ring: &KeyRing, now: Timestamp) -> Result<TokenKeys, Error> {
    let (mut signing, mut set) = (Vec::new(), JwkSet { keys: Vec::new() });
    for algorithm in [TokenAlgorithm::RS256, TokenAlgorithm::ES384] {
        let purpose = match algorithm {
            TokenAlgorithm::RS256 => KeyPurpose::TokenRs256,
            TokenAlgorithm::ES384 => KeyPurpose::TokenEs384,
        };
        let keys = open(database, ring, purpose, now).await?;
        for (number, key) in keys.keys.iter().enumerate() {
            let pem = private_key_pem(key.private_key.expose());
            let key = match algorithm {
                TokenAlgorithm::RS256 => EncodingKey::from_rsa_pem(pem.expose().as_bytes()),
                TokenAlgorithm::ES384 => EncodingKey::from_ec_pem(pem.expose().as_bytes()),
            };
            let key = key.map_err(Error::internal)?;
            let (jwk, id) = published(&key, algorithm.of_jose())?;
            set.keys.push(jwk);
            if number == keys.current {
                signing.push((algorithm, key, id));
            }
        }
    }
    Ok(TokenKeys { keys: signing, set })
}

impl LoadedKeys {
    /// Loads those that are always loaded; makes what is missing.
    pub(in crate::store) async fn open(database: &Database, ring: &KeyRing, now: Timestamp) -> Result<Self, Error> {
        // First: what changes meanwhile is read anew.
        let seen = seen(database, now).await?;
        let saml = open(database, ring, KeyPurpose::Saml, now).await?;
        let tokens = open_tokens(database, ring, now).await?;
        Ok(Self {
            saml: ArcSwap::from_pointee(saml),
            tokens: ArcSwap::from_pointee(tokens),
            encryption: ArcSwapOption::empty(),
            client: ArcSwapOption::empty(),
            audit: ArcSwapOption::empty(),
            seen: Mutex::new(seen),
            reading: tokio::sync::Mutex::default(),
        })
    }
}

impl Store {
    /// The keys that sign our SAML requests and metadata.
    #[must_use]
    pub fn saml_keys(&self) -> Arc<SamlKeys> {
        self.keys.saml.load_full()
    }

    /// The keys that sign web identity tokens of ours.
    #[must_use]
    pub fn token_keys(&self) -> Arc<TokenKeys> {
        self.keys.tokens.load_full()
    }

    /// The keys that assertions are encrypted to. The first is made when it is first asked for.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn encryption_keys(&self) -> Result<Arc<SamlKeys>, Error> {
        if let Some(keys) = self.keys.encryption.load_full() {
            return Ok(keys);
        }
        let _one = self.keys.reading.lock().await;
        let keys = Arc::new(open(&self.writer, &self.ring, KeyPurpose::SamlEncryption, self.clock.now()).await?);
        self.keys.encryption.store(Some(keys.clone()));
        Ok(keys)
    }

    /// The key that a client of ours authenticates with. The first is made when it is first asked for.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn client_key(&self) -> Result<Arc<SigningKey>, Error> {
        self.signing_key(&self.keys.client, KeyPurpose::OidcClient).await
    }

    /// The key that signs the audit log. The first is made when it is first asked for.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn audit_key(&self) -> Result<Arc<SigningKey>, Error> {
        self.signing_key(&self.keys.audit, KeyPurpose::Audit).await
    }

    async fn signing_key(&self, place: &ArcSwapOption<SigningKey>, purpose: KeyPurpose) -> Result<Arc<SigningKey>, Error> {
        if let Some(key) = place.load_full() {
            return Ok(key);
        }
        let _one = self.keys.reading.lock().await;
        let key = Arc::new(signing_key(&open(&self.writer, &self.ring, purpose, self.clock.now()).await?)?);
        place.store(Some(key.clone()));
        Ok(key)
    }

    /// Reads anew what has changed: a key was added or removed, or is old enough to sign.
    ///
    /// # Errors
    /// `Unavailable`: the keys so far stay.
    pub async fn renew_signing_keys(&self) -> Result<Vec<KeyInfo>, Error> {
        let _one = self.keys.reading.lock().await;
        let now = self.clock.now();
        let found = seen(&self.readers, now).await?;
        let before = self.keys.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let changed = |purpose: KeyPurpose| found.get(&purpose) != before.get(&purpose);
        if changed(KeyPurpose::Saml) {
            self.keys.saml.store(Arc::new(open(&self.writer, &self.ring, KeyPurpose::Saml, now).await?));
        }
        if changed(KeyPurpose::TokenRs256) || changed(KeyPurpose::TokenEs384) {
            self.keys.tokens.store(Arc::new(open_tokens(&self.writer, &self.ring, now).await?));
        }
        // They are read when they are asked for.
        if changed(KeyPurpose::SamlEncryption) {
            self.keys.encryption.store(None);
        }
        if changed(KeyPurpose::OidcClient) {
            self.keys.client.store(None);
        }
        if changed(KeyPurpose::Audit) {
            self.keys.audit.store(None);
        }
        let infos = found.iter().flat_map(|(purpose, (keys, signs))| {
            keys.iter().enumerate().map(move |(number, (name, created))| KeyInfo {
                purpose: *purpose,
                name: name.clone(),
                created: *created,
                signs: number == *signs,
            })
        });
        let infos = infos.collect();
        *self.keys.seen.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(infos)
    }

    /// When the keys were made that seal and sign new things, by purpose.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn key_ages(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        let ring = self.renew_ring().await?.into_iter().filter(|key| key.sealing);
        let signing = self.renew_signing_keys().await?.into_iter().filter(|key| key.signs);
        let ring = ring.map(|key| ("ring".to_owned(), key.created));
        Ok(ring.chain(signing.map(|key| (key.purpose.to_string(), key.created))).collect())
    }
}

impl WriteTx<'_> {
    /// Adds a key of a purpose; its name. Where it has to sign at once, those before it go: what they signed counts no more.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add_signing_key(&mut self, purpose: KeyPurpose, now: Timestamp, at_once: bool) -> Result<String, Error> {
        if at_once && purpose.lingers_seconds().is_some() {
            self.execute(sql::query("DELETE FROM signing_key WHERE purpose = $1").bind(purpose.word())).await?;
        }
        let name = format!("{}/{}", purpose.word(), now.0);
        let insert = statement(&self.store.ring, purpose, &name, now)?;
        self.execute(insert).await?;
        Ok(name)
    }

    /// Removes keys that nobody needs any more; their names.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn retire_signing_keys(&mut self, now: Timestamp) -> Result<Vec<String>, Error> {
        let mut gone = Vec::new();
        for (purpose, (keys, _)) in seen(&self.store.readers, now).await? {
            let Some(lingers) = purpose.lingers_seconds() else { continue };
            let pairs = keys.iter().zip(keys.iter().skip(1));
            let over = pairs.filter(|(_, next)| next.1.plus_seconds(purpose.settles_seconds() + lingers) <= now);
            gone.extend(over.map(|((name, _), _)| name.clone()));
        }
        for name in &gone {
            self.execute(sql::query("DELETE FROM signing_key WHERE name = $1").bind(name)).await?;
        }
        Ok(gone)
    }
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
    const fn of_jose(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::ES384 => Algorithm::ES384,
        }
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

fn make_certificate() -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
    let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Daypass");
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2050, 1, 1);
    let certificate = parameters.self_signed(&key)?;
    Ok((key.serialize_der(), certificate.der().to_vec()))
}
