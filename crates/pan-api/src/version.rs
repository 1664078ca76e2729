//! The version of the internal wire format.

/// Format version of every internal message; an unknown one is refused with both numbers.
pub const WIRE_VERSION: u16 = 1;
