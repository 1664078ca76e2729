//! What head and storage host say before frames and between them, and how long either may say nothing: both ends take it from here.
//!
//! The head shows its capability behind two bytes of length and is answered with one byte. Then frames go both ways, and
//! [`ALIVE`] between them from whoever has nothing else to say.

use std::time::Duration;

/// Says that this end is there; between frames, which begin with something else.
pub const ALIVE: [u8; 2] = *b"ka";
/// How often it is said by one who has nothing else to say: so that five may be late or lost where silence may be shortest.
pub const ALIVE_EVERY: Duration = Duration::from_millis(50);
/// Bytes of a capability; those that exist have less than half of it.
pub const CAPABILITY_MAX: usize = 512;
/// Frames go out together up to this, a payload's beginning with its head: four full records of TLS.
pub const TOGETHER_MAX: usize = 64 << 10;

/// Beside the length of a capability: what follows the answer is in the clear. A storage host that was not configured as one of a laboratory
/// refuses it.
const CLEAR: u16 = 1 << 15;

/// The two bytes are a sign of life, not the beginning of a frame.
#[must_use]
pub fn is_alive(beginning: &[u8]) -> bool {
    beginning == ALIVE
}

/// How long the other end may say nothing before it is given up, by the profile of the PAN: five signs of life in a quiet room, more where
/// processors are shared or hosts far away. A profile that is not known counts as the slowest.
#[must_use]
pub fn silence(profile: &str) -> Duration {
    match profile {
        "lan" => Duration::from_millis(250),
        "shared" => Duration::from_millis(500),
        _ => Duration::from_secs(1),
    }
}

/// In what frames travel once the capability is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// TLS, as the capability itself.
    Tls,
    /// Nothing.
    Clear,
}

/// The first words of a head. `None`: there is no such capability.
#[must_use]
pub fn greeting(capability: &[u8], cover: Cover) -> Option<Vec<u8>> {
    let length = u16::try_from(capability.len()).ok().filter(|_| capability.len() <= CAPABILITY_MAX)?;
    let length = match cover {
        Cover::Tls => length,
        Cover::Clear => length | CLEAR,
    };
    Some([&length.to_be_bytes()[..], capability].concat())
}

/// What the first two bytes say: how many follow that are to be read, and what the head wants then. Of a capability that is too long only so
/// much is read that it is refused.
#[must_use]
pub fn greeted(first: [u8; 2]) -> (usize, Cover) {
    let first = u16::from_be_bytes(first);
    let cover = if first & CLEAR == 0 { Cover::Tls } else { Cover::Clear };
    (usize::from(first & !CLEAR).min(CAPABILITY_MAX), cover)
}

/// The answer to a capability. Why it is refused is never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// Frames follow.
    Yes,
    /// The end follows.
    No,
}

impl Welcome {
    /// As it is sent.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::No => 0,
            Self::Yes => 1,
        }
    }

    /// Out of what was received: what is no word is a refusal.
    #[must_use]
    pub const fn of(byte: u8) -> Self {
        if byte == Self::Yes.byte() { Self::Yes } else { Self::No }
    }
}

/// Frames that go out together.
#[derive(Debug, Default)]
pub struct Together(Vec<u8>);

impl Together {
    /// Adds a frame; what of its payload is not taken in is to be sent right behind, before anything else, which is nothing unless this is
    /// [full](Self::is_full) now.
    pub fn add<'a>(&mut self, head: &[u8], payload: &'a [u8]) -> &'a [u8] {
        self.0.extend_from_slice(head);
        let (with, rest) = payload.split_at(payload.len().min(TOGETHER_MAX.saturating_sub(self.0.len())));
        self.0.extend_from_slice(with);
        rest
    }

    /// Whether it is to be sent before more is added.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.0.len() >= TOGETHER_MAX
    }

    /// What is to be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// It was sent.
    pub fn sent(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAGIC;
    use super::*;

    #[test]
    fn what_a_head_shows_is_what_a_storage_host_sees() {
        for (length, cover) in [(0, Cover::Tls), (200, Cover::Tls), (200, Cover::Clear), (CAPABILITY_MAX, Cover::Clear)] {
            let said = greeting(&vec![7; length], cover).unwrap();
            assert_eq!((greeted([said[0], said[1]]), said.len()), ((length, cover), length + 2));
        }
        assert_eq!(greeting(&[7; CAPABILITY_MAX + 1], Cover::Tls), None);
        assert_eq!(greeted([0x7f, 0xff]), (CAPABILITY_MAX, Cover::Tls), "no more is read, whatever it says");
        // As in every release so far.
        assert_eq!((greeting(b"x", Cover::Tls).unwrap(), greeting(b"x", Cover::Clear).unwrap()), (vec![0, 1, b'x'], vec![0x80, 1, b'x']));
        assert_eq!([Welcome::of(0), Welcome::of(1), Welcome::of(2)], [Welcome::No, Welcome::Yes, Welcome::No]);
        assert_eq!([Welcome::No.byte(), Welcome::Yes.byte()], [0, 1]);
    }

    #[test]
    fn signs_of_life_are_no_frames_and_come_often_enough() {
        assert!(is_alive(&ALIVE) && !is_alive(&MAGIC) && !is_alive(b"k"));
        let all = ["lan", "shared", "wan", "whatever"].map(silence);
        assert!(all.is_sorted() && all.iter().all(|silence| *silence >= ALIVE_EVERY * 5), "{all:?}");
    }

    #[test]
    fn frames_go_together_until_it_is_much() {
        let mut together = Together::default();
        assert_eq!(together.add(b"head", b"payload"), b"");
        assert!(!together.is_full());
        let long = vec![7; TOGETHER_MAX];
        let rest = together.add(b"head", &long);
        assert!(together.is_full());
        assert_eq!((together.bytes().len(), rest.len()), (TOGETHER_MAX, 15));
        together.sent();
        assert!(together.bytes().is_empty());
        assert_eq!(together.add(&long, b"x"), b"x", "a head is never cut");
    }
}
