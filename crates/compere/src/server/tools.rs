//! A tool of a server: its definition, its handler, and its rules.

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use compere_proto::Limits;
use compere_proto::Moment;
use compere_proto::connection::rate::Rate;
use compere_proto::icon::Icon;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::object::RawJson;
use compere_proto::tasks::TaskSupport;
use compere_proto::tools::{CallToolResult, Tool, ToolAnnotations};
use compere_proto::ui::{self, UiTool};
use compere_proto::wire::header;
use schemars::Schema;
use tower_layer::Layer;
use tower_service::Service;

use crate::driver::call::BoxFuture;
use crate::server::context::Context;
use crate::server::extract::{Call, States};
use crate::server::handler::Handler;
use crate::server::registry::Prepared;
use crate::server::reply::{IntoToolResult, ToolError};
use crate::server::schema;
use crate::server::session::Session;
use crate::validate::Validation;

/// What calls a tool, whatever it is made of.
pub(crate) trait ToolHandler: Send + Sync + 'static {
    fn call(&self, call: &Call<'_>) -> BoxFuture<Result<CallToolResult, ToolError>>;
}

struct Function<H, A, O> {
    handler: H,
    types: std::marker::PhantomData<fn(A) -> O>,
}

impl<H, A, O> ToolHandler for Function<H, A, O>
where
    H: Handler<A, O>,
    A: 'static,
    O: IntoToolResult + 'static,
{
    fn call(&self, call: &Call<'_>) -> BoxFuture<Result<CallToolResult, ToolError>> {
        match self.handler.call(call) {
            Ok(future) => Box::pin(async move { future.await.into_tool_result() }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// A tool whose results are held against the schema that was written for them. For results made from
/// a type the type itself is the proof.
struct Promised {
    inner: Arc<dyn ToolHandler>,
    validation: Arc<Validation>,
}

impl ToolHandler for Promised {
    fn call(&self, call: &Call<'_>) -> BoxFuture<Result<CallToolResult, ToolError>> {
        let calling = self.inner.call(call);
        let validation = self.validation.clone();
        let core = call.session().core.clone();
        Box::pin(async move {
            let result = calling.await?;
            match kept(&validation, &result, &core.options.limits) {
                Ok(()) => Ok(result),
                Err(why) => Err(std::io::Error::other(format!(
                    "the result does not fit its schema: {why}"
                ))
                .into()),
            }
        })
    }
}

/// Does a result hold what the schema promises? A failure of the tool promises nothing.
pub(crate) fn kept(
    validation: &Validation,
    result: &CallToolResult,
    limits: &Limits,
) -> Result<(), String> {
    match &result.structured_content {
        _ if result.failed() => Ok(()),
        Some(structured) => validation.check_text(structured.get(), limits),
        None => Err("there is no structured content".to_owned()),
    }
}

/// A rule that says who sees something.
pub(crate) type Visible = Arc<dyn Fn(&Session) -> bool + Send + Sync>;

/// How often a tool may be called by one peer.
#[derive(Clone, Default)]
pub(crate) enum CallRate {
    /// Counts against the rate of the peer.
    #[default]
    Peer,
    /// Does not count.
    Unlimited,
    /// Has its own, for all peers together.
    Own(Arc<Mutex<Rate>>, f64),
}

impl CallRate {
    /// `None`: counts against the peer.
    pub(crate) fn take(&self, now: Moment) -> Option<Result<(), ErrorObject>> {
        match self {
            Self::Peer => None,
            Self::Unlimited => Some(Ok(())),
            Self::Own(rate, per_second) => {
                let taken = rate
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(now);
                Some(if taken {
                    Ok(())
                } else {
                    Err(ErrorObject::limit("calls_per_second", per_second))
                })
            }
        }
    }
}

/// A tool of a server. Made by [`tool_fn`] or by `#[tool]`, refined by its methods, given to
/// [`Server::tool`](crate::Server::tool).
#[derive(Clone)]
pub struct ServerTool {
    pub(crate) definition: Tool,
    pub(crate) handler: Arc<dyn ToolHandler>,
    pub(crate) visible: Option<Visible>,
    pub(crate) rate: CallRate,
    pub(crate) task_support: TaskSupport,
    pub(crate) single_use: bool,
    pub(crate) states: Vec<(TypeId, &'static str)>,
    validate: Validate,
    input: SchemaSource,
    output: SchemaSource,
}

/// Where a schema comes from. Schemas of types are made when they are needed.
#[derive(Clone)]
enum SchemaSource {
    Given(Schema),
    Type(fn() -> Option<Schema>),
}

impl SchemaSource {
    fn schema(&self) -> Option<Schema> {
        match self {
            Self::Given(schema) => Some(schema.clone()),
            Self::Type(make) => make(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Validate {
    /// By the schema, unless the handler's type implies it.
    Auto,
    /// By the schema, in any case.
    Always,
    Never,
}

/// A tool made of a function.
///
/// The schema of its arguments comes from its [`Args`](crate::Args); without any, or with
/// [`RawArgs`](crate::RawArgs), it takes whatever [`ServerTool::input_schema`] says.
pub fn tool_fn<H, A, O>(name: impl Into<String>, handler: H) -> ServerTool
where
    H: Handler<A, O>,
    A: 'static,
    O: IntoToolResult + 'static,
{
    ServerTool {
        definition: Tool::new(name, RawJson::from(serde_json::Value::Null)),
        handler: Arc::new(Function {
            handler,
            types: std::marker::PhantomData,
        }),
        visible: None,
        rate: CallRate::default(),
        task_support: TaskSupport::default(),
        single_use: false,
        states: H::required_states(),
        validate: Validate::Auto,
        input: SchemaSource::Type(H::input_schema),
        output: SchemaSource::Type(O::output_schema),
    }
}

impl ServerTool {
    /// What the tool does, for the model.
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

    /// Hints on what it does (shown from 2025-03-26 on).
    #[must_use]
    pub fn annotations(mut self, annotations: ToolAnnotations) -> Self {
        self.definition.annotations = Some(Box::new(annotations));
        self
    }

    /// A schema written by hand, in place of the one of the handler's type. Arguments are validated
    /// by it.
    #[must_use]
    pub fn input_schema(mut self, schema: impl Into<Schema>) -> Self {
        self.input = SchemaSource::Given(schema.into());
        self.validate = Validate::Always;
        self
    }

    /// A schema of `structuredContent` written by hand. A result that does not fit is not sent: it is
    /// logged, and the client is told of an internal error.
    #[must_use]
    pub fn output_schema(mut self, schema: impl Into<Schema>) -> Self {
        let schema = schema.into();
        self.handler = Arc::new(Promised {
            inner: self.handler,
            validation: Arc::new(Validation::by_schema(
                schema.as_value().clone(),
                &Limits::DEFAULT,
            )),
        });
        self.output = SchemaSource::Given(schema);
        self
    }

    /// No validation by the schema; the handler checks its arguments itself.
    #[must_use]
    pub fn unvalidated(mut self) -> Self {
        self.validate = Validate::Never;
        self
    }

    /// At most so many calls per second, `burst` at once, by all peers together.
    #[must_use]
    pub fn rate(mut self, per_second: f64, burst: f64) -> Self {
        self.rate = CallRate::Own(
            Arc::new(Mutex::new(Rate::new(per_second, burst))),
            per_second,
        );
        self
    }

    /// No bound on calls per second, not even the one of the peer. For tools that cost nothing.
    #[must_use]
    pub fn unlimited_rate(mut self) -> Self {
        self.rate = CallRate::Unlimited;
        self
    }

    /// Says that the tool may, or must, be called as a task: the call is answered with a handle, and
    /// the result is fetched later. Only 2025-11-25 has tasks; in other revisions the tool is called
    /// as usual. A server declares tasks if one of its tools has this when it starts.
    #[must_use]
    pub fn task_support(mut self, support: TaskSupport) -> Self {
        self.task_support = support;
        self.definition.execution = support.execution();
        self
    }

    /// Says that what comes after a question must not happen twice: a stateless client that brings the
    /// state of a round again is refused. This process remembers which were used, for
    /// [`Limits::request_state_lifetime`](compere_proto::Limits::request_state_lifetime); several that share
    /// keys need [`Server::used_states`](crate::Server::used_states).
    #[must_use]
    pub fn single_use(mut self) -> Self {
        self.single_use = true;
        self
    }

    /// Says which interface shows its results, and who may call it (the extension MCP Apps). The server declares
    /// the extension then, and does not start without the interface: a resource of its own, whose URI begins with
    /// `ui://`.
    #[must_use]
    pub fn ui(mut self, ui: &UiTool) -> Self {
        let meta = self.definition.meta.get_or_insert_default();
        if let Err(error) = ui::write(meta, ui) {
            tracing::error!(%error, "what is said of an interface cannot be written");
        }
        self
    }

    /// Shows the tool only to some clients. For the others it does not exist.
    #[must_use]
    pub fn visible_to(mut self, rule: impl Fn(&Session) -> bool + Send + Sync + 'static) -> Self {
        self.visible = Some(Arc::new(rule));
        self
    }

    /// Wraps the calls of this tool. A layer that is not ready makes the call wait, never the
    /// connection.
    #[must_use]
    pub fn layer<L>(mut self, layer: &L) -> Self
    where
        L: Layer<ToolService>,
        L::Service: Service<ToolRequest, Response = CallToolResult, Error = ToolError>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as Service<ToolRequest>>::Future: Send + 'static,
    {
        let service = layer.layer(ToolService(self.handler));
        self.handler = Arc::new(Layered(service));
        self
    }

    /// The definition that clients see, with its schemas.
    pub fn definition(&self) -> Tool {
        self.described().0
    }

    /// The definition, and its input schema as a value.
    fn described(&self) -> (Tool, serde_json::Value) {
        let mut definition = self.definition.clone();
        let input = self.input.schema().unwrap_or_else(schema::empty);
        definition.input_schema = schema::raw(&input);
        definition.output_schema = self.output.schema().as_ref().map(schema::raw);
        (definition, input.into())
    }

    /// Checks what needs no schema.
    pub(crate) fn check_name(&self, limits: &Limits) -> Result<(), String> {
        let name = &self.definition.name;
        if name.is_empty() || name.len() > limits.token_bytes {
            return Err(format!("the tool name {name:?} is empty or too long"));
        }
        Ok(())
    }

    /// Makes the definition, checks it against the bounds, and chooses how arguments are
    /// validated.
    pub(crate) fn prepare(&self, limits: &Limits) -> Result<Prepared, String> {
        let (definition, schema) = self.described();
        let name = &definition.name;
        if schema.get("type").and_then(serde_json::Value::as_str) != Some("object") {
            return Err(format!(
                "the schema of the tool {name:?} needs \"type\": \"object\" at its root"
            ));
        }
        schema::check(&schema, limits)
            .map_err(|why| format!("the schema of the tool {name:?} is refused: {why}"))?;
        let mirrored = header::mirrored(&schema)
            .map_err(|why| format!("the schema of the tool {name:?} is refused: {why}"))?;
        let validation = match self.validate {
            Validate::Never => Validation::Off,
            Validate::Auto if schema::is_implied(&schema) => Validation::ByType,
            _ => Validation::by_schema(schema, limits),
        };
        Ok(Prepared {
            definition,
            validation,
            mirrored: mirrored.into(),
        })
    }

    pub(crate) fn missing_state(&self, states: &States) -> Option<&'static str> {
        missing_state(&self.states, states)
    }
}

pub(crate) fn missing_state(
    needed: &[(TypeId, &'static str)],
    states: &States,
) -> Option<&'static str> {
    needed
        .iter()
        .find(|(state, _)| !states.contains(*state))
        .map(|(_, name)| *name)
}

/// Anything that can be registered as a tool: [`ServerTool`], or a function with `#[tool]`.
pub trait IntoTool {
    /// The tool.
    fn into_tool(self) -> ServerTool;
}

impl IntoTool for ServerTool {
    fn into_tool(self) -> ServerTool {
        self
    }
}

impl<F: Fn() -> ServerTool> IntoTool for F {
    fn into_tool(self) -> ServerTool {
        self()
    }
}

/// A call as layers see it.
#[derive(Debug, Clone)]
pub struct ToolRequest {
    /// The JSON text of the arguments; they have been validated.
    pub arguments: RawJson,
    /// The context of the call.
    pub context: Context,
    session: SessionHandle,
}

#[derive(Clone)]
struct SessionHandle(Arc<crate::server::session::SessionShared>);

impl std::fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.0.id)
    }
}

/// The innermost service: the handler of the tool.
#[derive(Clone)]
pub struct ToolService(Arc<dyn ToolHandler>);

impl Service<ToolRequest> for ToolService {
    type Response = CallToolResult;
    type Error = ToolError;
    type Future = Pin<Box<dyn Future<Output = Result<CallToolResult, ToolError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut TaskContext<'_>) -> Poll<Result<(), ToolError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ToolRequest) -> Self::Future {
        let call = Call::with_context(
            &request.session.0,
            request.arguments.get(),
            &request.context,
        );
        self.0.call(&call)
    }
}

/// A handler inside of layers.
struct Layered<S>(S);

impl<S> ToolHandler for Layered<S>
where
    S: Service<ToolRequest, Response = CallToolResult, Error = ToolError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    fn call(&self, call: &Call<'_>) -> BoxFuture<Result<CallToolResult, ToolError>> {
        let mut service = self.0.clone();
        let arguments = RawJson::from_text(call.arguments());
        let context = call.context();
        let session = SessionHandle(call.session().clone());
        Box::pin(async move {
            let request = ToolRequest {
                arguments: arguments?,
                context,
                session,
            };
            std::future::poll_fn(|context| service.poll_ready(context)).await?;
            service.call(request).await
        })
    }
}
