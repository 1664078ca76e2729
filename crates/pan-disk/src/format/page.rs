//! A page of a map: where 56 units of a layer are, which of their blocks hold data, and the checksums of those.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `PMAP` |
//! | 4..8 | CRC-32C of bytes 8..4096 |
//! | 8..12 | layer |
//! | 12..16 | number of the page |
//! | 16..24 | generation: the checkpoint that wrote it |
//! | 24..64 | zeros |
//! | 64.. | 56 entries of 72 bytes: place (48 bits, 0 for none), present (16 bits), 16 checksums |
//!
//! Each page has two slots next to each other, and a checkpoint writes the one that is not in use: until the root says that
//! the checkpoint is complete, the other one counts.

use super::codec::{Decoder, Encoder, sum};
use crate::span::UNIT_BLOCKS;
use crate::{Layer, Place};

/// Bytes of a page.
pub const BYTES: usize = 4096;
/// Units that a page describes.
pub const UNITS: u64 = 56;
const MAGIC: u32 = u32::from_le_bytes(*b"PMAP");
const HEADER: usize = 64;
const PLACE_MAX: u64 = (1 << 48) - 1;

/// Where a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// Where, if anywhere.
    pub place: Option<Place>,
    /// Bit n: block n of the unit holds data; otherwise it reads as zeros.
    pub present: u16,
    /// The checksums of the blocks that hold data.
    pub sums: [u32; UNIT_BLOCKS as usize],
}

impl Entry {
    /// Whether a block of the unit holds data.
    pub const fn has(&self, block: usize) -> bool {
        self.present >> block & 1 == 1
    }
}

/// 56 units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page(pub Box<[Entry; UNITS as usize]>);

impl Default for Page {
    fn default() -> Self {
        Self(Box::new([Entry::default(); UNITS as usize]))
    }
}

/// What a slot of a page may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Nothing was ever written there.
    Empty,
    /// A page, of a generation.
    Good(Page, u64),
    /// Nothing that could be read.
    Bad,
}

impl Page {
    /// The bytes of a slot.
    pub fn encode(&self, layer: Layer, number: u32, generation: u64) -> Vec<u8> {
        let mut body = Encoder::default();
        body.u32(layer.0).u32(number).u64(generation);
        body.0.resize(HEADER - 8, 0);
        for entry in self.0.iter() {
            let place = entry.place.map_or(0, |place| place.0);
            body.u64(place | u64::from(entry.present) << 48);
            for sum in entry.sums {
                body.u32(sum);
            }
        }
        let mut slot = Encoder(Vec::with_capacity(BYTES));
        slot.u32(MAGIC).u32(sum(&body.0)).bytes(&body.0);
        slot.0
    }
}

/// Reads the slot of a page of a layer.
pub fn decode(slot: &[u8], layer: Layer, number: u32) -> Slot {
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let read = || {
        let mut whole = Decoder(slot.get(..BYTES)?);
        let (magic, crc) = (whole.u32()?, whole.u32()?);
        (magic == MAGIC && crc == sum(whole.0)).then_some(())?;
        (whole.u32()? == layer.0 && whole.u32()? == number).then_some(())?;
        let generation = whole.u64()?;
        whole.bytes(HEADER - 24)?;
        let mut page = Page::default();
        for entry in page.0.iter_mut() {
            let word = whole.u64()?;
            entry.place = Some(word & PLACE_MAX).filter(|place| *place > 0).map(Place);
            entry.present = (word >> 48) as u16;
            for sum in &mut entry.sums {
                *sum = whole.u32()?;
            }
        }
        Some(Slot::Good(page, generation))
    };
    read().unwrap_or(Slot::Bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_and_no_other_does() {
        let mut page = Page::default();
        page.0[55] = Entry { place: Some(Place(PLACE_MAX)), present: 0x8001, sums: [0xffff_fffe; 16] };
        let bytes = page.encode(Layer(3), 8, 21);
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(decode(&bytes, Layer(3), 8), Slot::Good(page, 21));
        assert_eq!(decode(&bytes, Layer(3), 9), Slot::Bad);
        assert_eq!(decode(&bytes, Layer(4), 8), Slot::Bad);
        assert_eq!(decode(&[0; BYTES], Layer(4), 8), Slot::Empty);
        for byte in 0..BYTES {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 0x10;
            assert_eq!(decode(&flipped, Layer(3), 8), Slot::Bad, "byte {byte}");
        }
    }
}
