//! `initialize` and what both sides say of themselves.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/lifecycle>

use crate::capability::{ClientCapabilities, ServerCapabilities};
use crate::icon::Icon;
use crate::object::{Meta, open_object};

open_object! {
    /// Name and version of a client or server. Self-reported: for display and logs, never for
    /// decisions.
    pub struct Implementation {
        required {
            /// Its name.
            name: String = "name",
            /// Its version.
            version: String = "version",
        }
        optional {
            /// A name for people (from 2025-06-18).
            title: String = "title",
            /// What it is (from 2025-11-25).
            description: String = "description",
            /// Icons (from 2025-11-25).
            icons: Vec<Icon> = "icons",
            /// Where to read more (from 2025-11-25).
            website_url: String = "websiteUrl",
        }
    }
}

open_object! {
    /// Params of `initialize`.
    pub struct InitializeParams {
        required {
            /// The newest version that the client wants to speak.
            protocol_version: String = "protocolVersion",
            /// What the client can do.
            capabilities: ClientCapabilities = "capabilities",
            /// Who the client is.
            client_info: Implementation = "clientInfo",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `initialize`.
    pub struct InitializeResult {
        required {
            /// The version of the session.
            protocol_version: String = "protocolVersion",
            /// What the server can do.
            capabilities: ServerCapabilities = "capabilities",
            /// Who the server is.
            server_info: Implementation = "serverInfo",
        }
        optional {
            /// How to use the server, for the model.
            instructions: String = "instructions",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `server/discover` (from 2026-07-28). How long it may be kept is written with it.
    pub struct DiscoverResult {
        required {
            /// The versions of the stateless era that the server speaks.
            supported_versions: Vec<String> = "supportedVersions",
            /// What the server can do.
            capabilities: ServerCapabilities = "capabilities",
        }
        optional {
            /// How to use the server, for the model.
            instructions: String = "instructions",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
