//! What providers publish (discovery, keys), kept per issuer.
//!
//! One task fetches and the others of that issuer wait for it; issuers don't wait for each other. While a provider can't
//! be reached its last good answer serves on, within a bound.

use crate::domain::{Error, Timestamp};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

/// How long an answer is used before it is fetched again, in seconds.
const FRESH_SECONDS: i64 = 600;
/// How often, at most, an unknown key makes us look again, in seconds.
const REFETCH_SECONDS: i64 = 30;
/// How long the last good answer serves while the provider can't be reached, in seconds.
const STALE_SECONDS: i64 = 86_400;

/// An answer, when it was fetched, and when that was last tried.
type Kept<T> = (Arc<T>, Timestamp, Timestamp);

/// One issuer's.
#[derive(Debug)]
struct Slot<T> {
    kept: tokio::sync::Mutex<Option<Kept<T>>>,
    /// How often it could not be fetched, and why the last time: who waited for that does not wait for it again.
    failed: Mutex<(u64, Option<Error>)>,
    /// Those who wait for it: so many that others are served while it hangs.
    waits: tokio::sync::Semaphore,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let waits = tokio::sync::Semaphore::new(super::http::MOST_WAITING);
        Self { kept: tokio::sync::Mutex::default(), failed: Mutex::default(), waits }
    }
}

impl<T> Slot<T> {
    fn failures(&self) -> (u64, Option<Error>) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers by issuer. Issuers come from configuration alone, so the map does not grow with requests.
#[derive(Debug)]
pub(super) struct Published<T>(Mutex<HashMap<String, Arc<Slot<T>>>>);

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Published<T> {
    /// The issuer's answer. `outdated` says that something was missing in the last one: then it is fetched again, at most
    /// every [`REFETCH_SECONDS`].
    pub(super) async fn get<F>(
        &self,
        issuer: &str,
        outdated: bool,
        now: Timestamp,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(issuer.to_owned()).or_default().clone();
        let _waits = slot.waits.try_acquire().map_err(|_| super::http::crowded(issuer))?;
        let (before, _) = slot.failures();
        let mut kept = slot.kept.lock().await;
        if let Some((answer, fetched, tried)) = kept.as_ref() {
            let (age, pause) = (now.seconds_since(*fetched), now.seconds_since(*tried));
            // While the provider is down, one request in a while finds that out; the others go on with what there is.
            let usable = age < STALE_SECONDS && pause < REFETCH_SECONDS;
            if usable || (!outdated && age < FRESH_SECONDS) {
                return Ok(answer.clone());
            }
        }
        if let (failures, Some(error)) = slot.failures()
            && failures > before
        {
            return Err(error);
        }
        match fetch().await {
            Ok(answer) => {
                let answer = Arc::new(answer);
                *kept = Some((answer.clone(), now, now));
                Ok(answer)
            }
            Err(error) => match kept.as_mut() {
                Some((answer, fetched, tried)) if now.seconds_since(*fetched) < STALE_SECONDS => {
                    *tried = now;
                    Ok(answer.clone())
                }
                _ => {
                    let mut failed = slot.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    *failed = (failed.0 + 1, Some(error.clone()));
                    Err(error)
                }
            },
        }
    }
}
