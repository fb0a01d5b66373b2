//! Content blocks of messages and tool results, annotations, roles.
//!
//! One enum for every place that holds content; which variants a place may hold in which revision
//! is a matter of `wire/project.rs`. A block of an unknown type is kept raw.

use std::fmt;

use serde::de::{self, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::object::{Extra, KeySeed, Meta, OpenObject, RawJson, ReadAhead, open_object};
use crate::resources::{Resource, ResourceContents};

/// Who speaks, or for whom something is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

open_object! {
    /// Hints for the client on how to use a piece of content.
    pub struct Annotations {
        optional {
            /// For whom the content is meant.
            audience: Vec<Role> = "audience",
            /// How important it is, from 0 (entirely optional) to 1 (effectively required).
            priority: f64 = "priority",
            /// When it last changed, ISO 8601 (from 2025-06-18).
            last_modified: String = "lastModified",
        }
    }
}

open_object! {
    /// Text.
    pub struct TextContent tagged "text" {
        required {
            /// The text itself.
            text: String = "text",
        }
        optional {
            /// Hints for the client.
            annotations: Box<Annotations> = "annotations",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// An image, base64.
    pub struct ImageContent tagged "image" {
        required {
            /// The bytes of the image in base64.
            data: String = "data",
            /// Its media type.
            mime_type: String = "mimeType",
        }
        optional {
            /// Hints for the client.
            annotations: Box<Annotations> = "annotations",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Sound, base64 (from 2025-03-26).
    pub struct AudioContent tagged "audio" {
        required {
            /// The bytes of the sound in base64.
            data: String = "data",
            /// Its media type.
            mime_type: String = "mimeType",
        }
        optional {
            /// Hints for the client.
            annotations: Box<Annotations> = "annotations",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// The contents of a resource, embedded into a message or result.
    pub struct EmbeddedResource tagged "resource" {
        required {
            /// What was read, with its URI.
            resource: ResourceContents = "resource",
        }
        optional {
            /// Hints for the client.
            annotations: Box<Annotations> = "annotations",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// A model asks for a tool during sampling (from 2025-11-25).
    pub struct ToolUseContent tagged "tool_use" {
        required {
            /// Names this use, for its result.
            id: String = "id",
            /// The tool.
            name: String = "name",
            /// Its arguments.
            input: RawJson = "input",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// What a tool answered during sampling (from 2025-11-25).
    pub struct ToolResultContent tagged "tool_result" {
        required {
            /// The use that this answers.
            tool_use_id: String = "toolUseId",
        }
        defaulted {
            /// The content of the result.
            content: Vec<Content> = "content",
        }
        optional {
            /// The structured form of the result.
            structured_content: RawJson = "structuredContent",
            /// Did the tool fail?
            is_error: bool = "isError",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

/// A block of an unknown type: all its members, `type` included.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherContent {
    /// The value of `type`.
    pub kind: String,
    /// The remaining members.
    pub members: Extra,
}

/// One block of content.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text(TextContent),
    /// An image.
    Image(Box<ImageContent>),
    /// Sound.
    Audio(Box<AudioContent>),
    /// An embedded resource.
    Resource(Box<EmbeddedResource>),
    /// A link to a resource (from 2025-06-18).
    ResourceLink(Box<Resource>),
    /// A tool use, in sampling only.
    ToolUse(Box<ToolUseContent>),
    /// A tool result, in sampling only.
    ToolResult(Box<ToolResultContent>),
    /// A type that this model does not know.
    Other(Box<OtherContent>),
}

impl Content {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextContent::new(text))
    }

    /// An image block from base64 data.
    pub fn image(data: impl Into<String>, mime_type: impl Into<String>) -> Self {
        Self::Image(Box::new(ImageContent::new(data, mime_type)))
    }

    /// An audio block from base64 data.
    pub fn audio(data: impl Into<String>, mime_type: impl Into<String>) -> Self {
        Self::Audio(Box::new(AudioContent::new(data, mime_type)))
    }

    /// An embedded resource.
    pub fn resource(contents: impl Into<ResourceContents>) -> Self {
        Self::Resource(Box::new(EmbeddedResource::new(contents)))
    }

    /// A link to a resource.
    pub fn resource_link(resource: Resource) -> Self {
        Self::ResourceLink(Box::new(resource))
    }

    /// The text, if this is a text block.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(content) => Some(&content.text),
            _ => None,
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// `Resource` has no tag of its own; as a content block it has one.
struct LinkBody<'a>(&'a Resource);

impl Serialize for LinkBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "resource_link")?;
        self.0.serialize_members(&mut map)?;
        map.end()
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(content) => content.serialize(serializer),
            Self::Image(content) => content.serialize(serializer),
            Self::Audio(content) => content.serialize(serializer),
            Self::Resource(content) => content.serialize(serializer),
            Self::ResourceLink(resource) => LinkBody(resource).serialize(serializer),
            Self::ToolUse(content) => content.serialize(serializer),
            Self::ToolResult(content) => content.serialize(serializer),
            Self::Other(content) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("type", &content.kind)?;
                content.members.serialize_into(&mut map)?;
                map.end()
            }
        }
    }
}

/// Reads up to the `type` member, then reads on as that type. Nearly every sender writes `type`
/// first; what came before it is kept raw and read again.
struct ContentVisitor;

impl<'de> de::Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content block")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut ahead = ReadAhead::new();
        let kind: String = loop {
            match map.next_key_seed(KeySeed)? {
                Some(key) if key == "type" => break map.next_value()?,
                Some(key) => ahead.push((key.into(), map.next_value()?)),
                None => return Err(de::Error::missing_field("type")),
            }
        };
        Ok(match kind.as_str() {
            "text" => Content::Text(OpenObject::read_map(ahead, map)?),
            "image" => Content::Image(Box::new(OpenObject::read_map(ahead, map)?)),
            "audio" => Content::Audio(Box::new(OpenObject::read_map(ahead, map)?)),
            "resource" => Content::Resource(Box::new(OpenObject::read_map(ahead, map)?)),
            "resource_link" => Content::ResourceLink(Box::new(OpenObject::read_map(ahead, map)?)),
            "tool_use" => Content::ToolUse(Box::new(OpenObject::read_map(ahead, map)?)),
            "tool_result" => Content::ToolResult(Box::new(OpenObject::read_map(ahead, map)?)),
            _ => {
                let mut members = Extra::default();
                for (key, raw) in ahead {
                    members.push(key, raw);
                }
                while let Some(key) = map.next_key_seed(KeySeed)? {
                    members.push(key.into_owned(), map.next_value()?);
                }
                Content::Other(Box::new(OtherContent { kind, members }))
            }
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ContentVisitor)
    }
}

/// One block or a list of blocks: sampling messages hold one block until 2025-06-18 and one or
/// several from 2025-11-25 on.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrMany(pub Vec<Content>);

impl From<Content> for OneOrMany {
    fn from(content: Content) -> Self {
        Self(vec![content])
    }
}

impl From<Vec<Content>> for OneOrMany {
    fn from(blocks: Vec<Content>) -> Self {
        Self(blocks)
    }
}

impl From<&str> for OneOrMany {
    fn from(text: &str) -> Self {
        Content::text(text).into()
    }
}

impl From<String> for OneOrMany {
    fn from(text: String) -> Self {
        Content::text(text).into()
    }
}

impl OneOrMany {
    /// The texts of all text blocks, one per line.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.0.iter().filter_map(Content::as_text).collect();
        texts.join("\n")
    }
}

impl Serialize for OneOrMany {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;

        impl<'de> de::Visitor<'de> for OneOrManyVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a content block or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany, A::Error> {
                ContentVisitor.visit_map(map).map(OneOrMany::from)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = seq.next_element()? {
                    blocks.push(block);
                }
                Ok(OneOrMany(blocks))
            }
        }

        deserializer.deserialize_any(OneOrManyVisitor)
    }
}
