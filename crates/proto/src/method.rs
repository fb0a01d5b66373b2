//! Every method of the protocol in one table: who sends it, what it is, in which revisions it
//! exists, which capability it needs. Whether a method exists is asked here and nowhere else.

use std::fmt;

use crate::capability::Capability;
use crate::revision::{Era, Revision};

/// A method or notification of the core protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // Each variant is its wire name in another spelling; the table has both.
pub enum Method {
    Initialize,
    Ping,
    Discover,
    ToolsList,
    ToolsCall,
    PromptsList,
    PromptsGet,
    ResourcesList,
    ResourcesTemplatesList,
    ResourcesRead,
    ResourcesSubscribe,
    ResourcesUnsubscribe,
    CompletionComplete,
    LoggingSetLevel,
    SubscriptionsListen,
    SamplingCreateMessage,
    RootsList,
    ElicitationCreate,
    TasksGet,
    TasksResult,
    TasksList,
    TasksCancel,
    TasksUpdate,
    Initialized,
    Cancelled,
    Progress,
    Message,
    ResourcesListChanged,
    ResourcesUpdated,
    PromptsListChanged,
    ToolsListChanged,
    RootsListChanged,
    ElicitationComplete,
    TasksStatus,
    TasksChanged,
    SubscriptionsAcknowledged,
    /// A request that is none of the protocol's, and that somebody added: its name stands with it.
    Extension,
}

/// Who may send a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    ToServer,
    /// Server to client.
    ToClient,
    /// Either.
    Both,
}

/// One of the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Makes the connection and asks.
    Client,
    /// Offers tools, resources and prompts.
    Server,
}

