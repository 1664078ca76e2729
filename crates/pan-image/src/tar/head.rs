//! A head of an archive: one block of fields.

use crate::Refusal;

/// Everything in an archive is made of blocks of this size.
pub(super) const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A head whose checksum is right.
pub(super) struct Head {
    block: [u8; BLOCK],
    pub flag: u8,
}

impl Head {
    pub(super) fn new(block: [u8; BLOCK]) -> Result<Self, Refusal> {
        let wanted = number(&block[CHECKSUM])?;
        let blank = |(at, byte): (usize, &u8)| if CHECKSUM.contains(&at) { b' ' } else { *byte };
        let unsigned: i64 = block.iter().enumerate().map(|pair| i64::from(blank(pair))).sum();
        // Some early programs took bytes for signed.
        let signed: i64 = block.iter().enumerate().map(|pair| i64::from(blank(pair).cast_signed())).sum();
        if i64::try_from(wanted).is_ok_and(|wanted| wanted == unsigned || wanted == signed) {
            Ok(Self { block, flag: block[156] })
        } else {
            Err(Refusal::Archive("a head's checksum is wrong"))
        }
    }

    /// Name, with its prefix where the format has one: GNU uses that place for other things.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.block[0..100]);
        let prefix = text(&self.block[345..500]);
        if &self.block[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
    }

    pub(super) fn target(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, Refusal> {
        Ok(u32::try_from(number(&self.block[100..108])? & 0o7777).expect("twelve bits"))
    }

    pub(super) fn uid(&self) -> Result<u64, Refusal> {
        number(&self.block[108..116])
    }

    pub(super) fn gid(&self) -> Result<u64, Refusal> {
        number(&self.block[116..124])
    }

    pub(super) fn size(&self) -> Result<u64, Refusal> {
        number(&self.block[124..136])
    }

    pub(super) fn mtime(&self) -> Result<u64, Refusal> {
        let field = &self.block[136..148];
        // Before 1970.
        if field[0] == 0xff { Ok(0) } else { number(field) }
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal digits between blanks, or, with the highest bit set, the number itself.
fn number(field: &[u8]) -> Result<u64, Refusal> {
    let wrong = || Refusal::Archive("a number in a head is none");
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        // The first byte carries the mark and, of fields of more than eight bytes, no value that fits.
        let rest = high.iter().skip(1).all(|byte| *byte == 0) && (high.is_empty() || high[0] == 0x80);
        let mut bytes: [u8; 8] = low.try_into().map_err(|_| wrong())?;
        if high.is_empty() {
            bytes[0] &= 0x7f;
            if bytes[0] & 0x40 != 0 {
                return Err(wrong());
            }
        }
        return if rest { Ok(u64::from_be_bytes(bytes)) } else { Err(wrong()) };
    }
    let digits = field.iter().copied().skip_while(|byte| *byte == b' ').take_while(|byte| !matches!(byte, 0 | b' '));
    digits.into_iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8).map(|number| number + u64::from(digit - b'0')).ok_or_else(wrong),
        _ => Err(wrong()),
    })
}
