//! Fields of the documented interface whose capability does not exist yet: present so that they are
//! refused by name, never ignored.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A field that is refused when given. It is only ever absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NotYet;

/// The phrase every such refusal carries, so that callers can tell it from a wrong value.
pub const NOT_YET: &str = "not yet supported by this version; remove the field";

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(NOT_YET))
    }
}

impl JsonSchema for NotYet {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NotYet".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"not": {}, "description": "not yet supported by this version"})
    }
}
