//! Edits of headers that a service or route asks for.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use pan_model::proxy::{EditSpec, HeaderSpec, Misfit};

/// Edits that can be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Of requests.
    pub request: HeaderEdits,
    /// Of answers.
    pub response: HeaderEdits,
}

/// Edits of one head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl Edits {
    /// Compiles them.
    ///
    /// # Errors
    /// As [`EditSpec::check`].
    pub fn compile(spec: &EditSpec) -> Result<Self, Misfit> {
        spec.check()?;
        Ok(Self { request: HeaderEdits::compile(&spec.request)?, response: HeaderEdits::compile(&spec.response)? })
    }
}

impl HeaderEdits {
    /// Of edits that were checked; what the library that sends them takes for none all the same is refused.
    fn compile(spec: &HeaderSpec) -> Result<Self, Misfit> {
        let name = |text: &str| HeaderName::from_bytes(text.as_bytes()).map_err(|error| Misfit::new(text, error.to_string()));
        let pair = |(text, value): (&String, &String)| {
            let value = HeaderValue::from_str(value).map_err(|error| Misfit::new(text, error.to_string()))?;
            Ok((name(text)?, value))
        };
        Ok(Self {
            set: spec.set.iter().map(pair).collect::<Result<_, Misfit>>()?,
            add: spec.add.iter().map(pair).collect::<Result<_, Misfit>>()?,
            remove: spec.remove.iter().map(|text| name(text)).collect::<Result<_, Misfit>>()?,
        })
    }
}

impl HeaderEdits {
    /// Carries them out.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarded;

    fn spec(text: &str) -> EditSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn headers_are_removed_set_and_added_in_this_order() {
        let edits =
            Edits::compile(&spec(r#"{"request": {"set": {"a": "1"}, "add": {"b": "2"}, "remove": ["c", "a", "absent"]}}"#)).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "x"), ("a", "y"), ("b", "z"), ("c", "w")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        edits.request.apply(&mut headers);
        let found: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, [("b", "z"), ("b", "2"), ("a", "1")]);
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        for name in forwarded::HOP_BY_HOP.iter().map(HeaderName::as_str).chain(["content-length"]) {
            assert!(Edits::compile(&spec(&format!(r#"{{"request": {{"remove": ["{name}"]}}}}"#))).is_err(), "{name}");
        }
    }
}
