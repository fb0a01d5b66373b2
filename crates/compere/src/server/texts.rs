//! Variables of a template and arguments of a prompt: always texts on the wire, of any type in a
//! handler. A number or a truth is parsed from its text.

use std::collections::BTreeMap;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Error;

/// Decodes texts by their names.
pub(crate) fn decode<T: DeserializeOwned>(texts: &BTreeMap<String, String>) -> Result<T, Error> {
    let entries = texts
        .iter()
        .map(|(name, text)| (name.as_str(), Text { name, text }));
    T::deserialize(MapDeserializer::new(entries))
}

#[derive(Clone, Copy)]
struct Text<'t> {
    name: &'t str,
    text: &'t str,
}

impl<'t> IntoDeserializer<'t, Error> for Text<'t> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Text<'_> {
    fn parse<T: std::str::FromStr>(self, wanted: &str) -> Result<T, Error> {
        self.text.trim().parse().map_err(|_| {
            let shown: String = self.text.chars().take(64).collect();
            Error::custom(format_args!("{}: {shown:?} is no {wanted}", self.name))
        })
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $wanted:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.parse($wanted)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = Error;

    parsed! {
        deserialize_bool visit_bool "true or false"
        deserialize_i8 visit_i8 "integer that fits"
        deserialize_i16 visit_i16 "integer that fits"
        deserialize_i32 visit_i32 "integer that fits"
        deserialize_i64 visit_i64 "integer that fits"
        deserialize_i128 visit_i128 "integer that fits"
        deserialize_u8 visit_u8 "whole number that fits"
        deserialize_u16 visit_u16 "whole number that fits"
        deserialize_u32 visit_u32 "whole number that fits"
        deserialize_u64 visit_u64 "whole number that fits"
        deserialize_u128 visit_u128 "whole number that fits"
        deserialize_f32 visit_f32 "number"
        deserialize_f64 visit_f64 "number"
        deserialize_char visit_char "single character"
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.text.into_deserializer())
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}
