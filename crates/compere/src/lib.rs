//! The Model Context Protocol in Rust: servers, clients, and the transports between them.
//!
//! ```no_run
//! use compere::prelude::*;
//!
//! /// Add two numbers.
//! #[tool]
//! async fn add(a: f64, b: f64) -> f64 {
//!     a + b
//! }
//!
//! #[tokio::main]
//! async fn main() -> compere::Result<()> {
//!     Server::new("calculator", "1.0.0").tool(add).serve_stdio().await
//! }
//! ```
//!
//! [`Server`] and [`Client`] are where to start; [`model`] holds the types of the protocol;
//! [`transport`] is for streams of your own.
#![deny(missing_docs)]

mod driver;
mod error;

pub mod client;
pub mod gateway;
pub mod relay;
pub mod server;
pub mod text;
pub mod transport;
mod validate;

/// The types of the protocol, newest shape, one module per page of the specification.
pub mod model {
    pub use compere_proto::capability::*;
    pub use compere_proto::completion::*;
    pub use compere_proto::connection::stateless::CacheScope;
    pub use compere_proto::content::*;
    pub use compere_proto::elicitation::*;
    pub use compere_proto::icon::*;
    pub use compere_proto::jsonrpc::{ErrorObject, ProgressToken, RequestId, code};
    pub use compere_proto::lifecycle::*;
    pub use compere_proto::logging::*;
    pub use compere_proto::object::{Extra, Meta, RawJson};
    pub use compere_proto::progress::*;
    pub use compere_proto::prompts::*;
    pub use compere_proto::resources::*;
    pub use compere_proto::roots::*;
    pub use compere_proto::sampling::*;
    pub use compere_proto::tasks::*;
    pub use compere_proto::tools::*;
    pub use compere_proto::trace::{InvalidTrace, TraceContext};
    pub use compere_proto::ui::{UiCsp, UiResource, UiTool, UiVisibility};
    pub use compere_proto::uri_template::{UriTemplate, Value as TemplateValue};
}

pub use client::{Client, Command};
pub use compere_proto as proto;
pub use compere_proto::{Limits, Revision};
pub use error::{Error, ErrorKind, Result, ServerLost};
pub use relay::Relay;
pub use schemars;
pub use serde;
pub use serde_json;
pub use server::Server;
pub use server::completion::{CompletionQuery, rank};
pub use server::context::Context;
pub use server::extract::{Args, Call, FromCall, RawArgs, State, Uri, Variables};
pub use server::form::Elicited;
pub use server::handle::ServerHandle;
pub use server::handler::Handler;
pub use server::prompts::{IntoPrompt, ServerPrompt, prompt_fn};
pub use server::reply::{IntoPromptResult, IntoResourceResult, IntoToolResult, Json, ToolError};
pub use server::resources::{
    IntoResource, ResourceOrTemplate, ServerResource, ServerTemplate, resource_fn, template_fn,
};
pub use server::session::Session;
pub use server::tools::{IntoTool, ServerTool, ToolRequest, ToolService, tool_fn};

#[cfg(feature = "macros")]
pub use compere_macros::{prompt, resource, tool};

/// What most programs need.
pub mod prelude {
    pub use crate::model::{
        CallToolResult, Content, LoggingLevel, PromptMessage, ReadResourceResult, ResourceContents,
    };
    pub use crate::{
        Args, Client, Command, Context, Json, Server, State, ToolError, Uri, prompt_fn,
        resource_fn, template_fn, tool_fn,
    };
    #[cfg(feature = "macros")]
    pub use crate::{prompt, resource, tool};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::json;
}
