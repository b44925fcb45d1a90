//! The request context: condition keys and their values.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::{hash::Hasher as _, net::IpAddr};

/// The name of a condition key. Letter case does not count (IAM user guide, "Condition element").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    hash: u64,
    /// Lower case.
    folded: Box<str>,
}

impl Key {
    pub(super) fn new(name: &str) -> Self {
        let folded = name.to_lowercase().into_boxed_str();
        Self { hash: hash(folded.as_bytes()), folded }
    }
    pub(super) const fn folded(&self) -> &str {
        &self.folded
    }
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }
}

/// The hash of the compiled engine's tables. Collisions cost time, never a wrong answer: what is found is compared.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    name: Box<str>,
    values: Values,
}

/// One value is by far the usual case.
#[derive(Clone, Debug)]
enum Values {
    One([String; 1], Option<Typed>),
    Many(Vec<String>),
}

/// A value that was parsed when it was set, so that no condition has to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Typed {
    Address(IpAddr),
    /// Milliseconds since the epoch.
    Instant(i64),
}

/// The request context: condition keys (names without regard to letter case) and their values.
///
/// A key with an empty list counts as absent, as AWS documents for `Null` and the set operators.
#[derive(Clone, Debug, Default)]
pub struct Context(HashTable<Entry>);

impl Context {
    /// Sets a single value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.put(key, Values::One([value.into()], None));
    }
    /// Sets an IP address.
    pub fn set_address(&mut self, key: &str, address: IpAddr) {
        self.put(key, Values::One([address.to_string()], Some(Typed::Address(address))));
    }
    /// Sets an instant: its text, and **milliseconds** since the epoch.
    pub fn set_instant(&mut self, key: &str, text: impl Into<String>, milliseconds: i64) {
        self.put(key, Values::One([text.into()], Some(Typed::Instant(milliseconds))));
    }
    /// Sets a list.
    pub fn set_list(&mut self, key: &str, mut values: Vec<String>) {
        let values = match values.pop() {
            Some(only) if values.is_empty() => Values::One([only], None),
            Some(last) => {
                values.push(last);
                Values::Many(values)
            }
            None => Values::Many(values),
        };
        self.put(key, values);
    }

    fn put(&mut self, key: &str, values: Values) {
        let Key { hash, folded } = Key::new(key);
        match self.0.find_mut(hash, |entry| entry.name == folded) {
            Some(entry) => entry.values = values,
            None => drop(self.0.insert_unique(hash, Entry { hash, name: folded, values }, |entry| entry.hash)),
        }
    }

    fn entry(&self, key: &Key) -> Option<&Values> {
        self.0.find(key.hash, |entry| entry.name == key.folded).map(|entry| &entry.values)
    }

    /// The values of a key, or none when it is absent.
    pub(super) fn of(&self, key: &Key) -> Option<&[String]> {
        self.entry(key).map(Values::list).filter(|values| !values.is_empty())
    }

    /// The values of a key, and the only one as it was parsed when it was set.
    pub(super) fn typed(&self, key: &Key) -> Option<(&[String], Option<Typed>)> {
        match self.entry(key)? {
            Values::One(one, typed) => Some((one, *typed)),
            Values::Many(many) => (!many.is_empty()).then_some((many, None)),
        }
    }

    /// The value of a key that has exactly one.
    pub(super) fn only(&self, key: &Key) -> Option<&str> {
        match self.entry(key) {
            Some(Values::One([value], _)) => Some(value),
            Some(Values::Many(_)) | None => None,
        }
    }

    /// The values of a key, or none when it is absent.
    #[must_use]
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.of(&Key::new(key))
    }

    /// All keys in lower case with their values, sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, &[String])> {
        let mut all: Vec<_> = self.0.iter().map(|entry| (&*entry.name, entry.values.list())).collect();
        all.sort_unstable();
        all
    }

    /// All hashes of keys with their values, in no order.
    pub(super) fn hashed(&self) -> impl Iterator<Item = (u64, &[String])> {
        self.0.iter().map(|entry| (entry.hash, entry.values.list()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Values {
    fn list(&self) -> &[String] {
        match self {
            Self::One(one, _) => one,
            Self::Many(many) => many,
        }
    }
}
