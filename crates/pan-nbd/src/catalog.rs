//! What a server exports. Decided before the first client comes; nothing in it changes during a connection.

use pan_model::ByteSize;

use crate::numbers::can;

/// The longest string of the protocol ("Conventions").
pub(crate) const STRING_MAX: usize = 4096;

/// More names than this are no list that a client could want to read; it also bounds one reply to `NBD_OPT_LIST`.
pub const EXPORTS_MAX: usize = 256;

/// Reads of this many bytes have to be possible in one piece (`NBD_CMD_FLAG_DF`).
const UNFRAGMENTED: u32 = 64 << 10;

/// Twice what the specification lets clients send that know no bound.
const MAXIMUM_MAX: u32 = 64 << 20;

/// What is wrong with what is to be exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    #[error("an export's name or description of {found} bytes, or with NUL in it: at most {STRING_MAX} bytes without NUL")]
    Text { found: usize },
    #[error("block sizes {minimum}, {preferred}, {maximum}: {rule}")]
    BlockSizes { minimum: u32, preferred: u32, maximum: u32, rule: &'static str },
    #[error("{size} is not a multiple of the smallest block, {minimum} bytes: its end could not be reached")]
    Size { size: ByteSize, minimum: u32 },
    #[error("two exports with the name {name:?}")]
    Twice { name: String },
    #[error("{found} exports; at most {EXPORTS_MAX}")]
    Count { found: usize },
}

/// A name as clients say it; may be empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportName(String);

impl ExportName {
    /// # Errors
    /// Longer than 4,096 bytes, or with NUL in it.
    pub fn new(name: impl Into<String>) -> Result<Self, CatalogError> {
        text(name.into()).map(Self)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn text(text: String) -> Result<String, CatalogError> {
    let fine = text.len() <= STRING_MAX && !text.contains('\0');
    if fine { Ok(text) } else { Err(CatalogError::Text { found: text.len() }) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// Whether clients may use several connections at once: only if a flush on one of them covers what was acknowledged on
/// all (`NBD_FLAG_CAN_MULTI_CONN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    One,
    Many,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    Solid,
    Rotational,
}

/// "Block size constraints", in bytes. A request that does not keep to them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    minimum: u32,
    preferred: u32,
    maximum: u32,
}

impl BlockSizes {
    /// What clients suppose that ask for nothing: any byte, rather 4 KiB, and up to 32 MiB.
    pub const UNTOLD: Self = Self { minimum: 1, preferred: 4 << 10, maximum: 32 << 20 };

    /// # Errors
    /// Not what the specification allows; the error says the rule.
    pub fn new(minimum: u32, preferred: u32, maximum: u32) -> Result<Self, CatalogError> {
        let rules = [
            (minimum.is_power_of_two() && minimum <= UNFRAGMENTED, "the minimum is a power of two of at most 64 KiB"),
            (preferred.is_power_of_two() && preferred >= minimum.max(512), "the preferred is a power of two, at least 512 and the minimum"),
            (maximum >= preferred.max(UNFRAGMENTED), "the maximum is at least 64 KiB and the preferred"),
            (maximum <= MAXIMUM_MAX, "the maximum is at most 64 MiB"),
            (minimum > 0 && maximum.is_multiple_of(minimum), "the maximum is a multiple of the minimum"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(CatalogError::BlockSizes { minimum, preferred, maximum, rule }),
            None => Ok(Self { minimum, preferred, maximum }),
        }
    }

    #[must_use]
    pub fn minimum(self) -> u32 {
        self.minimum
    }

    #[must_use]
    pub fn preferred(self) -> u32 {
        self.preferred
    }

    /// The longest read or write.
    #[must_use]
    pub fn maximum(self) -> u32 {
        self.maximum
    }

    /// Whether a client has to have heard of them before it can be served: those that never ask keep to sectors.
    #[must_use]
    pub fn must_be_told(self) -> bool {
        self.minimum > 512
    }
}

/// One thing that clients can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub name: ExportName,
    /// For people; may be empty.
    pub description: String,
    pub size: ByteSize,
    pub access: Access,
    pub connections: Connections,
    pub medium: Medium,
    pub blocks: BlockSizes,
}

impl Export {
    /// Its transmission flags. `NBD_FLAG_SEND_DF` has a meaning with structured replies only.
    pub(crate) fn flags(&self, structured: bool) -> u16 {
        let access = match self.access {
            Access::ReadOnly => can::READ_ONLY,
            Access::ReadWrite => can::SEND_FLUSH | can::SEND_FUA | can::SEND_TRIM | can::SEND_WRITE_ZEROES | can::SEND_FAST_ZERO,
        };
        let connections = match self.connections {
            Connections::One => 0,
            Connections::Many => can::CAN_MULTI_CONN,
        };
        let medium = match self.medium {
            Medium::Solid => 0,
            Medium::Rotational => can::ROTATIONAL,
        };
        let fragments = if structured { can::SEND_DF } else { 0 };
        can::HAS_FLAGS | can::SEND_CACHE | access | connections | medium | fragments
    }
}

/// Which export of the catalogue, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportIndex(pub usize);

/// Whether `NBD_OPT_LIST` is answered. Where it is not, only who knows a name can use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    Shown,
    Hidden,
}

/// All that a server exports. A client that says no name gets the only export, if there is only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    exports: Vec<Export>,
    listing: Listing,
}

impl Catalog {
    /// # Errors
    /// Too many, a name twice, or a size whose end no block reaches.
    pub fn new(exports: Vec<Export>, listing: Listing) -> Result<Self, CatalogError> {
        if exports.len() > EXPORTS_MAX {
            return Err(CatalogError::Count { found: exports.len() });
        }
        for (at, export) in exports.iter().enumerate() {
            text(export.description.clone())?;
            let minimum = export.blocks.minimum();
            if !export.size.0.is_multiple_of(u64::from(minimum)) {
                return Err(CatalogError::Size { size: export.size, minimum });
            }
            if exports[..at].iter().any(|other| other.name == export.name) {
                return Err(CatalogError::Twice { name: export.name.0.clone() });
            }
        }
        Ok(Self { exports, listing })
    }

    #[must_use]
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    pub(crate) fn listing(&self) -> Listing {
        self.listing
    }

    pub(crate) fn find(&self, name: &str) -> Option<(ExportIndex, &Export)> {
        let named = self.exports.iter().position(|export| export.name.as_str() == name);
        let only = (name.is_empty() && self.exports.len() == 1).then_some(0);
        named.or(only).map(|at| (ExportIndex(at), &self.exports[at]))
    }
}
