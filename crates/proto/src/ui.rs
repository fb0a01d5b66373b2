//! The extension `io.modelcontextprotocol/ui`, MCP Apps: what tools and resources say of the interfaces that
//! belong to them. It is metadata; showing an interface, in a frame that can do nothing by itself, is the
//! host's.
//!
//! Spec: <https://modelcontextprotocol.io/extensions/apps>

use serde::{Deserialize, Serialize};

use crate::object::{Meta, RawJson, open_object};
use crate::resources::Resource;
use crate::tools::Tool;

/// The identifier of the extension.
pub const EXTENSION: &str = "io.modelcontextprotocol/ui";
/// The media type of an interface: HTML of its own kind.
pub const MIME_TYPE: &str = "text/html;profile=mcp-app";
/// What URIs of interfaces begin with.
pub const SCHEME: &str = "ui://";
/// The member of `_meta`.
const KEY: &str = "ui";
/// What stood there before, for tools alone.
const OLD_KEY: &str = "ui/resourceUri";

/// Who may call a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UiVisibility {
    /// The model.
    Model,
    /// The interface.
    App,
}

open_object! {
    /// What a tool says of its interface.
    pub struct UiTool {
        optional {
            /// The interface that shows its results: a resource.
            resource_uri: String = "resourceUri",
            /// Who may call it; both unless it says so.
            visibility: Vec<UiVisibility> = "visibility",
        }
    }
}

impl UiTool {
    /// Is it offered to the model?
    pub fn is_for_model(&self) -> bool {
        self.is_for(UiVisibility::Model)
    }

    /// May the interface call it?
    pub fn is_for_app(&self) -> bool {
        self.is_for(UiVisibility::App)
    }

    fn is_for(&self, who: UiVisibility) -> bool {
        let visibility = self.visibility.as_ref();
        visibility.is_none_or(|visibility| visibility.contains(&who))
    }
}

open_object! {
    /// What an interface wants to reach. What it does not name is out of reach.
    pub struct UiCsp {
        optional {
            /// Where it connects to.
            connect_domains: Vec<String> = "connectDomains",
            /// Where it takes scripts, styles, images and fonts from.
            resource_domains: Vec<String> = "resourceDomains",
            /// What it shows in frames.
            frame_domains: Vec<String> = "frameDomains",
            /// What its links may be relative to.
            base_uri_domains: Vec<String> = "baseUriDomains",
        }
    }
}

open_object! {
    /// What a resource says of the interface that it is.
    pub struct UiResource {
        optional {
            /// What it wants to reach.
            csp: Box<UiCsp> = "csp",
            /// What of the machine it wants to use: `camera`, `microphone`, `geolocation`,
            /// `clipboardWrite`.
            permissions: RawJson = "permissions",
            /// An origin of its own, in the way of the host.
            domain: String = "domain",
            /// Is it better with a border?
            prefers_border: bool = "prefersBorder",
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(meta: Option<&Meta>) -> Option<T> {
    serde_json::from_str(meta?.extra.get(KEY)?.get()).ok()
}

/// Puts what is said of an interface into metadata.
pub fn write(meta: &mut Meta, ui: &impl Serialize) -> Result<(), serde_json::Error> {
    meta.extra.push(KEY, serde_json::value::to_raw_value(ui)?);
    Ok(())
}

impl Tool {
    /// What it says of its interface, if it has one; where that stood before, too. Untrusted.
    pub fn ui(&self) -> Option<UiTool> {
        let meta = self.meta.as_deref();
        read(meta).or_else(|| {
            let uri = meta?.extra.get(OLD_KEY)?;
            let uri: String = serde_json::from_str(uri.get()).ok()?;
            Some(UiTool::new().resource_uri(uri))
        })
    }
}

impl Resource {
    /// What it says of the interface that it is. Untrusted.
    pub fn ui(&self) -> Option<UiResource> {
        read(self.meta.as_deref())
    }
}
