//! Passwords: which are good enough, and their hashes (argon2id, OWASP ASVS 5.0 11.4.2).

use super::Federation;
use crate::domain::{Error, ErrorKind, Secret, directory::User};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use aws_lc_rs::digest;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Shortest new password, in characters.
pub const MIN_PASSWORD: usize = 12;
/// Longest password read, in bytes: hashing more is only work for us.
pub const MAX_PASSWORD: usize = 1024;

/// The 3,200 most frequent passwords of at least twelve characters, sorted: of Mark Burnett's ten million passwords.
const COMMON: &str = include_str!("common_passwords.txt");

/// How many wait for each turn, at most.
const PLACES: usize = 32;

/// Hashing, bounded in number: each run takes 64 MiB.
#[derive(Debug)]
pub(super) struct Passwords {
    turns: Semaphore,
    /// Places for those who wait for a turn, and for those who have it.
    places: Semaphore,
    /// The hash of no password: an unknown name takes as long as a wrong password.
    pub(super) nobody: String,
    rules: PasswordRules,
}

/// What the settings say about new passwords.
#[derive(Clone, Debug, Default)]
pub struct PasswordRules {
    /// Words that everybody here would think of; they make no password, not even with a number behind.
    pub words: Vec<String>,
    /// A service that knows passwords of breaches by the first five digits of their SHA-1 (the range protocol of "Have I Been
    /// Pwned: Pwned Passwords"), up to and with the last slash.
    pub breached_url: Option<url::Url>,
}

impl Passwords {
    pub(super) fn new(cores: usize, rules: PasswordRules) -> Result<Self, Error> {
        // A fixed salt and an output nobody knows a password for.
        let nobody = "$argon2id$v=19$m=65536,t=3,p=1$bm9ib2R5LW5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        PasswordHash::new(nobody).map_err(Error::internal)?;
        let turns = cores.min(4);
        let places = Semaphore::new(turns * PLACES);
        Ok(Self { turns: Semaphore::new(turns), places, nobody: nobody.to_owned(), rules })
    }
}

/// Refuses a password that is too short, or that anybody would guess first. No rule about kinds of characters, as those make
/// passwords worse (NIST SP 800-63B-4, section 3.1.1).
///
/// # Errors
/// `InvalidInput`.
pub fn check_new_password(password: &Secret<String>, user: &User, words: &[String]) -> Result<(), Error> {
    let characters = password.expose().chars().count();
    if characters < MIN_PASSWORD {
        return Err(Error::invalid(format!(
            "A password has at least {MIN_PASSWORD} characters. A few words that belong together only for you do well."
        )));
    }
    if password.expose().len() > MAX_PASSWORD {
        return Err(Error::invalid(format!("A password has at most {MAX_PASSWORD} bytes.")));
    }
    let plain: String = password.expose().to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    let own = [user.name.as_str(), &user.email, &user.display_name].into_iter().flat_map(|text| {
        let text = text.to_lowercase();
        let local = text.split('@').next().unwrap_or_default().to_owned();
        [text, local]
    });
    let words = words.iter().map(|word| word.to_lowercase());
    let mut rest = plain;
    for word in own
        .chain(words)
        .map(|text| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>())
        .filter(|word| word.len() > 2)
    {
        rest = rest.replace(&word, "");
    }
    for word in ["password", "passwort", "qwerty", "letmein", "welcome", "daypass", "changeme", "123456789", "12345"] {
        rest = rest.replace(word, "");
    }
    let lower = password.expose().to_lowercase();
    let common = COMMON.lines().collect::<Vec<_>>().binary_search(&lower.as_str()).is_ok();
    let distinct: std::collections::BTreeSet<char> = rest.chars().collect();
    if common || rest.chars().count() < 6 || distinct.len() < 4 {
        return Err(Error::invalid(
            "That is one of the first passwords somebody would try: your name, a common word, or the same again and again.",
        ));
    }
    Ok(())
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

/// A new password, looked at and hashed.
#[derive(Debug)]
pub struct NewPassword {
    /// A PHC string.
    pub hash: Secret<String>,
    /// Whether passwords of breaches were asked about, and there was no answer. It holds nobody up.
    pub unasked: bool,
}

impl Federation {
    /// A place in the line of those whose passwords are looked at. Taken before anything is used up.
    ///
    /// # Errors
    /// `Unavailable` when it is so long that whoever comes now would wait for seconds: to be told is better.
    pub fn password_place(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.passwords.places.try_acquire().map_err(|_| {
            let public = "Many people are signing in at this moment. Please try again in a few seconds.";
            Error::new(ErrorKind::Unavailable, public).with_private("passwords_crowded: the line is full")
        })
    }

    /// Looks at a new password, and hashes it.
    ///
    /// # Errors
    /// `InvalidInput`, with the reason.
    pub async fn new_password(&self, password: &Secret<String>, user: &User) -> Result<NewPassword, Error> {
        let organization = self.store.snapshot().organization.as_ref().map(|organization| organization.name.clone());
        let words: Vec<String> = self.passwords.rules.words.iter().cloned().chain(organization).collect();
        check_new_password(password, user, &words)?;
        let breached = match &self.passwords.rules.breached_url {
            None => Some(false),
            Some(url) => self.is_breached(url, password).await,
        };
        if breached == Some(true) {
            return Err(Error::invalid(
                "This password was stolen somewhere and is on lists that are tried first. Take another one.",
            ));
        }
        let turn = self.passwords.turns.acquire().await.map_err(Error::internal)?;
        let password = password.clone();
        let hash = tokio::task::spawn_blocking(move || hash(&password)).await.map_err(Error::internal)??;
        drop(turn);
        Ok(NewPassword { hash, unasked: breached.is_none() })
    }

    /// Whether a password is known from breaches; none when nobody says. Five digits of its hash are told.
    async fn is_breached(&self, url: &url::Url, password: &Secret<String>) -> Option<bool> {
        let hash = hex::encode_upper(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.expose().as_bytes()));
        let (prefix, suffix) = hash.split_at_checked(5)?;
        match self.http.get(url.join(prefix).ok()?.as_str(), None).await {
            Ok(answer) => {
                let answer = String::from_utf8_lossy(&answer).to_uppercase();
                // A line with the count 0 is padding.
                let known = answer.lines().filter_map(|line| line.trim().split_once(':'));
                Some(known.into_iter().any(|(known, count)| known == suffix && count.trim() != "0"))
            }
            Err(error) => {
                tracing::warn!(error = error.private.as_deref(), "the service that knows breached passwords gave no answer");
                None
            }
        }
    }

    /// Whether a password is the one of a hash. Hashing is bounded in number.
    pub(super) async fn is_right(&self, password: Secret<String>, hash: Secret<String>) -> bool {
        let _turn = self.passwords.turns.acquire().await;
        let short = password.expose().len() <= MAX_PASSWORD;
        short && tokio::task::spawn_blocking(move || matches(&password, hash.expose())).await.unwrap_or(false)
    }
}
