//! Open objects: structs that keep the members they do not know, and the `_meta` object.
//!
//! Every object of the protocol is open, so a gateway must be able to pass on what it does not
//! understand. The macro here writes the struct, its constructor, its setters and both directions
//! of serde in one place, without `flatten` or `untagged` and without buffering known members.

use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::jsonrpc::ProgressToken;

/// Members of an object that the model does not name: raw, in the order in which they came.
/// Their number and size are bounded by the bounds on the message that they came in.
#[derive(Clone, Default)]
pub struct Extra(Option<Box<ReadAhead>>);

impl Extra {
    /// Adds a member after the others.
    pub fn push(&mut self, key: impl Into<Box<str>>, value: Box<RawValue>) {
        self.0
            .get_or_insert_with(Box::default)
            .push((key.into(), value));
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0
            .iter()
            .flat_map(|members| members.iter())
            .map(|(key, value)| (&**key, &**value))
    }

    /// The member with this key.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// No members at all?
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|members| members.is_empty())
    }

    /// Forgets all members.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    pub(crate) fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(key, value)| (key, value.get())))
            .finish()
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.iter()
            .map(|(key, value)| (key, value.get()))
            .eq(other.iter().map(|(key, value)| (key, value.get())))
    }
}

/// Members that were read before it was known what they belong to.
pub(crate) type ReadAhead = Vec<(Box<str>, Box<RawValue>)>;

/// An open object that can be read on from the middle of a map.
pub(crate) trait OpenObject<'de>: Sized {
    fn read_map<A: MapAccess<'de>>(ahead: ReadAhead, map: A) -> Result<Self, A::Error>;
}

/// Parses the raw text of a member that was read ahead.
pub(crate) fn from_raw<T: DeserializeOwned, E: de::Error>(
    key: &str,
    raw: &RawValue,
) -> Result<T, E> {
    serde_json::from_str(raw.get()).map_err(|error| E::custom(format_args!("{key}: {error}")))
}

