//! Pauses for those who guess passwords (OWASP ASVS 5.0, 6.1.1 and 6.3.1).
//!
//! Counted per account **and** source address, and per source address alone: a stranger slows down themselves, and can't
//! lock a colleague out. Kept in this process; a restart forgets. The real bound on work is the hashing semaphore.

use crate::domain::{Timestamp, session::network};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// Free failures for one account from one address.
const FREE_PER_ACCOUNT: u32 = 5;
/// Free failures from one address, over all accounts: an office may share one.
const FREE_PER_SOURCE: u32 = 100;
/// Free failures for one account from anywhere, where only its holder can try.
const FREE_ANYWHERE: u32 = 10;
/// Stands for every address.
const ANYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
/// Longest pause, in seconds.
const LONGEST_PAUSE: i64 = 300;
/// Failures are forgotten after this long without another, in seconds.
const WINDOW: i64 = 900;
/// Most counters kept; beyond it the oldest go.
const MAX_COUNTERS: usize = 20_000;

#[derive(Clone, Copy, Debug)]
struct Counter {
    failures: u32,
    last: Timestamp,
    /// None before too many failed.
    paused_until: Option<Timestamp>,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<(String, IpAddr), Counter>>);

impl Attempts {
    /// Seconds until this address may try this account again; none when it may now.
    pub(crate) fn pause(&self, account: &str, source: IpAddr, now: Timestamp) -> Option<i64> {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = network(source);
        let keys = [(account.to_lowercase(), source), (String::new(), source), (account.to_lowercase(), ANYWHERE)];
        let longest = keys.iter().filter_map(|key| counters.get(key)?.paused_until).max()?;
        // A clock that was put back makes no pause longer.
        let longest = longest.min(now.plus_seconds(LONGEST_PAUSE));
        (longest > now).then(|| (longest.0 - now.0).div_euclid(1000) + 1)
    }

    /// Counts an attempt as failed until [`Attempts::succeeded`] takes it back.
    pub(crate) fn attempted(&self, account: &str, source: IpAddr, now: Timestamp) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = network(source);
        for (key, free) in [((account.to_lowercase(), source), FREE_PER_ACCOUNT), ((String::new(), source), FREE_PER_SOURCE)] {
            count(&mut counters, key, free, now);
        }
    }

    /// Counts an attempt against the account wherever it came from: for what only the account's own holder can try, since a
    /// stranger could lock the holder out.
    pub(crate) fn attempted_anywhere(&self, account: &str, now: Timestamp) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut counters, (account.to_lowercase(), ANYWHERE), FREE_ANYWHERE, now);
    }

    /// Takes the attempt back, and forgets the account's failures from this address: the person is here.
    pub(crate) fn succeeded(&self, account: &str, source: IpAddr) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = network(source);
        counters.remove(&(account.to_lowercase(), source));
        counters.remove(&(account.to_lowercase(), ANYWHERE));
        if let Some(counter) = counters.get_mut(&(String::new(), source)) {
            counter.failures = counter.failures.saturating_sub(1);
        }
    }
}

fn count(counters: &mut HashMap<(String, IpAddr), Counter>, key: (String, IpAddr), free: u32, now: Timestamp) {
    if counters.len() >= MAX_COUNTERS {
        counters.retain(|_, counter| now.seconds_since(counter.last) < WINDOW);
    }
    if counters.len() >= MAX_COUNTERS {
        // Those that were quiet longest go: nobody clears their own pause by making noise.
        let mut ages: Vec<Timestamp> = counters.values().map(|counter| counter.last).collect();
        ages.sort_unstable();
        let half = ages.get(ages.len() / 2).copied().unwrap_or(now);
        counters.retain(|_, counter| counter.last > half || counter.paused_until.is_some_and(|until| until > now));
        if counters.len() >= MAX_COUNTERS {
            counters.retain(|_, counter| counter.last > half);
        }
    }
    let counter = counters.entry(key).or_insert(Counter { failures: 0, last: now, paused_until: None });
    if now.seconds_since(counter.last) >= WINDOW {
        counter.failures = 0;
    }
    counter.failures += 1;
    counter.last = now;
    if let Some(beyond) = counter.failures.checked_sub(free) {
        let pause = 1_i64.checked_shl(beyond).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        counter.paused_until = Some(now.plus_seconds(pause));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_down_for_the_guesser_alone() {
        let attempts = Attempts::default();
        let (guesser, colleague): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let now = Timestamp(0);
        for _ in 0..4 {
            attempts.attempted("jane", guesser, now);
            assert_eq!(attempts.pause("jane", guesser, now), None);
        }
        attempts.attempted("Jane", guesser, now);
        assert_eq!(attempts.pause("JANE", guesser, now), Some(2), "names have no case");
        for _ in 0..20 {
            attempts.attempted("jane", guesser, now);
        }
        assert_eq!(attempts.pause("jane", guesser, now), Some(LONGEST_PAUSE + 1), "the pause has an end");
        assert_eq!(attempts.pause("jane", colleague, now), None, "jane herself is elsewhere");
        assert_eq!(attempts.pause("sam", guesser, now), None, "not yet over all accounts");
        for number in 0..75 {
            attempts.attempted(&format!("person {number}"), guesser, now);
        }
        assert!(attempts.pause("anybody", guesser, now).is_some(), "spraying over accounts is counted too");
        assert_eq!(attempts.pause("jane", guesser, now.plus_seconds(WINDOW)), None);
        attempts.succeeded("jane", guesser);
        assert!(attempts.pause("jane", guesser, now).unwrap() < LONGEST_PAUSE, "only the address itself is still slowed");
    }

    #[test]
    fn an_office_that_signs_in_all_day_is_never_slowed_down() {
        let attempts = Attempts::default();
        let office: IpAddr = [192, 0, 2, 1].into();
        for number in 0..1000 {
            let person = format!("person {number}");
            assert_eq!(attempts.pause(&person, office, Timestamp(0)), None);
            attempts.attempted(&person, office, Timestamp(0));
            attempts.succeeded(&person, office);
        }
    }
}