impl Role {
    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Request or notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Has an id and is answered.
    Request,
    /// Has none and is not.
    Notification,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct MethodRow {
    /// The method.
    pub method: Method,
    /// Its name on the wire.
    pub name: &'static str,
    /// Who sends it.
    pub direction: Direction,
    /// Request or notification.
    pub kind: Kind,
    /// The first revision that has it.
    pub first: Revision,
    /// The last revision that has it.
    pub last: Revision,
    /// What must have been declared.
    pub capability: Capability,
    /// May a stateless server answer it with a question?
    pub may_ask: bool,
    /// Do its stateless results carry cache fields?
    pub cacheable: bool,
}

use Capability as C;
use Direction::{Both, ToClient, ToServer};
use Kind::{Notification, Request};
use Method as M;
use Revision as R;

const OLDEST: R = R::V2024_11_05;
const NEWEST: R = R::V2026_07_28;
const LAST_HANDSHAKE: R = R::V2025_11_25;

const fn row(
    method: Method,
    name: &'static str,
    direction: Direction,
    kind: Kind,
    first: Revision,
    last: Revision,
    capability: Capability,
) -> MethodRow {
    MethodRow {
        method,
        name,
        direction,
        kind,
        first,
        last,
        capability,
        may_ask: false,
        cacheable: false,
    }
}

const fn asks(mut row: MethodRow) -> MethodRow {
    row.may_ask = true;
    row
}

const fn caches(mut row: MethodRow) -> MethodRow {
    row.cacheable = true;
    row
}

/// Every method, in the order of [`Method`].
#[rustfmt::skip]
pub const METHODS: &[MethodRow] = &[
    row(M::Initialize, "initialize", ToServer, Request, OLDEST, LAST_HANDSHAKE, C::None),
    row(M::Ping, "ping", Both, Request, OLDEST, LAST_HANDSHAKE, C::None),
    caches(row(M::Discover, "server/discover", ToServer, Request, NEWEST, NEWEST, C::None)),
    caches(row(M::ToolsList, "tools/list", ToServer, Request, OLDEST, NEWEST, C::Tools)),
    asks(row(M::ToolsCall, "tools/call", ToServer, Request, OLDEST, NEWEST, C::Tools)),
    caches(row(M::PromptsList, "prompts/list", ToServer, Request, OLDEST, NEWEST, C::Prompts)),
    asks(row(M::PromptsGet, "prompts/get", ToServer, Request, OLDEST, NEWEST, C::Prompts)),
    caches(row(M::ResourcesList, "resources/list", ToServer, Request, OLDEST, NEWEST, C::Resources)),
    caches(row(M::ResourcesTemplatesList, "resources/templates/list", ToServer, Request, OLDEST, NEWEST, C::Resources)),
    caches(asks(row(M::ResourcesRead, "resources/read", ToServer, Request, OLDEST, NEWEST, C::Resources))),
    row(M::ResourcesSubscribe, "resources/subscribe", ToServer, Request, OLDEST, LAST_HANDSHAKE, C::ResourcesSubscribe),
    row(M::ResourcesUnsubscribe, "resources/unsubscribe", ToServer, Request, OLDEST, LAST_HANDSHAKE, C::ResourcesSubscribe),
    row(M::CompletionComplete, "completion/complete", ToServer, Request, OLDEST, NEWEST, C::Completions),
    row(M::LoggingSetLevel, "logging/setLevel", ToServer, Request, OLDEST, LAST_HANDSHAKE, C::Logging),
    row(M::SubscriptionsListen, "subscriptions/listen", ToServer, Request, NEWEST, NEWEST, C::None),
    row(M::SamplingCreateMessage, "sampling/createMessage", ToClient, Request, OLDEST, LAST_HANDSHAKE, C::Sampling),
    row(M::RootsList, "roots/list", ToClient, Request, OLDEST, LAST_HANDSHAKE, C::Roots),
    row(M::ElicitationCreate, "elicitation/create", ToClient, Request, R::V2025_06_18, LAST_HANDSHAKE, C::Elicitation),
    row(M::TasksGet, "tasks/get", ToServer, Request, R::V2025_11_25, NEWEST, C::Tasks),
    row(M::TasksResult, "tasks/result", ToServer, Request, R::V2025_11_25, R::V2025_11_25, C::Tasks),
    row(M::TasksList, "tasks/list", ToServer, Request, R::V2025_11_25, R::V2025_11_25, C::TasksList),
    row(M::TasksCancel, "tasks/cancel", ToServer, Request, R::V2025_11_25, NEWEST, C::TasksCancel),
    row(M::TasksUpdate, "tasks/update", ToServer, Request, NEWEST, NEWEST, C::Tasks),
    row(M::Initialized, "notifications/initialized", ToServer, Notification, OLDEST, LAST_HANDSHAKE, C::None),
    row(M::Cancelled, "notifications/cancelled", Both, Notification, OLDEST, NEWEST, C::None),
    row(M::Progress, "notifications/progress", Both, Notification, OLDEST, NEWEST, C::None),
    row(M::Message, "notifications/message", ToClient, Notification, OLDEST, NEWEST, C::Logging),
    row(M::ResourcesListChanged, "notifications/resources/list_changed", ToClient, Notification, OLDEST, NEWEST, C::ResourcesListChanged),
    row(M::ResourcesUpdated, "notifications/resources/updated", ToClient, Notification, OLDEST, NEWEST, C::ResourcesSubscribe),
    row(M::PromptsListChanged, "notifications/prompts/list_changed", ToClient, Notification, OLDEST, NEWEST, C::PromptsListChanged),
    row(M::ToolsListChanged, "notifications/tools/list_changed", ToClient, Notification, OLDEST, NEWEST, C::ToolsListChanged),
    row(M::RootsListChanged, "notifications/roots/list_changed", ToServer, Notification, OLDEST, LAST_HANDSHAKE, C::RootsListChanged),
    row(M::ElicitationComplete, "notifications/elicitation/complete", ToClient, Notification, R::V2025_11_25, R::V2025_11_25, C::Elicitation),
    row(M::TasksStatus, "notifications/tasks/status", ToClient, Notification, R::V2025_11_25, R::V2025_11_25, C::Tasks),
    row(M::TasksChanged, "notifications/tasks", ToClient, Notification, NEWEST, NEWEST, C::None),
    row(M::SubscriptionsAcknowledged, "notifications/subscriptions/acknowledged", ToClient, Notification, NEWEST, NEWEST, C::None),
    row(M::Extension, "", Both, Request, OLDEST, NEWEST, C::None),
];

// The table is in the order of the enum, and no range of revisions is empty.
const _: () = {
    let mut index = 0;
    while index < METHODS.len() {
        let row = &METHODS[index];
        assert!(
            row.method as usize == index,
            "the table is in the order of the enum"
        );
        assert!(
            row.first as u8 <= row.last as u8,
            "a range of revisions is not empty"
        );
        assert!(
            matches!(row.kind, Request) || !row.may_ask && !row.cacheable,
            "only requests ask or are cached"
        );
        index += 1;
    }
    assert!(index == M::Extension as usize + 1, "every method has a row");
};

impl Method {
    /// The row of this method.
    pub const fn row(self) -> &'static MethodRow {
        &METHODS[self as usize]
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The method with this name, in any revision.
    pub fn from_name(name: &str) -> Option<Self> {
        // The one method that decides how fast we are, ahead of the search.
        if name == "tools/call" {
            return Some(Self::ToolsCall);
        }
        METHODS
            .iter()
            .find(|row| row.name == name && !name.is_empty())
            .map(|row| row.method)
    }

    /// Does the method exist in this revision?
    pub fn exists_in(self, revision: Revision) -> bool {
        let row = self.row();
        row.first <= revision && revision <= row.last
    }

    /// May this role receive the method?
    pub const fn goes_to(self, role: Role) -> bool {
        matches!(
            (self.row().direction, role),
            (Both, _) | (ToServer, Role::Server) | (ToClient, Role::Client)
        )
    }

    /// What must have been declared for this method in this revision. Completion has no
    /// capability in 2024-11-05.
    pub const fn capability_in(self, revision: Revision) -> Capability {
        match self.row().capability {
            Capability::Completions if !revision.rules().completions_capability => Capability::None,
            // There they are an extension, which each request declares.
            Capability::Tasks | Capability::TasksCancel
                if matches!(revision.era(), Era::Stateless) =>
            {
                Capability::None
            }
            capability => capability,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
