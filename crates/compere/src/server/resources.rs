//! Resources and resource templates of a server.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use compere_proto::connection::stateless::{CacheHint, CacheScope};
use compere_proto::content::Annotations;
use compere_proto::icon::Icon;
use compere_proto::resources::{ReadResourceResult, Resource, ResourceTemplate};
use compere_proto::ui::{self, UiResource};
use compere_proto::uri_template::UriTemplate;

use crate::driver::call::BoxFuture;
use crate::server::extract::Call;
use crate::server::handler::Handler;
use crate::server::reply::{IntoResourceResult, ToolError};
use crate::server::session::Session;
use crate::server::tools::Visible;

/// A time as it is written.
pub(crate) fn hint(fresh: Duration, scope: CacheScope) -> CacheHint {
    CacheHint {
        ttl_ms: u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX),
        scope,
    }
}

pub(crate) type ResourceHandler = Arc<
    dyn Fn(&Call<'_>, Option<&str>) -> BoxFuture<Result<ReadResourceResult, ToolError>>
        + Send
        + Sync,
>;

fn handler_of<H, A, O>(handler: H) -> ResourceHandler
where
    H: Handler<A, O>,
    A: 'static,
    O: IntoResourceResult + 'static,
{
    Arc::new(move |call: &Call<'_>, mime_type: Option<&str>| {
        let uri = call.uri().unwrap_or_default().to_owned();
        let mime_type = mime_type.map(str::to_owned);
        match handler.call(call) {
            Ok(future) => Box::pin(async move {
                future
                    .await
                    .into_resource_result(&uri, mime_type.as_deref())
            }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    })
}

/// A resource of a server. Made by [`resource_fn`] or by `#[resource]`.
#[derive(Clone)]
pub struct ServerResource {
    pub(crate) definition: Resource,
    pub(crate) handler: ResourceHandler,
    pub(crate) visible: Option<Visible>,
    pub(crate) subscribable: bool,
    pub(crate) cache: Option<CacheHint>,
    pub(crate) states: Vec<(TypeId, &'static str)>,
}

/// A resource made of a function that reads it.
pub fn resource_fn<H, A, O>(
    uri: impl Into<String>,
    name: impl Into<String>,
    handler: H,
) -> ServerResource
where
    H: Handler<A, O>,
    A: 'static,
    O: IntoResourceResult + 'static,
{
    ServerResource {
        definition: Resource::new(uri, name),
        handler: handler_of(handler),
        visible: None,
        subscribable: false,
        cache: None,
        states: H::required_states(),
    }
}

/// A family of resources of a server. Made by [`template_fn`] or by `#[resource]`.
#[derive(Clone)]
pub struct ServerTemplate {
    pub(crate) definition: ResourceTemplate,
    pub(crate) template: Result<UriTemplate, String>,
    pub(crate) handler: ResourceHandler,
    pub(crate) visible: Option<Visible>,
    pub(crate) subscribable: bool,
    pub(crate) cache: Option<CacheHint>,
    pub(crate) states: Vec<(TypeId, &'static str)>,
}

/// A family of resources made of a function that reads one. The template is RFC 6570; `{x}`,
/// `{+x}`, `{/x}` and `{?x}` can be matched. The function takes the variables as
/// [`Args`](crate::Args) or [`Variables`](crate::Variables), and the whole URI as
/// [`Uri`](crate::Uri).
pub fn template_fn<H, A, O>(
    uri_template: impl Into<String>,
    name: impl Into<String>,
    handler: H,
) -> ServerTemplate
where
    H: Handler<A, O>,
    A: 'static,
    O: IntoResourceResult + 'static,
{
    let uri_template = uri_template.into();
    let template = UriTemplate::parse(&uri_template)
        .and_then(|template| template.check_matchable().map(|()| template))
        .map_err(|error| format!("the template {uri_template:?} cannot be used: {error}"));
    ServerTemplate {
        definition: ResourceTemplate::new(uri_template, name),
        template,
        handler: handler_of(handler),
        visible: None,
        subscribable: false,
        cache: None,
        states: H::required_states(),
    }
}

macro_rules! resource_methods {
    ($type:ty) => {
        impl $type {
            /// What it holds.
            #[must_use]
            pub fn description(mut self, description: impl Into<String>) -> Self {
                self.definition.description = Some(description.into());
                self
            }

            /// An icon (shown from 2025-11-25 on); may be called several times.
            #[must_use]
            pub fn icon(mut self, icon: Icon) -> Self {
                self.definition.icons.get_or_insert_default().push(icon);
                self
            }

            /// A name for people (shown from 2025-06-18 on).
            #[must_use]
            pub fn title(mut self, title: impl Into<String>) -> Self {
                self.definition.title = Some(title.into());
                self
            }

            /// Its media type.
            #[must_use]
            pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
                self.definition.mime_type = Some(mime_type.into());
                self
            }

            /// Hints for the client.
            #[must_use]
            pub fn annotations(mut self, annotations: Annotations) -> Self {
                self.definition.annotations = Some(Box::new(annotations));
                self
            }

            /// Clients may subscribe to it; changes are announced with
            /// [`ServerHandle::resource_updated`](crate::ServerHandle::resource_updated).
            #[must_use]
            pub fn subscribable(mut self) -> Self {
                self.subscribable = true;
                self
            }

            /// How long clients of 2026-07-28 may keep what was read of it, and whether others may have it
            /// too; instead of what [`Server::cache`](crate::Server::cache) says.
            #[must_use]
            pub fn cache(mut self, fresh: Duration, scope: CacheScope) -> Self {
                self.cache = Some(hint(fresh, scope));
                self
            }

            /// Shows it only to some clients. For the others it does not exist.
            #[must_use]
            pub fn visible_to(
                mut self,
                rule: impl Fn(&Session) -> bool + Send + Sync + 'static,
            ) -> Self {
                self.visible = Some(Arc::new(rule));
                self
            }
        }
    };
}

resource_methods!(ServerResource);
resource_methods!(ServerTemplate);

impl ServerResource {
    /// Says that it is an interface (the extension MCP Apps): HTML, at a URI that begins with `ui://`.
    #[must_use]
    pub fn ui(mut self, ui: &UiResource) -> Self {
        let meta = self.definition.meta.get_or_insert_default();
        if let Err(error) = ui::write(meta, ui) {
            tracing::error!(%error, "what is said of an interface cannot be written");
        }
        self.mime_type(ui::MIME_TYPE)
    }

    /// Size of the raw content in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.definition.size = Some(bytes);
        self
    }
}

/// A resource, or a family of them: what [`Server::resource`](crate::Server::resource) takes.
pub enum ResourceOrTemplate {
    /// One resource.
    Resource(ServerResource),
    /// A family.
    Template(ServerTemplate),
}

/// Anything that can be registered as a resource or template.
pub trait IntoResource {
    /// The resource or template.
    fn into_resource(self) -> ResourceOrTemplate;
}

impl IntoResource for ServerResource {
    fn into_resource(self) -> ResourceOrTemplate {
        ResourceOrTemplate::Resource(self)
    }
}

impl IntoResource for ServerTemplate {
    fn into_resource(self) -> ResourceOrTemplate {
        ResourceOrTemplate::Template(self)
    }
}

impl IntoResource for ResourceOrTemplate {
    fn into_resource(self) -> ResourceOrTemplate {
        self
    }
}

impl<F: Fn() -> ResourceOrTemplate> IntoResource for F {
    fn into_resource(self) -> ResourceOrTemplate {
        self()
    }
}