/// Writes an open object. `required` members must be there, `defaulted` ones are always written
/// and taken as their default when absent, `optional` ones are `Option`s left out when `None`;
/// `null` counts as absent, since several peers write it.
macro_rules! open_object {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(tagged $tag:literal)? {
            $( required { $( $(#[$rdoc:meta])* $rfield:ident : $rtype:ty = $rkey:literal ),+ $(,)? } )?
            $( defaulted { $( $(#[$ddoc:meta])* $dfield:ident : $dtype:ty = $dkey:literal ),+ $(,)? } )?
            $( optional { $( $(#[$odoc:meta])* $ofield:ident : $otype:ty = $okey:literal ),+ $(,)? } )?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $( $( $(#[$rdoc])* pub $rfield: $rtype, )+ )?
            $( $( $(#[$ddoc])* pub $dfield: $dtype, )+ )?
            $( $( $(#[$odoc])* pub $ofield: Option<$otype>, )+ )?
            /// Members that the model does not name.
            pub extra: $crate::object::Extra,
        }

        #[allow(clippy::new_without_default, clippy::should_implement_trait)]
        impl $name {
            /// A value with the required members; the others are set by the methods named after
            /// them.
            pub fn new($( $( $rfield: impl Into<$rtype> ),+ )?) -> Self {
                Self {
                    $( $( $rfield: $rfield.into(), )+ )?
                    $( $( $dfield: Default::default(), )+ )?
                    $( $( $ofield: None, )+ )?
                    extra: $crate::object::Extra::default(),
                }
            }
            $( $(
                #[doc = concat!("Sets `", $dkey, "`.")]
                #[must_use]
                pub fn $dfield(mut self, value: impl Into<$dtype>) -> Self {
                    self.$dfield = value.into();
                    self
                }
            )+ )?
            $( $(
                #[doc = concat!("Sets `", $okey, "`.")]
                #[must_use]
                pub fn $ofield(mut self, value: impl Into<$otype>) -> Self {
                    self.$ofield = Some(value.into());
                    self
                }
            )+ )?
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $( map.serialize_entry("type", $tag)?; )?
                $( $( map.serialize_entry($rkey, &self.$rfield)?; )+ )?
                $( $( map.serialize_entry($dkey, &self.$dfield)?; )+ )?
                $( $( if let Some(value) = &self.$ofield { map.serialize_entry($okey, value)?; } )+ )?
                self.extra.serialize_into(&mut map)?;
                map.end()
            }
        }

        impl<'de> $crate::object::OpenObject<'de> for $name {
            fn read_map<A: serde::de::MapAccess<'de>>(
                ahead: $crate::object::ReadAhead,
                mut map: A,
            ) -> Result<Self, A::Error> {
                $( $( let mut $rfield: Option<$rtype> = None; )+ )?
                $( $( let mut $dfield: Option<$dtype> = None; )+ )?
                $( $( let mut $ofield: Option<$otype> = None; )+ )?
                let mut extra = $crate::object::Extra::default();
                for (key, raw) in ahead {
                    match &*key {
                        $( $( $rkey => $rfield = Some($crate::object::from_raw($rkey, &raw)?), )+ )?
                        $( $( $dkey => $dfield = $crate::object::from_raw($dkey, &raw)?, )+ )?
                        $( $( $okey => $ofield = $crate::object::from_raw($okey, &raw)?, )+ )?
                        _ => extra.push(key, raw),
                    }
                }
                while let Some(key) = map.next_key_seed($crate::object::KeySeed)? {
                    match &*key {
                        $( "type" if $tag.len() > 0 => { map.next_value::<serde::de::IgnoredAny>()?; } )?
                        $( $( $rkey => $rfield = Some(map.next_value()?), )+ )?
                        $( $( $dkey => $dfield = map.next_value()?, )+ )?
                        $( $( $okey => $ofield = map.next_value()?, )+ )?
                        _ => extra.push(key.into_owned(), map.next_value()?),
                    }
                }
                Ok(Self {
                    $( $( $rfield: $rfield.ok_or_else(|| serde::de::Error::missing_field($rkey))?, )+ )?
                    $( $( $dfield: $dfield.unwrap_or_default(), )+ )?
                    $( $( $ofield, )+ )?
                    extra,
                })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map($crate::object::OpenVisitor::<Self>::new())
            }
        }
    };
}
pub(crate) use open_object;

/// Reads a member key, borrowed where the input allows it.
pub(crate) struct KeySeed;

impl<'de> de::DeserializeSeed<'de> for KeySeed {
    type Value = std::borrow::Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        struct KeyVisitor;

        impl<'de> de::Visitor<'de> for KeyVisitor {
            type Value = std::borrow::Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(key.into())
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(key.to_owned().into())
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The visitor of every open object.
pub(crate) struct OpenVisitor<T>(std::marker::PhantomData<T>);

impl<T> OpenVisitor<T> {
    pub(crate) fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<'de, T: OpenObject<'de>> de::Visitor<'de> for OpenVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read_map(ReadAhead::new(), map)
    }
}

/// The `_meta` object: a progress token and whatever the parties attach.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Meta {
    /// Asks the receiver of a request for `notifications/progress` with this token.
    pub progress_token: Option<ProgressToken>,
    /// All other members.
    pub extra: Extra,
}

impl Meta {
    /// A `_meta` that asks for progress.
    pub fn with_progress_token(token: impl Into<ProgressToken>) -> Self {
        Self {
            progress_token: Some(token.into()),
            extra: Extra::default(),
        }
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.progress_token.is_none() && self.extra.is_empty()
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(token) = &self.progress_token {
            map.serialize_entry("progressToken", token)?;
        }
        self.extra.serialize_into(&mut map)?;
        map.end()
    }
}

impl<'de> OpenObject<'de> for Meta {
    fn read_map<A: MapAccess<'de>>(_ahead: ReadAhead, mut map: A) -> Result<Self, A::Error> {
        let mut meta = Self::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if key == "progressToken" {
                meta.progress_token = map.next_value()?;
            } else {
                meta.extra.push(key.into_owned(), map.next_value()?);
            }
        }
        Ok(meta)
    }
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OpenVisitor::<Self>::new())
    }
}

/// A JSON value kept as its text, comparable by that text.
#[derive(Clone)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Serialises `value`.
    pub fn from_value(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// Checks that `text` is one JSON value and keeps it as it is.
    pub fn from_text(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.into()).map(Self)
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        RawValue::from_string("{}".to_owned())
            .map_or_else(|_| Self(RawValue::NULL.to_owned()), Self)
    }

    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Decodes it into a type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.get())
    }

    /// Does the text start an object?
    pub fn is_object(&self) -> bool {
        self.get().trim_start().starts_with('{')
    }
}

impl From<Box<RawValue>> for RawJson {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl From<serde_json::Value> for RawJson {
    fn from(value: serde_json::Value) -> Self {
        // The text of a `Value` is always one JSON value.
        RawValue::from_string(value.to_string())
            .map_or_else(|_| Self(RawValue::NULL.to_owned()), Self)
    }
}

impl From<serde_json::Map<String, serde_json::Value>> for RawJson {
    fn from(map: serde_json::Map<String, serde_json::Value>) -> Self {
        serde_json::Value::Object(map).into()
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}
