//! What each side declares that it can do, and the question whether it did.

use crate::object::{RawJson, open_object};
use crate::wire::scan::member;

open_object! {
    /// A capability with an optional `listChanged`.
    pub struct ListCapability {
        optional {
            /// Will changes of the list be announced?
            list_changed: bool = "listChanged",
        }
    }
}

open_object! {
    /// The `resources` capability.
    pub struct ResourcesCapability {
        optional {
            /// Can single resources be subscribed to?
            subscribe: bool = "subscribe",
            /// Will changes of the list be announced?
            list_changed: bool = "listChanged",
        }
    }
}

open_object! {
    /// What a client can do. An open set.
    pub struct ClientCapabilities {
        optional {
            /// Non-standard capabilities.
            experimental: RawJson = "experimental",
            /// It can say what roots there are.
            roots: ListCapability = "roots",
            /// It can sample from a model.
            sampling: RawJson = "sampling",
            /// It can ask the person (from 2025-06-18).
            elicitation: RawJson = "elicitation",
            /// Tasks (only 2025-11-25).
            tasks: RawJson = "tasks",
            /// Extensions by identifier (from 2026-07-28).
            extensions: RawJson = "extensions",
        }
    }
}

open_object! {
    /// What a server can do. An open set.
    pub struct ServerCapabilities {
        optional {
            /// Non-standard capabilities.
            experimental: RawJson = "experimental",
            /// It sends log messages.
            logging: RawJson = "logging",
            /// It completes arguments (from 2025-03-26).
            completions: RawJson = "completions",
            /// It has prompts.
            prompts: ListCapability = "prompts",
            /// It has resources.
            resources: ResourcesCapability = "resources",
            /// It has tools.
            tools: ListCapability = "tools",
            /// Tasks (only 2025-11-25).
            tasks: RawJson = "tasks",
            /// Extensions by identifier (from 2026-07-28).
            extensions: RawJson = "extensions",
        }
    }
}

/// Is a part of a capability there?
fn has(capability: Option<&RawJson>, part: &str) -> bool {
    capability.is_some_and(|capability| {
        capability.is_object() && member(capability.get(), part).is_some()
    })
}

impl ClientCapabilities {
    /// Can its model use tools that a server brings (from 2025-11-25)?
    pub fn samples_with_tools(&self) -> bool {
        has(self.sampling.as_ref(), "tools")
    }

    /// Can it fill in forms? Without saying anything else, elicitation is that.
    pub fn elicits_forms(&self) -> bool {
        let elicitation = self.elicitation.as_ref();
        elicitation.is_some() && (has(elicitation, "form") || !has(elicitation, "url"))
    }

    /// Can it send a person to a page (from 2025-11-25)?
    pub fn elicits_urls(&self) -> bool {
        has(self.elicitation.as_ref(), "url")
    }
}

impl ClientCapabilities {
    /// Does it declare this extension (from 2026-07-28)?
    pub fn has_extension(&self, identifier: &str) -> bool {
        has(self.extensions.as_ref(), identifier)
    }

    /// What it says of this extension, as JSON.
    pub fn extension(&self, identifier: &str) -> Option<&str> {
        member(self.extensions.as_ref()?.get(), identifier)
    }
}

impl ServerCapabilities {
    /// What it says of this extension (from 2026-07-28), as JSON; `None` if it has not got it.
    pub fn extension(&self, identifier: &str) -> Option<&str> {
        member(self.extensions.as_ref()?.get(), identifier)
    }

    /// Can tools be called as tasks (only 2025-11-25)?
    pub fn takes_tool_tasks(&self) -> bool {
        let requests = self.tasks.as_ref().filter(|tasks| tasks.is_object());
        let requests = requests.and_then(|tasks| member(tasks.get(), "requests"));
        requests
            .filter(|requests| requests.starts_with('{'))
            .and_then(|requests| member(requests, "tools"))
            .filter(|tools| tools.starts_with('{'))
            .is_some_and(|tools| member(tools, "call").is_some())
    }
}

/// A capability that a method needs its receiver, or a notification its sender, to have declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// None.
    None,
    /// Server: `prompts`.
    Prompts,
    /// Server: `prompts.listChanged`.
    PromptsListChanged,
    /// Server: `resources`.
    Resources,
    /// Server: `resources.subscribe`.
    ResourcesSubscribe,
    /// Server: `resources.listChanged`.
    ResourcesListChanged,
    /// Server: `tools`.
    Tools,
    /// Server: `tools.listChanged`.
    ToolsListChanged,
    /// Server: `completions`, in revisions that have it.
    Completions,
    /// Server: `logging`.
    Logging,
    /// Client: `roots`.
    Roots,
    /// Client: `roots.listChanged`.
    RootsListChanged,
    /// Client: `sampling`.
    Sampling,
    /// Client: `elicitation`.
    Elicitation,
    /// Client: `sampling.tools`.
    SamplingTools,
    /// Server: `tasks`.
    Tasks,
    /// Server: `tasks.list`.
    TasksList,
    /// Server: `tasks.cancel`.
    TasksCancel,
}

impl Capability {
    /// The name on the wire, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Prompts => "prompts",
            Self::PromptsListChanged => "prompts.listChanged",
            Self::Resources => "resources",
            Self::ResourcesSubscribe => "resources.subscribe",
            Self::ResourcesListChanged => "resources.listChanged",
            Self::Tools => "tools",
            Self::ToolsListChanged => "tools.listChanged",
            Self::Completions => "completions",
            Self::Logging => "logging",
            Self::Roots => "roots",
            Self::RootsListChanged => "roots.listChanged",
            Self::Sampling => "sampling",
            Self::Elicitation => "elicitation",
            Self::SamplingTools => "sampling.tools",
            Self::Tasks => "tasks",
            Self::TasksList => "tasks.list",
            Self::TasksCancel => "tasks.cancel",
        }
    }

    /// Did the two sides declare it?
    pub fn declared(self, client: &ClientCapabilities, server: &ServerCapabilities) -> bool {
        let yes = |flag: Option<bool>| flag == Some(true);
        match self {
            Self::None => true,
            Self::Prompts => server.prompts.is_some(),
            Self::PromptsListChanged => yes(server
                .prompts
                .as_ref()
                .and_then(|prompts| prompts.list_changed)),
            Self::Resources => server.resources.is_some(),
            Self::ResourcesSubscribe => yes(server
                .resources
                .as_ref()
                .and_then(|resources| resources.subscribe)),
            Self::ResourcesListChanged => yes(server
                .resources
                .as_ref()
                .and_then(|resources| resources.list_changed)),
            Self::Tools => server.tools.is_some(),
            Self::ToolsListChanged => {
                yes(server.tools.as_ref().and_then(|tools| tools.list_changed))
            }
            Self::Completions => server.completions.is_some(),
            Self::Logging => server.logging.is_some(),
            Self::Roots => client.roots.is_some(),
            Self::RootsListChanged => {
                yes(client.roots.as_ref().and_then(|roots| roots.list_changed))
            }
            Self::Sampling => client.sampling.is_some(),
            Self::Elicitation => client.elicitation.is_some(),
            Self::SamplingTools => client.samples_with_tools(),
            Self::Tasks => server.tasks.is_some(),
            Self::TasksList => has(server.tasks.as_ref(), "list"),
            Self::TasksCancel => has(server.tasks.as_ref(), "cancel"),
        }
    }
}
