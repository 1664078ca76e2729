//! Keys and data of elements: their bytes as the kernel compares them, and their text as `nft` writes it.

use std::fmt;
use std::net::IpAddr;

use crate::nfnetlink::Message;
use crate::rtnl::{Mac, format_mac};

/// `NFTA_DATA_VALUE` and `NFTA_DATA_VERDICT` of `enum nft_data_attributes`.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// `enum nft_verdict_attributes`.
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_GOTO` of `enum nft_verdicts`.
const GOTO: i32 = -4;
/// `IFNAMSIZ`.
const INTERFACE_LEN: usize = 16;
/// `NFT_REG32_SIZE`: each part of a concatenation begins at a multiple of it.
const REGISTER: usize = 4;

/// A key, or the data a map has for one; the set's `type` says which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `mark`.
    Mark(u32),
    /// `ipv4_addr` or `ipv6_addr`.
    Ip(IpAddr),
    /// `inet_proto`, a number as in `IPPROTO_TCP`.
    Protocol(u8),
    /// `inet_service`.
    Port(u16),
    /// `ifname`, at most 15 bytes.
    Interface(String),
    /// `ether_addr`.
    Ether(Mac),
    /// Several, as in `ipv4_addr . inet_service`.
    Concat(Vec<Value>),
}

impl Value {
    /// The bytes in the kernel's registers: marks in the machine's order, everything that travels in the network's.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Value::Mark(mark) => mark.to_ne_bytes().to_vec(),
            Value::Ip(IpAddr::V4(address)) => address.octets().to_vec(),
            Value::Ip(IpAddr::V6(address)) => address.octets().to_vec(),
            Value::Protocol(number) => vec![*number],
            Value::Port(port) => port.to_be_bytes().to_vec(),
            Value::Interface(name) => {
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(INTERFACE_LEN.max(bytes.len()), 0);
                bytes
            }
            Value::Ether(mac) => mac.to_vec(),
            Value::Concat(parts) => {
                let mut bytes = Vec::new();
                for part in parts {
                    bytes.extend(part.bytes());
                    bytes.resize(bytes.len().next_multiple_of(REGISTER), 0);
                }
                bytes
            }
        }
    }

    pub(super) fn write(&self, message: &mut Message, attribute: u16) {
        message.nest(attribute, |message| {
            message.push(DATA_VALUE, &self.bytes());
        });
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Mark(mark) => write!(f, "{mark}"),
            Value::Ip(address) => write!(f, "{address}"),
            Value::Protocol(6) => f.write_str("tcp"),
            Value::Protocol(17) => f.write_str("udp"),
            Value::Protocol(number) => write!(f, "{number}"),
            Value::Port(port) => write!(f, "{port}"),
            Value::Interface(name) => write!(f, "\"{name}\""),
            Value::Ether(mac) => f.write_str(&format_mac(*mac)),
            Value::Concat(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if at == 0 { "" } else { " . " })?;
                }
                Ok(())
            }
        }
    }
}

/// What a map has for a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// A value.
    Value(Value),
    /// The verdict `goto CHAIN`.
    Goto(String),
}

impl Data {
    pub(super) fn write(&self, message: &mut Message, attribute: u16) {
        match self {
            Data::Value(value) => value.write(message, attribute),
            Data::Goto(chain) => {
                message.nest(attribute, |message| {
                    message.nest(DATA_VERDICT, |message| {
                        message.push(VERDICT_CODE, &GOTO.to_be_bytes()).push_text(VERDICT_CHAIN, chain);
                    });
                });
            }
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Value(value) => write!(f, "{value}"),
            Data::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_concatenation_begin_at_registers() {
        let ip = |text: &str| Value::Ip(text.parse().unwrap());
        let key = Value::Concat(vec![ip("198.18.0.10"), Value::Protocol(6), Value::Port(80)]);
        assert_eq!(key.bytes(), [198, 18, 0, 10, 6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(key.to_string(), "198.18.0.10 . tcp . 80");
        assert_eq!(Value::Port(80).bytes(), [0, 80]);
        assert_eq!(Value::Interface("v1".into()).bytes().len(), 16);
        let guard = Value::Concat(vec![Value::Interface("v1".into()), Value::Ether([2, 0, 0, 0, 0, 1])]);
        assert_eq!(guard.bytes().len(), 24);
        assert_eq!(guard.to_string(), "\"v1\" . 02:00:00:00:00:01");
    }
}
