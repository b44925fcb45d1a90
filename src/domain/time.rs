//! Time and randomness as values that are passed in.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An instant: **milliseconds** since 1970-01-01T00:00:00Z.
///
/// Serialized as a newtype named `Timestamp`, so each wire can write it its own way: ISO 8601 in the query
/// protocol, epoch seconds in AWS JSON (see `gateway`), a plain number of milliseconds everywhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename = "Timestamp")]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole **seconds** since the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }
    /// Whole **seconds** since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// This instant and a number of **seconds** more.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }
    /// **Seconds** from `earlier` to here; negative when it is later.
    #[must_use]
    pub const fn seconds_since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).div_euclid(1000)
    }
    /// Parses an ISO 8601 / RFC 3339 instant with `Z` or an offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|instant| Self(instant.as_millisecond()))
    }
    /// `20261124T060135Z`, the basic form of SigV4's `X-Amz-Date`, parsed.
    #[must_use]
    pub fn parse_basic(text: &str) -> Option<Self> {
        let digits = |range: std::ops::Range<usize>| text.get(range);
        if text.len() != 16 || !text.is_ascii() {
            return None;
        }
        Self::parse(&format!(
            "{}-{}-{}T{}:{}:{}Z",
            digits(0..4)?,
            digits(4..6)?,
            digits(6..8)?,
            digits(9..11)?,
            digits(11..13)?,
            digits(13..15)?
        ))
    }
}

/// How long something took, for metrics: nothing is decided by it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "a duration for people to look at, which no test depends on")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Seconds since it began.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

impl fmt::Display for Timestamp {
    /// ISO 8601 UTC in whole seconds with `Z`, as AWS's query protocol writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.seconds()) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => f.write_str("9999-12-31T23:59:59Z"),
        }
    }
}

/// Where the time comes from. Tests freeze it.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// Where randomness comes from. Tests seed it.
pub trait Random: Send + Sync {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Random + '_ {
    /// Random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut buffer = [0; N];
        self.fill(&mut buffer);
        buffer
    }
    /// Text of `length` characters from an alphabet of at most 256 ASCII letters, without bias.
    pub fn text(&self, alphabet: &[u8], length: usize) -> String {
        let size = alphabet.len().clamp(1, 256);
        let limit = 256 - 256 % size;
        let mut text = String::with_capacity(length);
        while text.len() < length {
            for byte in self.bytes::<32>() {
                if usize::from(byte) < limit
                    && text.len() < length
                    && let Some(letter) = alphabet.get(usize::from(byte) % size)
                {
                    text.push(char::from(*letter));
                }
            }
        }
        text
    }
    /// A random UUID (version 4), as used for request ids.
    pub fn uuid(&self) -> String {
        let mut b: [u8; 16] = self.bytes();
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(36);
        for (number, byte) in b.into_iter().enumerate() {
            if matches!(number, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for half in [byte >> 4, byte & 15] {
                text.push(char::from(DIGITS.get(usize::from(half)).copied().unwrap_or_default()));
            }
        }
        text
    }
    /// A unique id in AWS's form: a four-letter prefix such as `AROA` and 17 more of `[A-Z2-7]`.
    pub fn unique_id(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 17))
    }
    /// The id of a person of the directory: `u-` and 17 of `[a-z2-7]`.
    pub fn user_id(&self) -> String {
        format!("u-{}", self.text(b"abcdefghijklmnopqrstuvwxyz234567", 17))
    }
    /// The id of a group of the directory: `g-` and 17 of `[a-z2-7]`.
    pub fn group_id(&self) -> String {
        format!("g-{}", self.text(b"abcdefghijklmnopqrstuvwxyz234567", 17))
    }
    /// A recovery code: 16 letters and digits of 32, 80 bits, those left out that look like others.
    pub fn recovery_code(&self) -> String {
        self.text(b"abcdefghijkmnpqrstuvwxyz23456789", 16)
    }
    /// An access key id: `ASIA` or `AKIA` and sixteen letters that hold the account, as AWS's do: 1 random bit, 40 bits of
    /// account, 39 random bits, in base32.
    pub fn access_key_id(&self, prefix: &str, account: &super::name::AccountId) -> String {
        let random = u128::from_be_bytes(self.bytes());
        let account = account.as_str().parse::<u128>().unwrap_or_default();
        let bits = ((random >> 79) & 1) << 79 | account << 39 | (random & ((1 << 39) - 1));
        let letters = (0..16).rev().map(|place| {
            let index = usize::try_from((bits >> (place * 5)) & 31).unwrap_or_default();
            char::from(BASE32.get(index).copied().unwrap_or(b'A'))
        });
        format!("{prefix}{}", letters.collect::<String>())
    }
    /// An unguessable URL-safe token of 256 bits.
    pub fn token(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }
}

/// RFC 4648, section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The account that an access key id holds; none when it is no id of this form.
#[must_use]
pub fn account_of_access_key(id: &str) -> Option<super::name::AccountId> {
    let letters = id.strip_prefix("ASIA").or_else(|| id.strip_prefix("AKIA"))?;
    if letters.len() != 16 {
        return None;
    }
    let mut bits = 0_u128;
    for letter in letters.bytes() {
        let value = BASE32.iter().position(|known| *known == letter)?;
        bits = bits << 5 | u128::try_from(value).ok()?;
    }
    let account = (bits >> 39) & ((1 << 40) - 1);
    super::name::AccountId::parse(&format!("{account:012}")).ok()
}
