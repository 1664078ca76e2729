//! How many requests somebody may make: a bucket for each token and one for each partition, both of which must have room.
//!
//! The algorithm is GCRA (ITU-T I.371, annex A): of each bucket it keeps the moment at which it would be full again.

use pan_member::Tick;
use pan_model::PartitionName;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// Requests a second of one token: more than a hundred people with their tools, or a script that asks as fast as it gets answers over a network.
pub const TOKEN: NonZeroU32 = NonZeroU32::new(200).expect("it is not zero");
/// Requests a second of all tokens of one partition, where its quota does not say: a few busy ones. A controller
/// answers ten times as many over one connection.
pub const PARTITION: NonZeroU32 = NonZeroU32::new(500).expect("it is not zero");
/// Whoever was quiet may make the requests of so long at once: a page of a console, or a whole deployment.
const BURST: Duration = Duration::from_secs(2);
/// How often those are forgotten that have asked for nothing since.
const SWEEP: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Its token.
    pub token: u64,
    /// Its partition, and the requests a second that are allowed to that.
    pub partition: Option<(&'a PartitionName, NonZeroU32)>,
}

/// Whose requests are too many, and how many a second there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    /// The token's own.
    Token(NonZeroU32),
    /// Those of all tokens of its partition.
    Partition(NonZeroU32),
}

/// The buckets. There are no more than tokens and partitions that asked for something in the last seconds.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    tokens: BTreeMap<u64, Tick>,
    partitions: BTreeMap<PartitionName, Tick>,
    swept: Tick,
}

/// When a bucket is full again after one more request; `None`: it has no room for it.
fn after_one(full: Option<&Tick>, rate: NonZeroU32, now: Tick) -> Option<Tick> {
    let from = full.copied().unwrap_or(now).max(now);
    let after = from.plus(Duration::from_secs(1) / rate.get());
    (after.since(now) <= BURST).then_some(after)
}

impl Rates {
    /// Lets one more request in. One that is refused takes nothing from either bucket.
    ///
    /// # Errors
    /// [`TooMany`]: within a second there is room for another.
    pub fn admit(&mut self, now: Tick, asker: Asker<'_>) -> Result<(), TooMany> {
        if now.since(self.swept) >= SWEEP {
            self.swept = now;
            self.tokens.retain(|_, full| *full > now);
            self.partitions.retain(|_, full| *full > now);
        }
        let rate = asker.partition.map_or(TOKEN, |(_, allowed)| allowed.min(TOKEN));
        let token = after_one(self.tokens.get(&asker.token), rate, now).ok_or(TooMany::Token(rate))?;
        if let Some((name, rate)) = asker.partition {
            let full = after_one(self.partitions.get(name), rate, now).ok_or(TooMany::Partition(rate))?;
            match self.partitions.get_mut(name) {
                Some(known) => *known = full,
                None => drop(self.partitions.insert(name.clone(), full)),
            }
        }
        self.tokens.insert(asker.token, token);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn at(millis: u64) -> Tick {
        Tick(millis * 1_000_000)
    }

    /// How many of many requests made at once are let in.
    fn burst(rates: &mut Rates, now: Tick, asker: Asker<'_>) -> usize {
        (0..10_000).take_while(|_| rates.admit(now, asker).is_ok()).count()
    }

    #[test]
    fn a_token_has_its_burst_and_then_its_rate() {
        let (mut rates, asker) = (Rates::default(), Asker { token: 1, partition: None });
        assert_eq!(burst(&mut rates, at(0), asker), 400);
        assert_eq!(rates.admit(at(0), asker), Err(TooMany::Token(TOKEN)));
        for second in 1..=5 {
            assert_eq!(burst(&mut rates, at(1000 * second), asker), 200, "{second}");
        }
        assert_eq!(burst(&mut rates, at(5005), asker), 1, "as soon as there is room for one");
        // Another one's is its own.
        assert_eq!(burst(&mut rates, at(5005), Asker { token: 2, partition: None }), 400);
        // However long it was quiet, it has no more than the burst.
        assert_eq!(burst(&mut rates, at(10_000_000), asker), 400);
    }

    #[test]
    fn all_tokens_of_a_partition_share_its_rate_and_no_other_partition_notices() {
        let (acme, rival): (PartitionName, PartitionName) = ("acme".parse().unwrap(), "rival".parse().unwrap());
        let mut rates = Rates::default();
        let of = |token, partition| Asker { token, partition: Some((partition, rate(500))) };
        assert_eq!([1, 2, 3, 4].map(|token| burst(&mut rates, at(0), of(token, &acme))), [400, 400, 200, 0]);
        assert_eq!(rates.admit(at(0), of(3, &acme)), Err(TooMany::Partition(rate(500))));
        assert_eq!(burst(&mut rates, at(0), of(5, &rival)), 400);
        // What was refused has taken nothing: the token has all of its own left once the partition has room.
        assert_eq!(burst(&mut rates, at(60_000), of(4, &acme)), 400);
    }

    #[test]
    fn a_quota_is_for_one_token_as_well_and_holds_at_once_when_it_changes() {
        let acme: PartitionName = "acme".parse().unwrap();
        let mut rates = Rates::default();
        let of = |token, number| Asker { token, partition: Some((&acme, rate(number))) };
        assert_eq!(burst(&mut rates, at(0), of(1, 10)), 20);
        assert_eq!(rates.admit(at(0), of(1, 10)), Err(TooMany::Token(rate(10))));
        assert_eq!(rates.admit(at(0), of(2, 10)), Err(TooMany::Partition(rate(10))));
        assert_eq!(burst(&mut rates, at(1000), of(2, 100)), 100, "a larger one lets more in from then on");
        assert_eq!(burst(&mut rates, at(60_000), of(3, 1)), 2);
    }

    #[test]
    fn who_is_quiet_is_forgotten() {
        let acme: PartitionName = "acme".parse().unwrap();
        let mut rates = Rates::default();
        for token in 0..1000 {
            rates.admit(at(0), Asker { token, partition: Some((&acme, rate(5000))) }).unwrap();
        }
        assert_eq!((rates.tokens.len(), rates.partitions.len()), (1000, 1));
        rates.admit(at(20_000), Asker { token: 1, partition: None }).unwrap();
        assert_eq!((rates.tokens.len(), rates.partitions.len()), (1, 0));
    }
}
