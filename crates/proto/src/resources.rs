//! `resources/list`, `resources/templates/list`, `resources/read`, subscriptions: the types.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/server/resources>

use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::content::Annotations;
use crate::icon::Icon;
use crate::object::{Extra, KeySeed, Meta, OpenObject, OpenVisitor, ReadAhead, open_object};

open_object! {
    /// A resource that a server knows by its URI. Also the body of a resource link.
    pub struct Resource {
        required {
            /// Its URI, of any scheme; the server interprets it.
            uri: String = "uri",
            /// Its name.
            name: String = "name",
        }
        optional {
            /// A name for people (from 2025-06-18).
            title: String = "title",
            /// What it holds.
            description: String = "description",
            /// Its media type.
            mime_type: String = "mimeType",
            /// Hints for the client.
            annotations: Box<Annotations> = "annotations",
            /// Size of the raw content in bytes.
            size: u64 = "size",
            /// Icons (from 2025-11-25).
            icons: Vec<Icon> = "icons",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

impl Resource {
    /// Writes the members into a map that was begun elsewhere.
    pub(crate) fn serialize_members<M: serde::ser::SerializeMap>(
        &self,
        map: &mut M,
    ) -> Result<(), M::Error> {
        map.serialize_entry("uri", &self.uri)?;
        map.serialize_entry("name", &self.name)?;
        if let Some(title) = &self.title {
            map.serialize_entry("title", title)?;
        }
        if let Some(description) = &self.description {
            map.serialize_entry("description", description)?;
        }
        if let Some(mime_type) = &self.mime_type {
            map.serialize_entry("mimeType", mime_type)?;
        }
        if let Some(annotations) = &self.annotations {
            map.serialize_entry("annotations", annotations)?;
        }
        if let Some(size) = &self.size {
            map.serialize_entry("size", size)?;
        }
        if let Some(icons) = &self.icons {
            map.serialize_entry("icons", icons)?;
        }
        if let Some(meta) = &self.meta {
            map.serialize_entry("_meta", meta)?;
        }
        self.extra.serialize_into(map)
    }
}

open_object! {
    /// A family of resources whose URIs follow an RFC 6570 template.
    pub struct ResourceTemplate {
        required {
            /// The template.
            uri_template: String = "uriTemplate",
            /// Its name.
            name: String = "name",
        }
        optional {
            /// A name for people (from 2025-06-18).
            title: String = "title",
            /// What the resources hold.
            description: String = "description",
            /// The media type, only if all resources share it.
            mime_type: String = "mimeType",
            /// Hints for the client.
            annotations: Box<Annotations> = "annotations",
            /// Icons (from 2025-11-25).
            icons: Vec<Icon> = "icons",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

/// The bytes of a resource: text, or anything else in base64.
#[derive(Debug, Clone, PartialEq)]
pub enum ResourceData {
    /// Content that really is text.
    Text(String),
    /// Base64 of the bytes.
    Blob(String),
}

/// What was read from one resource.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResourceContents {
    /// Where it was read.
    pub uri: String,
    /// Its media type.
    pub mime_type: Option<String>,
    /// The content.
    pub data: ResourceData,
    /// Attached metadata (from 2025-06-18).
    pub meta: Option<Box<Meta>>,
    /// Members that the model does not name.
    pub extra: Extra,
}

impl ResourceContents {
    /// Text of a resource.
    pub fn text(uri: impl Into<String>, text: impl Into<String>) -> Self {
        Self::from_data(uri.into(), ResourceData::Text(text.into()))
    }

    /// Bytes of a resource, already in base64.
    pub fn blob(uri: impl Into<String>, base64: impl Into<String>) -> Self {
        Self::from_data(uri.into(), ResourceData::Blob(base64.into()))
    }

    fn from_data(uri: String, data: ResourceData) -> Self {
        Self {
            uri,
            mime_type: None,
            data,
            meta: None,
            extra: Extra::default(),
        }
    }

    /// Sets `mimeType`.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            ResourceData::Text(text) => Some(text),
            ResourceData::Blob(_) => None,
        }
    }
}

impl Serialize for ResourceContents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("uri", &self.uri)?;
        if let Some(mime_type) = &self.mime_type {
            map.serialize_entry("mimeType", mime_type)?;
        }
        match &self.data {
            ResourceData::Text(text) => map.serialize_entry("text", text)?,
            ResourceData::Blob(blob) => map.serialize_entry("blob", blob)?,
        }
        if let Some(meta) = &self.meta {
            map.serialize_entry("_meta", meta)?;
        }
        self.extra.serialize_into(&mut map)?;
        map.end()
    }
}

impl<'de> OpenObject<'de> for ResourceContents {
    fn read_map<A: MapAccess<'de>>(_ahead: ReadAhead, mut map: A) -> Result<Self, A::Error> {
        let (mut uri, mut mime_type, mut meta) = (None, None, None);
        let (mut text, mut blob) = (None::<String>, None::<String>);
        let mut extra = Extra::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match &*key {
                "uri" => uri = Some(map.next_value()?),
                "mimeType" => mime_type = map.next_value()?,
                "_meta" => meta = map.next_value()?,
                "text" => text = map.next_value()?,
                "blob" => blob = map.next_value()?,
                _ => extra.push(key.into_owned(), map.next_value()?),
            }
        }
        let data = match (text, blob) {
            (Some(text), None) => ResourceData::Text(text),
            (None, Some(blob)) => ResourceData::Blob(blob),
            (None, None) => return Err(de::Error::custom("neither text nor blob")),
            (Some(_), Some(_)) => return Err(de::Error::custom("both text and blob")),
        };
        Ok(Self {
            uri: uri.ok_or_else(|| de::Error::missing_field("uri"))?,
            mime_type,
            data,
            meta,
            extra,
        })
    }
}

impl<'de> Deserialize<'de> for ResourceContents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OpenVisitor::<Self>::new())
    }
}

open_object! {
    /// Result of `resources/list`.
    pub struct ListResourcesResult {
        defaulted {
            /// This page.
            resources: Vec<Resource> = "resources",
        }
        optional {
            /// Where the next page starts; absent on the last one.
            next_cursor: String = "nextCursor",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `resources/templates/list`.
    pub struct ListResourceTemplatesResult {
        defaulted {
            /// This page.
            resource_templates: Vec<ResourceTemplate> = "resourceTemplates",
        }
        optional {
            /// Where the next page starts; absent on the last one.
            next_cursor: String = "nextCursor",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Params of `resources/read`, `resources/subscribe`, `resources/unsubscribe` and
    /// `notifications/resources/updated`.
    pub struct ResourceParams {
        required {
            /// The resource.
            uri: String = "uri",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `resources/read`.
    pub struct ReadResourceResult {
        defaulted {
            /// What was read; several when the URI names a collection.
            contents: Vec<ResourceContents> = "contents",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

impl From<ResourceContents> for ReadResourceResult {
    fn from(contents: ResourceContents) -> Self {
        Self::new().contents(vec![contents])
    }
}
