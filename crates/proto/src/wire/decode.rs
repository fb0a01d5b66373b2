//! Decodes a value of a scanned message into any type: a `serde` deserializer over the tape.
//!
//! It gives the same values as `serde_json` on the text of the node; strings are borrowed.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Error;

use crate::wire::tape::{Elements, Kind, Members, Node};

/// How `serde_json` recognises its raw values in another format.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Decodes the value.
pub fn decode<'de, T: Deserialize<'de>>(node: Node<'de>) -> Result<T, Error> {
    T::deserialize(Decoder(node))
}

#[derive(Clone, Copy)]
struct Decoder<'de>(Node<'de>);

impl<'de> Decoder<'de> {
    fn visit_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.as_str() {
            Some(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Some(Cow::Owned(text)) => visitor.visit_string(text),
            None => self.visit_any(visitor),
        }
    }

    fn visit_number<V: Visitor<'de>>(digits: &str, visitor: V) -> Result<V::Value, Error> {
        if let Ok(number) = digits.parse::<u64>() {
            return visitor.visit_u64(number);
        }
        // Negative zero is a float, as it is for serde_json.
        if let Ok(number) = digits.parse::<i64>()
            && number != 0
        {
            return visitor.visit_i64(number);
        }
        match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(de::Error::custom("number out of range")),
        }
    }

    fn visit_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.kind() {
            Kind::Null => visitor.visit_unit(),
            Kind::True => visitor.visit_bool(true),
            Kind::False => visitor.visit_bool(false),
            Kind::Number => Self::visit_number(self.0.as_json(), visitor),
            Kind::String | Kind::EscapedString => self.visit_str(visitor),
            Kind::Array => {
                let mut elements = ElementAccess(self.0.elements());
                let value = visitor.visit_seq(&mut elements)?;
                match elements.0.next() {
                    None => Ok(value),
                    Some(_) => Err(de::Error::custom("trailing elements in an array")),
                }
            }
            Kind::Object => {
                let mut members = MemberAccess {
                    members: self.0.members(),
                    value: None,
                };
                let value = visitor.visit_map(&mut members)?;
                match members.members.next() {
                    None => Ok(value),
                    Some(_) => Err(de::Error::custom("trailing members in an object")),
                }
            }
        }
    }
}

impl<'de> de::Deserializer<'de> for Decoder<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.kind() {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW_VALUE {
            return visitor.visit_map(RawAccess(Some(self.0.as_json())));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0.kind() {
            Kind::Object => {
                let mut members = self.0.members();
                if members.next().is_none() || members.next().is_some() {
                    return Err(de::Error::custom("expected an object with one member"));
                }
                visitor.visit_enum(MapAccessDeserializer::new(MemberAccess {
                    members: self.0.members(),
                    value: None,
                }))
            }
            _ => match self.0.as_str() {
                Some(Cow::Borrowed(text)) => visitor.visit_enum(borrowed(text)),
                Some(Cow::Owned(text)) => {
                    let text: StringDeserializer<Error> = text.into_deserializer();
                    visitor.visit_enum(text)
                }
                None => Err(de::Error::custom("expected a string or an object")),
            },
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct
    }
}

fn borrowed(text: &str) -> BorrowedStrDeserializer<'_, Error> {
    BorrowedStrDeserializer::new(text)
}

struct ElementAccess<'de>(Elements<'de>);

impl<'de> SeqAccess<'de> for ElementAccess<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0
            .next()
            .map(|node| seed.deserialize(Decoder(node)))
            .transpose()
    }
}

struct MemberAccess<'de> {
    members: Members<'de>,
    value: Option<Node<'de>>,
}

impl<'de> MapAccess<'de> for MemberAccess<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.members.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(KeyDecoder(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(Decoder(value)),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// A key is text on the wire; maps with numbers or flags as keys read them from it.
struct KeyDecoder<'de>(Node<'de>);

macro_rules! numeric_keys {
    ($($method:ident => $visit:ident as $type:ty),+ $(,)?) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                let text = self.0.as_str().unwrap_or_default();
                match text.parse::<$type>() {
                    Ok(key) => visitor.$visit(key),
                    Err(_) => Decoder(self.0).visit_str(visitor),
                }
            }
        )+
    };
}

impl<'de> de::Deserializer<'de> for KeyDecoder<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Decoder(self.0).visit_str(visitor)
    }

    numeric_keys! {
        deserialize_bool => visit_bool as bool,
        deserialize_i8 => visit_i8 as i8,
        deserialize_i16 => visit_i16 as i16,
        deserialize_i32 => visit_i32 as i32,
        deserialize_i64 => visit_i64 as i64,
        deserialize_u8 => visit_u8 as u8,
        deserialize_u16 => visit_u16 as u16,
        deserialize_u32 => visit_u32 as u32,
        deserialize_u64 => visit_u64 as u64,
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
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Decoder(self.0).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

/// A raw value in the form in which `serde_json` hands it to itself.
struct RawAccess<'de>(Option<&'de str>);

impl<'de> MapAccess<'de> for RawAccess<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if self.0.is_none() {
            return Ok(None);
        }
        seed.deserialize(borrowed(RAW_VALUE)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(borrowed(self.0.take().unwrap_or("null")))
    }
}

/// The message of a decoder without its position: a model cannot use line and column.
pub fn without_position(error: &Error) -> Cow<'static, str> {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned().into(),
        None => text.into(),
    }
}
