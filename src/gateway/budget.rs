//! What strangers may have kept for them: so much a minute from one network, and so much from all. Counted in this process.

use crate::domain::{Timestamp, session::network};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// From one network in one minute: an office may share one.
const PER_NETWORK: u32 = 300;
/// From everywhere in one minute.
const FROM_EVERYWHERE: u32 = 3_000;

/// A count for each network, and for all, of the minute that runs.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    minute: i64,
    all: u32,
    networks: HashMap<IpAddr, u32>,
}

impl Budget {
    /// Counts one more, where there is room for it.
    pub fn allows(&self, source: IpAddr, now: Timestamp) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.seconds().div_euclid(60);
        if counts.minute != minute {
            *counts = Counts { minute, ..Counts::default() };
        }
        if counts.all >= FROM_EVERYWHERE {
            return false;
        }
        let own = counts.networks.entry(network(source)).or_default();
        if *own >= PER_NETWORK {
            return false;
        }
        *own += 1;
        counts.all += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_its_share_and_all_have_theirs() {
        let (budget, now) = (Budget::default(), Timestamp::from_seconds(1_800_000_000));
        let taken = |address: u32, now| (0..=PER_NETWORK).filter(|_| budget.allows(IpAddr::V4(address.into()), now)).count();
        assert_eq!(taken(1, now), PER_NETWORK as usize);
        assert_eq!(taken(2, now), PER_NETWORK as usize, "others have their own");
        let all: usize = (3..100).map(|address| taken(address, now)).sum();
        assert_eq!(all, (FROM_EVERYWHERE - 2 * PER_NETWORK) as usize);
        assert_eq!(taken(1, now.plus_seconds(60)), PER_NETWORK as usize, "a minute later");
    }
}
