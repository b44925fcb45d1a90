//! The built-in directory: passwords (argon2id, OWASP ASVS 5.0 11.4.2) and the assertion they lead to.

use super::{Failure, Federation, Identified, recorder::Recording};
use crate::domain::{
    Error, ErrorKind, Secret,
    directory::User,
    iam::{DIRECTORY_ISSUER, IdentityProvider},
    session::{FederationProtocol, IdentityAssertion, ProviderRef, SessionTags},
};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use std::{collections::BTreeMap, net::IpAddr};
use tokio::sync::Semaphore;

/// Longest password read, in bytes: hashing more is only work for us.
pub const MAX_PASSWORD: usize = 1024;

/// Hashing, bounded in number: each run takes 64 MiB.
#[derive(Debug)]
pub(super) struct Passwords {
    turns: Semaphore,
    /// The hash of no password: an unknown name takes as long as a wrong password.
    nobody: String,
}

impl Passwords {
    pub(super) fn new(cores: usize) -> Result<Self, Error> {
        // A fixed salt and an output nobody knows a password for.
        let nobody = "$argon2id$v=19$m=65536,t=3,p=1$bm9ib2R5LW5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        PasswordHash::new(nobody).map_err(Error::internal)?;
        Ok(Self { turns: Semaphore::new(cores.min(4)), nobody: nobody.to_owned() })
    }
}

/// Hashes a password with the current parameters (64 MiB, 3 passes, 1 lane) and a random salt.
///
/// # Errors
/// `InvalidInput` for passwords shorter than 8 or longer than [`MAX_PASSWORD`] bytes.
pub fn hash(password: &Secret<String>) -> Result<Secret<String>, Error> {
    if !(8..=MAX_PASSWORD).contains(&password.expose().len()) {
        return Err(Error::invalid(format!("a password has 8 to {MAX_PASSWORD} bytes")));
    }
    let parameters = Params::new(65_536, 3, 1, None).map_err(Error::internal)?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let hash = hasher.hash_password(password.expose().as_bytes()).map_err(Error::internal)?;
    Ok(Secret::new(hash.to_string()))
}

/// Whether a password belongs to a hash.
#[must_use]
pub fn matches(password: &Secret<String>, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

pub(super) async fn complete(
    federation: &Federation,
    source: &IdentityProvider,
    user_name: &str,
    password: Secret<String>,
    from: IpAddr,
) -> Result<Identified, Failure> {
    let mut recording = Recording::default();
    let now = federation.clock.now();
    if let Some(seconds) = federation.attempts.pause(user_name.trim(), from, now) {
        // Before any hashing: a guesser costs us nothing.
        let error = Error::new(ErrorKind::RejectedIdentity, format!("Too many attempts. Try again in {seconds} seconds."));
        return Err(Failure {
            error: error.with_private("attempts_paused: too many wrong passwords from this address"),
            recording,
        });
    }
    // Counted before it is known, and taken back by success: a burst of parallel guesses is a burst of counts.
    federation.attempts.attempted(user_name.trim(), from, now);
    let user =
        federation.store.read().user(user_name.trim()).await.map_err(|error| Failure { error, recording: recording.clone() })?;
    let usable = user.as_ref().filter(|user| !user.disabled).and_then(|user| user.password_hash.clone());
    let known = usable.is_some();
    let hash = usable.unwrap_or_else(|| Secret::new(federation.passwords.nobody.clone()));
    let right = {
        let _turn = federation.passwords.turns.acquire().await;
        let short = password.expose().len() <= MAX_PASSWORD;
        short && tokio::task::spawn_blocking(move || matches(&password, hash.expose())).await.unwrap_or(false)
    };
    let shown: String = user_name.chars().take(64).collect();
    let checks = recording
        .require("user", "user_unknown", "a person who can sign in", &shown, known)
        .and_then(|()| recording.require("password", "password_wrong", "the right password", "another", right));
    match (checks, user) {
        (Ok(()), Some(user)) => {
            federation.attempts.succeeded(user_name.trim(), from);
            Ok(Identified { assertion: assertion(federation, source, &user), at_provider: None, refresh: None, recording })
        }
        (outcome, _) => {
            let why = outcome.err().map(|refusal| refusal.to_string()).unwrap_or_default();
            let error = Error::new(ErrorKind::RejectedIdentity, "The name or the password is not right.").with_private(why);
            Err(Failure { error, recording })
        }
    }
}

/// What trust policies see of a person of the directory: `directory:sub`, `:aud`, `:name`, `:email`, `:user_name`, `:groups`.
pub(super) fn assertion(federation: &Federation, source: &IdentityProvider, user: &User) -> IdentityAssertion {
    let audience = federation.addresses.public_url.as_str().trim_end_matches('/').to_owned();
    let mut claims = BTreeMap::new();
    let mut set = |claim: &str, values: Vec<String>| claims.insert(format!("{DIRECTORY_ISSUER}:{claim}"), values);
    set("sub", vec![user.id.clone()]);
    set("aud", vec![audience.clone()]);
    set("user_name", vec![user.name.to_string()]);
    set("name", vec![user.display_name.clone()]);
    set("email", vec![user.email.clone()]);
    set("groups", user.groups.iter().map(ToString::to_string).collect());
    IdentityAssertion {
        provider: ProviderRef {
            owner: source.owner.clone(),
            name: source.name.to_string(),
            resource: source.resource(),
            protocol: FederationProtocol::WebIdentity,
        },
        issuer: DIRECTORY_ISSUER.to_owned(),
        subject: user.id.clone(),
        subject_type: None,
        audience,
        claims,
        name: Some(user.display_name.clone()),
        email: Some(user.email.clone()),
        authenticated: federation.clock.now(),
        methods: vec!["pwd".to_owned()],
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: None,
        tags: SessionTags::default(),
        roles: Vec::new(),
    }
}
