//! What strangers may have kept for them: so much a minute from one network, and so much from all. Counted in this process.

use crate::domain::{Timestamp, session::site};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// From one network in one minute: an office may share one.
const PER_NETWORK: u32 = 300;
/// From everywhere in one minute.
const FROM_EVERYWHERE: u32 = 3_000;
/// What a network still has when the others took all: a few with many addresses lock nobody out.
const IN_ANY_CASE: u32 = 5;
/// And then nobody has anything.
const AT_MOST: u32 = 4 * FROM_EVERYWHERE;

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
        let all = counts.all;
        let own = counts.networks.entry(site(source)).or_default();
        let share = if all < FROM_EVERYWHERE { PER_NETWORK } else { IN_ANY_CASE };
        if *own >= share || all >= AT_MOST {
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
    use std::net::Ipv6Addr;

    #[test]
    fn one_network_has_its_share_and_all_have_theirs() {
        let (budget, now) = (Budget::default(), Timestamp::from_seconds(1_800_000_000));
        let taken = |address: u32, now| (0..=PER_NETWORK).filter(|_| budget.allows(IpAddr::V4(address.into()), now)).count();
        assert_eq!(taken(1, now), PER_NETWORK as usize);
        assert_eq!(taken(2, now), PER_NETWORK as usize, "others have their own");
        (3..=10).for_each(|address| assert_eq!(taken(address, now), PER_NETWORK as usize));
        assert_eq!(taken(11, now), IN_ANY_CASE as usize, "nobody is locked out");
        assert_eq!(taken(10, now), 0);
        let all: usize = (100..10_000).map(|address| taken(address, now)).sum();
        assert_eq!(all, (AT_MOST - FROM_EVERYWHERE - IN_ANY_CASE) as usize);
        let later = now.plus_seconds(60);
        let of_site = (0..=PER_NETWORK).filter(|last| {
            let address = Ipv6Addr::from_bits((0x2001_0db8_0001_u128 << 80) | (u128::from(*last) << 64));
            budget.allows(address.into(), later)
        });
        assert_eq!(of_site.count(), PER_NETWORK as usize, "one site, whatever is below");
        assert_eq!(taken(1, now.plus_seconds(60)), PER_NETWORK as usize, "a minute later");
    }
}
