//! Keys and digests of 32 bytes, written in hexadecimal digits.

use std::path::{Path, PathBuf};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Why a file gives no key. What the file holds instead is not told: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("read the key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{} holds no key: expected 64 hexadecimal digits", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file that holds a key and nothing else but space around it.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], KeyFileError> {
    let text = std::fs::read_to_string(path).map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    parse_key(&text).ok_or_else(|| KeyFileError::NoKey { path: path.to_owned() })
}

/// Reads a file that holds some keys, a line each, and nothing else but space around them.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_keys(path: &Path) -> Result<Vec<[u8; KEY_BYTES]>, KeyFileError> {
    let text = std::fs::read_to_string(path).map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    let keys: Option<Vec<_>> = text.trim().lines().map(parse_key).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| KeyFileError::NoKey { path: path.to_owned() })
}

/// The key that 64 hexadecimal digits write, of either case; space around them does not count.
#[must_use]
pub fn parse_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    let (pairs, rest) = text.trim().as_bytes().as_chunks::<2>();
    if pairs.len() != KEY_BYTES || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut key = [0; KEY_BYTES];
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(key)
}

/// The hexadecimal digits of bytes, in lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_digits_are_a_key() {
        let mut expected = [0xab; KEY_BYTES];
        expected[0] = 0x01;
        assert_eq!(parse_key(&format!(" 01{}\n", "aB".repeat(31))), Some(expected));
        for bad in ["", "00", &"0g".repeat(32), &"+1".repeat(32), &"00".repeat(33), &"é".repeat(32), &format!("{}0", "00".repeat(32))] {
            assert_eq!(parse_key(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_refusal_names_the_file_and_not_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pan.key");
        assert!(matches!(read_key(&path), Err(KeyFileError::Read { .. })));
        std::fs::write(&path, "secret").unwrap();
        let text = read_key(&path).unwrap_err().to_string();
        assert!(text.contains("pan.key") && !text.contains("secret"), "{text}");
    }
}
