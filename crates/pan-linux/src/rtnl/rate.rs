//! How much an interface sends at most: a token bucket in front of it (tc-tbf(8)). What is too much waits and then is dropped at
//! its tail, so that connections slow down instead of losing at random.
//!
//! Layout: linux/pkt_sched.h, `struct tc_tbf_qopt` and its attributes.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle};

use super::batch::ABSENT;
use super::tc::{attribute, message};
use super::{Batch, Result, Rtnl};

const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: the kernel counts bytes as they are, and wants no table of times.
const ETHERNET: u8 = 1;

/// What may be sent at once after a pause: 20 ms of the rate, within bounds. One that is larger than the bucket would wait for ever, and
/// the kernel hands over what TCP sends in pieces of up to 64 KiB, which may wait already when the rate is lowered.
const BURST: (u64, u64) = (72 << 10, 1 << 20);
/// What may wait: 50 ms of the rate, but two such pieces, and no more than a node's memory takes for each of a thousand servers.
const QUEUE: (u64, u64) = (144 << 10, 4 << 20);

/// Bytes of so many thousandths of a second.
fn bytes(rate: u64, millis: u64, (min, max): (u64, u64)) -> u32 {
    let bytes = (rate / 8).saturating_mul(millis) / 1000;
    u32::try_from(bytes.clamp(min, max)).unwrap_or(u32::MAX)
}

/// `struct tc_tbf_qopt`: two of `struct tc_ratespec` (of which the second is a peak rate, none here), the queue, the bucket in ticks,
/// which the attribute of bytes replaces, and an unused number.
fn parameters(rate: u64) -> Vec<u8> {
    let per_second = u32::try_from(rate / 8).unwrap_or(u32::MAX);
    let mut all = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    all.extend(per_second.to_ne_bytes());
    all.extend([0; 12]);
    all.extend(bytes(rate, 50, QUEUE).to_ne_bytes());
    all.extend([0; 8]);
    all
}

impl Batch<'_> {
    /// Has an interface send at most so many bits a second, or, without, as much as it can. A rate in place of another one takes
    /// effect at once, and nothing that waits is lost.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn set_send_rate(&mut self, device: &str, rate: Option<u64>) -> Result<&mut Self> {
        // The queue that a device has by itself cannot be removed: ENOENT, or EINVAL with some.
        const GONE: &[i32] = &[ABSENT[0], ABSENT[1], ABSENT[2], ABSENT[3], libc::EINVAL];
        let what = || match rate {
            Some(rate) => format!("let {device} send {rate} bits a second"),
            None => format!("let {device} send as much as it can"),
        };
        let index = self.index(device, what)?;
        let mut place = message(index, TcHandle::ROOT, TcHandle::UNSPEC, 0);
        let Some(rate) = rate else {
            return Ok(self.push(RouteNetlinkMessage::DelQueueDiscipline(place), 0, GONE, what()));
        };
        let mut options = Vec::new();
        attribute(&mut options, TCA_TBF_PARMS, &parameters(rate));
        attribute(&mut options, TCA_TBF_RATE64, &(rate / 8).to_ne_bytes());
        attribute(&mut options, TCA_TBF_BURST, &bytes(rate, 20, BURST).to_ne_bytes());
        place.attributes.push(TcAttribute::Kind("tbf".to_owned()));
        place.attributes.push(TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)));
        let request = RouteNetlinkMessage::NewQueueDiscipline(place);
        Ok(self.push(request, NLM_F_CREATE | NLM_F_REPLACE, &[], what()))
    }
}

impl Rtnl {
    /// See [`Batch::set_send_rate`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn set_send_rate(&self, device: &str, rate: Option<u64>) -> Result<()> {
        self.once(|batch| batch.set_send_rate(device, rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_fit_any_rate() {
        assert_eq!(parameters(1).len(), 36, "struct tc_tbf_qopt");
        assert_eq!(bytes(100_000_000, 20, BURST), 250_000);
        assert_eq!(bytes(64_000, 20, BURST), 72 << 10);
        assert_eq!(bytes(u64::MAX, 50, QUEUE), 4 << 20);
    }
}
