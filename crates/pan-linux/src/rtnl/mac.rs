//! Ethernet addresses as the kernel takes them.

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Writes an Ethernet address the usual way, `02:00:00:00:00:01`.
pub fn format_mac(mac: Mac) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
