//! Hosts and paths in the one form in which they are compared.

use std::borrow::Cow;

/// A path that two readers could take for different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// A segment `.` or `..`: whoever resolves it leaves the place that a route was found by.
    #[error("the path has a segment . or .., or a backslash")]
    Dots,
    /// `%` without two hexadecimal digits, or one that stands for NUL or a slash or backslash.
    #[error("the path has a % that stands for no character of a path")]
    Escape,
}

/// A path as routes compare it: characters that need no escape have none (RFC 3986, 6.2.2.2). What is sent on is the
/// client's own.
///
/// # Errors
/// See [`BadPath`].
pub fn canonical(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let plain = if path.contains('%') { Cow::Owned(decoded(path)?) } else { Cow::Borrowed(path) };
    if plain.split('/').any(|segment| segment == "." || segment == "..") || plain.contains('\\') {
        return Err(BadPath::Dots);
    }
    Ok(plain)
}

fn decoded(path: &str) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut parts = path.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())).ok_or(BadPath::Escape)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| BadPath::Escape)?;
        match byte {
            0 | b'/' | b'\\' => return Err(BadPath::Escape),
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        out.push_str(&part[2..]);
    }
    Ok(out)
}

/// The host of an authority, without port and without the dot that may end a name. Its letters are as they were.
#[must_use]
pub fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}
