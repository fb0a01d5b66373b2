//! From a request to its handler: finds it, checks the arguments, polls it once where the
//! message was read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use compere_proto::capability::ServerCapabilities;
use compere_proto::completion::{CompleteParams, CompleteResult, Completion};
use compere_proto::connection::session::{Session as Machine, SessionConfig};
use compere_proto::connection::stateless::{
    CacheHint, Envelope, ListenParams, SERVER_INFO, input_responses, missing_extension,
};
use compere_proto::connection::{Inbound, classify};
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::lifecycle::DiscoverResult;
use compere_proto::object::{Meta, RawJson};
use compere_proto::resources::ResourceParams;
use compere_proto::tasks::{self, CreateTaskResult, TaskMetadata, TaskSupport};
use compere_proto::trace::TraceContext;
use compere_proto::wire::decode::{decode, without_position};
use compere_proto::wire::header::Mirrored;
use compere_proto::wire::scan::Params;
use compere_proto::wire::tape::{Kind, Node};
use compere_proto::{Era, Method, Moment, Revision};

use crate::client::rounds::with_members;
use crate::driver::call::{CallShared, Handling, Work, panicked};
use crate::driver::exchange::Route;
use crate::driver::outcome::Outcome;
use crate::driver::{Driver, Listener, Side, Started};
use crate::error::{Error, Result};
use crate::relay::{Opened, opening, stand_in};
use crate::server::completion::CompletionQuery;
use crate::server::core::ServerCore;
use crate::server::extract::{Arguments, Call, Request};
use crate::server::input::{Brought, Using, used_up};
use crate::server::listen::{self, Subscription};
use crate::server::prompts::ServerPrompt;
use crate::server::registry::{CompletionReferenceKey, Registry, check_uri};
use crate::server::reply::{ToolError, resource_not_found};
use crate::server::resources::ResourceHandler;
use crate::server::session::{Session, SessionShared};
use crate::server::tasks::Place;
use crate::server::tasks::running::RunningTask;
use crate::server::tools::ServerTool;
use crate::transport::ByteStream;

/// Serves a connection, which gets this number, to its end.
pub(crate) async fn serve<S: ByteStream + Unpin>(
    core: Arc<ServerCore>,
    stream: S,
    principal: Arc<str>,
    id: u64,
) -> Result<()> {
    if core.options.behind.is_none() {
        let opened = Opened::plain(&core, id);
        return connection(&core, stream, principal, opened).run().await;
    }
    let read = tokio::select! {
        read = opening::read(&core, id, &principal, stream) => read,
        () = core.stopping.notified() => Ok(None),
    };
    match read {
        Ok(Some((stream, opened))) => connection(&core, stream, principal, opened).run().await,
        ended => {
            core.stand_ins.leave(id);
            ended.map(|_| ())
        }
    }
}

fn connection<S: ByteStream + Unpin>(
    core: &Arc<ServerCore>,
    stream: S,
    principal: Arc<str>,
    opened: Opened,
) -> Driver<S, ServerSide> {
    let config = opened.config(core);
    let peer = opened.peer.clone();
    let session = core.session(opened, principal);
    let machine = Machine::server(config, peer.ids.clone());
    Driver::new(stream, ServerSide::new(session), machine, peer)
}

/// The server's half of a connection: keeps the registry at hand while it does not change.
pub(crate) struct ServerSide {
    epoch: u64,
    dispatch: Dispatch,
}

impl ServerSide {
    fn new(session: Arc<SessionShared>) -> Self {
        let epoch = session.core.epoch();
        Self {
            epoch,
            dispatch: Dispatch::new(session),
        }
    }

    fn refresh(&mut self) {
        let core = &self.dispatch.session.core;
        if self.epoch != core.epoch() {
            (self.epoch, self.dispatch.registry) = core.registry();
        }
    }
}

impl Drop for ServerSide {
    fn drop(&mut self) {
        self.dispatch.session.ended();
    }
}

impl Listener for ServerSide {
    fn notification(&mut self, method: Method, params: &Params<'_>) {
        (&self.dispatch).notification(method, params);
    }

    fn initialized(&mut self) {
        (&self.dispatch).initialized();
    }
}

impl Side for ServerSide {
    fn request(
        &mut self,
        machine: &mut Machine,
        now: Moment,
        inbound: &Inbound<'_>,
        context: &mut TaskContext<'_>,
    ) -> Started {
        self.refresh();
        self.dispatch
            .request(machine, now, inbound, Route::GENERAL, context)
    }

    fn stateless(
        &mut self,
        machine: &mut Machine,
        now: Moment,
        inbound: &Inbound<'_>,
        envelope: Box<Envelope>,
        context: &mut TaskContext<'_>,
    ) -> Option<Started> {
        self.refresh();
        let started = self
            .dispatch
            .stateless(machine, now, inbound, envelope, false, context);
        Some(started)
    }

    fn ended(&mut self, error: Option<&Error>) {
        self.dispatch.session.log_end(error);
    }
}

/// What dispatch needs of the conversation that a request belongs to.
pub(crate) trait Conversation {
    /// The revision that the request is made in.
    fn revision(&self) -> Revision;

    /// Counts a call or completion against the rate of the peer.
    fn count_call(&mut self, now: Moment) -> Result<(), ErrorObject>;

    /// Remembers a subscription; false if it was there already.
    fn subscribe(&mut self, uri: &str) -> Result<bool, ErrorObject>;

    /// Forgets a subscription.
    fn unsubscribe(&mut self, uri: &str);

    /// Does what came beside the message say what these arguments say?
    fn check_mirrored(
        &self,
        _marks: &[Mirrored],
        _arguments: Option<Node<'_>>,
    ) -> Result<(), ErrorObject> {
        Ok(())
    }
}

impl Conversation for Machine {
    fn revision(&self) -> Revision {
        Machine::revision(self)
    }

    fn count_call(&mut self, now: Moment) -> Result<(), ErrorObject> {
        Machine::count_call(self, now)
    }

    fn subscribe(&mut self, uri: &str) -> Result<bool, ErrorObject> {
        Machine::subscribe(self, uri)
    }

    fn unsubscribe(&mut self, uri: &str) {
        Machine::unsubscribe(self, uri);
    }
}

/// Texts by their names.
type Texts = BTreeMap<String, String>;

/// What reads a resource.
struct FoundResource {
    handler: ResourceHandler,
    mime_type: Option<String>,
    /// How long it may be kept, if that is said of it.
    cache: Option<CacheHint>,
    /// The variables of its template.
    variables: Texts,
}

/// A handler that is about to be polled, or the answer already.
type Begun = Result<Work, Outcome>;

/// Finds the handlers for the requests of one client.
pub(crate) struct Dispatch {
    pub(crate) session: Arc<SessionShared>,
    registry: Arc<Registry>,
}

impl Dispatch {
    pub(crate) fn new(session: Arc<SessionShared>) -> Self {
        let (_, registry) = session.core.registry();
        Self { session, registry }
    }

    /// Begins to answer a request of a session, polling its handler once.
    pub(crate) fn request(
        &self,
        conversation: &mut impl Conversation,
        now: Moment,
        inbound: &Inbound<'_>,
        route: Route,
        context: &mut TaskContext<'_>,
    ) -> Started {
        if let Some(back) = &self.session.back {
            return back.request(inbound, route, conversation.revision(), context);
        }
        let request = Request {
            route,
            token: inbound.progress_token.clone(),
            trace: TraceContext::of(&inbound.params).map(Box::new),
            extension: inbound.extension.clone(),
            ..Request::default()
        };
        let params = &inbound.params;
        match inbound.method {
            Method::ResourcesSubscribe => Started::Done(self.subscribe(conversation, params)),
            Method::ResourcesUnsubscribe => Started::Done(self.unsubscribe(conversation, params)),
            method => {
                let revision = conversation.revision();
                let rate = Some(conversation);
                self.route(rate, now, method, params, revision, request, context)
            }
        }
    }

    /// Begins to answer a request of the stateless era, polling its handler once. What an `alone` one says
    /// goes to a stream of its own.
    pub(crate) fn stateless(
        &self,
        conversation: &mut impl Conversation,
        now: Moment,
        inbound: &Inbound<'_>,
        envelope: Box<Envelope>,
        alone: bool,
        context: &mut TaskContext<'_>,
    ) -> Started {
        if self.session.core.options.behind.is_some() {
            if let Err(error) = self.check_marked(conversation, inbound) {
                return Started::Done(error.into());
            }
            return self.stands_in(inbound, envelope, alone, context);
        }
        let Inbound { method, params, .. } = inbound;
        let revision = envelope.revision;
        let config = self.session.core.session_config();
        let needed = method.capability_in(revision);
        let is_of_tasks = matches!(
            method,
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel
        );
        let has_tasks = config.server_capabilities.tasks.is_some();
        if !needed.declared(&envelope.client_capabilities, &config.server_capabilities)
            || is_of_tasks && !has_tasks
        {
            return Started::Done(ErrorObject::method_not_found(method.name()).into());
        }
        if *method == Method::Discover {
            return Started::Done(discovered(&config));
        }
        let request = Request {
            token: inbound.progress_token.clone(),
            brought: Some(Brought::new(*method, envelope, params)),
            trace: TraceContext::of(params).map(Box::new),
            extension: inbound.extension.clone(),
            alone,
            ..Request::default()
        };
        if *method == Method::SubscriptionsListen {
            return self.listen(inbound, request, context);
        }
        let rate = Some(conversation);
        self.route(rate, now, *method, params, revision, request, context)
    }

    /// Holds a call that goes on to somebody else against its headers, if its tool was listed here.
    fn check_marked(
        &self,
        conversation: &impl Conversation,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorObject> {
        let Inbound { method, params, .. } = inbound;
        let name = (*method == Method::ToolsCall).then(|| params.get_str("name"));
        let Some(name) = name.flatten() else {
            return Ok(());
        };
        let marks = &self.session.core.stand_ins.marks;
        match marks.of(&self.session.principal, &name) {
            Some(marks) => conversation.check_mirrored(&marks, params.node("arguments")),
            None => Ok(()),
        }
    }

    /// A request that a session answers which stands in for the client.
    fn stands_in(
        &self,
        inbound: &Inbound<'_>,
        envelope: Box<Envelope>,
        alone: bool,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let Inbound { method, params, .. } = inbound;
        let (method, target) = (*method, classify::named_by(*method));
        let target = target.and_then(|member| params.get_str(member));
        let target = target.unwrap_or_default();
        let arguments = match object(params, "arguments") {
            Ok(arguments) => arguments,
            Err(started) => return started,
        };
        let mut request = Request {
            token: inbound.progress_token.clone(),
            brought: Some(Brought::new(method, envelope, params)),
            alone,
            ..Request::default()
        };
        if method.row().may_ask
            && let Err(error) = self.resume(&mut request, &target, &arguments, params, false)
        {
            return Started::Done(error.into());
        }
        let call = Call::new(&self.session, &target, arguments, None, request);
        let answer = stand_in::answer(
            self.session.clone(),
            method,
            params.as_json().into(),
            inbound.id.to_owned(),
            call.shared().clone(),
        );
        let handling = Handling::Other(Box::pin(answer));
        let name = method.name().into();
        start(Ok(Work { handling, name }), &call, context)
    }

    /// A request that is answered when nothing follows any more.
    fn listen(
        &self,
        inbound: &Inbound<'_>,
        request: Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let params: ListenParams = match inbound.params.decode() {
            Ok(params) => params,
            Err(error) => return Started::Done(error.into()),
        };
        let known = |uri: &str| self.is_subscribable(uri) && self.may_subscribe(uri);
        let core = &self.session.core;
        let server = core.session_config().server_capabilities.clone();
        let limits = &core.options.limits;
        let honoured = match listen::honour(limits, &server, &params.notifications, known) {
            Ok(honoured) => honoured,
            Err(error) => return Started::Done(error.into()),
        };
        let task_ids = params.notifications.task_ids.unwrap_or_default();
        if !task_ids.is_empty() {
            let declares = |brought: &Brought| brought.has_extension(tasks::EXTENSION);
            if !request.brought.as_ref().is_some_and(declares) {
                return Started::Done(missing_extension(tasks::EXTENSION).into());
            }
            if task_ids.len() > limits.tasks {
                return Started::Done(ErrorObject::limit("tasks", limits.tasks).into());
            }
        }
        let listener = Subscription::new(
            &self.session,
            &core.listeners,
            inbound.id.to_owned(),
            honoured,
        );
        let call = Call::new(&self.session, "", Arguments::NONE, None, request);
        let shared = call.shared();
        shared.listen(listener.clone());
        let speaks_through = shared.clone();
        let handling = Handling::Other(Box::pin(async move {
            tokio::select! {
                () = listener.ended() => {}
                () = speaks_through.cancelled() => {}
                () = listener.attend(task_ids, &speaks_through) => {}
            }
            Outcome::Listened(listener.result())
        }));
        let name = "subscriptions/listen".into();
        start(Ok(Work { handling, name }), &call, context)
    }

    /// Lets the server refuse a subscription.
    fn may_subscribe(&self, uri: &str) -> bool {
        if let Some(hook) = &self.session.core.options.on_subscribe
            && hook(&self.session(), uri).is_err()
        {
            return false;
        }
        true
    }

    /// Takes what a stateless client brings back from an earlier round of this call.
    fn resume(
        &self,
        request: &mut Request,
        target: &str,
        arguments: &Arguments<'_>,
        params: &Params<'_>,
        single_use: bool,
    ) -> Result<Option<Using>, ErrorObject> {
        let Some(brought) = &mut request.brought else {
            return Ok(None);
        };
        let session = &self.session;
        brought.resume(
            &session.core,
            &session.principal,
            target,
            arguments,
            params,
            single_use,
        )
    }
}

/// What a client can know before it asks for anything.
pub(crate) fn discovered(config: &SessionConfig) -> Outcome {
    let newest_first = config.stateless.iter().rev();
    let versions = newest_first.map(|revision| revision.as_str().to_owned());
    let mut capabilities = ServerCapabilities::clone(&config.server_capabilities);
    // Tasks are an extension in this era.
    if capabilities.tasks.take().is_some() {
        let others = capabilities.extensions.as_ref().map_or("{}", RawJson::get);
        let all = with_members(others, &[(tasks::EXTENSION, "{}")]);
        capabilities.extensions = RawJson::from_text(all).ok();
    }
    let mut result = DiscoverResult::new(versions.collect::<Vec<_>>(), capabilities);
    result.instructions.clone_from(&config.instructions);
    // Here all of it, other than in the results that follow.
    if let Ok(info) = serde_json::value::to_raw_value(&config.info) {
        let mut meta = Meta::default();
        meta.extra.push(SERVER_INFO, info);
        result.meta = Some(Box::new(meta));
    }
    Outcome::Discover(Box::new(result))
}

impl Listener for &Dispatch {
    fn notification(&mut self, method: Method, params: &Params<'_>) {
        if let Some(back) = &self.session.back {
            back.notification(method, params);
            return;
        }
        if method == Method::RootsListChanged {
            self.session.roots_changed();
            if let Some(hook) = &self.session.core.options.on_roots_changed {
                hook(&self.session());
            }
        }
    }

    fn initialized(&mut self) {
        if let Some(back) = &self.session.back {
            back.initialized();
        }
        if let Some(hook) = &self.session.core.options.on_initialized {
            hook(&self.session());
        }
    }
}

impl Dispatch {
    #[allow(clippy::too_many_arguments)]
    fn route(
        &self,
        rate: Option<&mut impl Conversation>,
        now: Moment,
        method: Method,
        params: &Params<'_>,
        revision: Revision,
        request: Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        match method {
            Method::ToolsCall => self.call_tool(rate, now, params, revision, request, context),
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel
                if revision.era() == Era::Stateless =>
            {
                self.extension_task(method, params, &request, context)
            }
            Method::TasksGet | Method::TasksResult | Method::TasksCancel => {
                self.task(method, params, &request, context)
            }
            Method::TasksList => self.list_tasks(params, context),
            Method::PromptsGet => self.get_prompt(params, request, context),
            Method::Extension => {
                self.extension_method(rate, now, params, revision, request, context)
            }
            Method::ResourcesRead => self.read_resource(params, revision, request, context),
            Method::CompletionComplete => self.complete(rate, now, params, request, context),
            Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourcesTemplatesList => Started::Done(self.list(method, params, revision)),
            other => Started::Done(ErrorObject::method_not_found(other.name()).into()),
        }
    }

    fn list(&self, method: Method, params: &Params<'_>, revision: Revision) -> Outcome {
        let cursor = match params.get("cursor").filter(|cursor| *cursor != "null") {
            None => None,
            Some(_) => match params.get_str("cursor") {
                Some(cursor) => Some(cursor),
                None => return ErrorObject::invalid_params("Invalid cursor").into(),
            },
        };
        let cursor = cursor.as_deref();
        let size = self.session.core.options.page_size;
        let registry = &self.registry;
        let session = || Session::new(self.session.clone());
        let page = match method {
            Method::ToolsList => registry.tools.page(cursor, size, revision, session),
            Method::PromptsList => registry.prompts.page(cursor, size, revision, session),
            Method::ResourcesList => registry.resources.page(cursor, size, revision, session),
            _ => registry.templates.page(cursor, size, revision, session),
        };
        page.map_or_else(Outcome::from, Outcome::Page)
    }

    fn call_tool(
        &self,
        rate: Option<&mut impl Conversation>,
        now: Moment,
        params: &Params<'_>,
        revision: Revision,
        request: Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let Some(name) = params.get_str("name") else {
            return missing("name");
        };
        let Some(registered) = self.registry.tools.get(&name, || self.session()) else {
            let shown: String = name.chars().take(128).collect();
            let error = ErrorObject::invalid_params(format!("Unknown tool: {shown}"));
            return Started::Done(error.into());
        };
        let arguments = match object(params, "arguments") {
            Ok(arguments) => arguments,
            Err(started) => return started,
        };
        let marks = registered.mirrored();
        if let (Some(conversation), false) = (&rate, marks.is_empty())
            && let Err(error) = conversation.check_mirrored(marks, arguments.node())
        {
            return Started::Done(error.into());
        }
        if let Err(error) = count(registered.tool.rate.take(now), rate, now) {
            return Started::Done(error.into());
        }
        if let Err(fault) = registered.validation().check(arguments.node()) {
            let text = format!("Invalid arguments: {fault}");
            return Started::Done(Outcome::CallTool(
                compere_proto::tools::CallToolResult::error(text),
            ));
        }
        let mut request = request;
        let tool = &registered.tool;
        let using = match self.resume(&mut request, &name, &arguments, params, tool.single_use) {
            Ok(using) => using,
            Err(error) => return Started::Done(error.into()),
        };
        if let Err(error) = self.as_task(&name, tool, params, revision, &mut request) {
            return Started::Done(error.into());
        }
        let as_task = match as_extension(tool, &request) {
            Ok(as_task) => as_task,
            Err(error) => return Started::Done(error.into()),
        };
        let (task, alone) = (request.task.clone(), request.alone);
        let call = Call::new(&self.session, &name, arguments, None, request);
        let handler = &registered.tool.handler;
        let begun = guarded(registered.name.clone(), || {
            Handling::Tool(match using {
                None => handler.call(&call),
                Some(using) => {
                    let (handler, session) = (handler.clone(), self.session.clone());
                    let (arguments, context) = (call.arguments().to_owned(), call.context());
                    Box::pin(async move {
                        used_up(using).await.map_err(ToolError::protocol)?;
                        let calling =
                            handler.call(&Call::with_context(&session, &arguments, &context));
                        calling.await
                    })
                }
            })
        });
        match (task, as_task) {
            (Some(task), _) => self.start_task(task, begun, &call, context),
            (None, AsTask::Never) => start(begun, &call, context),
            (None, AsTask::Always) => match begun {
                Ok(work) => self.turn_into_task(work, call.shared().clone(), alone, context),
                Err(outcome) => Started::Done(outcome),
            },
            (None, AsTask::IfItTakesLong) => match start(begun, &call, context) {
                Started::Pending(work, shared) => self.turn_into_task(work, shared, alone, context),
                started => started,
            },
        }
    }

    /// Makes a task of a call if that was asked for and the tool and the revision have it.
    fn as_task(
        &self,
        name: &str,
        tool: &ServerTool,
        params: &Params<'_>,
        revision: Revision,
        request: &mut Request,
    ) -> Result<(), ErrorObject> {
        if !revision.rules().tasks {
            return Ok(());
        }
        let wanted = params.node("task").filter(|node| node.kind() != Kind::Null);
        let refused = |what: &str| {
            let shown: String = name.chars().take(128).collect();
            Err(ErrorObject::new(
                code::METHOD_NOT_FOUND,
                format!("The tool {shown} {what} as a task"),
            ))
        };
        match (tool.task_support, wanted) {
            (TaskSupport::Forbidden, Some(_)) => refused("cannot be called"),
            (TaskSupport::Required, None) => refused("must be called"),
            (_, None) => Ok(()),
            (_, Some(wanted)) => {
                let wanted: TaskMetadata = decode(wanted).map_err(|error| {
                    let why = without_position(&error);
                    ErrorObject::invalid_params(format!("Invalid params: task: {why}"))
                })?;
                let task = RunningTask::new(&self.session, wanted.ttl, false)?;
                // What it says belongs to no request any more.
                request.route = Route::GENERAL;
                request.task = Some(task);
                Ok(())
            }
        }
    }

    /// Lets a handler run on by itself; its call is answered with the task.
    fn start_task(
        &self,
        task: Arc<RunningTask>,
        begun: Begun,
        call: &Call<'_>,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let shared = call.shared().clone();
        let poll = self.session.core.options.limits.task_poll;
        let starting = async move {
            let id = task.id.clone();
            let made = match begun {
                Ok(work) => task.start(work, shared).await,
                Err(outcome) => task.end(outcome).await,
            };
            let result = CreateTaskResult::new(made?.task(&id, poll));
            Ok(Outcome::CreateTask(Box::new(result)))
        };
        self.answer_of_task("tools/call", Route::default(), false, starting, context)
    }

    /// Lets a handler run on by itself, as a task of the extension, which answers its call.
    fn turn_into_task(
        &self,
        work: Work,
        call: Arc<CallShared>,
        alone: bool,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let task = match RunningTask::new(&self.session, None, true) {
            Ok(task) => task,
            Err(error) => return Started::Done(error.into()),
        };
        call.become_task(task.clone());
        // What it says belongs to no request any more.
        call.finish();
        let poll = self.session.core.options.limits.task_poll;
        let starting = async move {
            let id = task.id.clone();
            let record = task.start(work, call).await?;
            let mut made = record.shown(&id, poll, false);
            made["resultType"] = "task".into();
            Ok(Outcome::Raw(made.to_string().into()))
        };
        self.answer_of_task("tools/call", Route::default(), alone, starting, context)
    }

    /// Answers with what the store of tasks says, or a task comes to.
    fn answer_of_task(
        &self,
        name: &'static str,
        route: Route,
        alone: bool,
        answering: impl Future<Output = Result<Outcome, ErrorObject>> + Send + 'static,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let handling = Handling::Other(Box::pin(async move {
            answering.await.unwrap_or_else(Outcome::from)
        }));
        let waiting = Request {
            route,
            alone,
            ..Request::default()
        };
        let call = Call::new(&self.session, "", Arguments::NONE, None, waiting);
        let name = name.into();
        start(Ok(Work { handling, name }), &call, context)
    }

    /// What a client of the extension asks of a task.
    fn extension_task(
        &self,
        method: Method,
        params: &Params<'_>,
        request: &Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let declares = |brought: &Brought| brought.has_extension(tasks::EXTENSION);
        if !request.brought.as_ref().is_some_and(declares) {
            return Started::Done(missing_extension(tasks::EXTENSION).into());
        }
        let Some(id) = params.get_str("taskId") else {
            return missing("taskId");
        };
        let id = id.into_owned();
        let place = Place::of(&self.session);
        let answers = match method {
            Method::TasksUpdate => input_responses(params),
            _ => BTreeMap::new(),
        };
        let asking = async move {
            let task = place.find(&id).await?;
            match method {
                Method::TasksGet => {
                    return Ok(Outcome::Written(task.shown().to_string().into()));
                }
                Method::TasksUpdate => task.answer(&answers).await?,
                // One that is over stays as it is.
                _ => drop(task.cancel().await),
            }
            Ok(Outcome::Empty)
        };
        self.answer_of_task(method.name(), request.route, request.alone, asking, context)
    }

    fn task(
        &self,
        method: Method,
        params: &Params<'_>,
        request: &Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let Some(id) = params.get_str("taskId") else {
            return missing("taskId");
        };
        let (id, route, session) = (id.into_owned(), request.route, self.session.id);
        let place = Place::of(&self.session);
        let asking = async move {
            let task = place.find(&id).await?;
            match method {
                Method::TasksGet => Ok(Outcome::Task(Box::new(task.task()))),
                Method::TasksCancel => Ok(Outcome::Task(Box::new(task.cancel().await?))),
                _ => Ok(task.result(session, route).await),
            }
        };
        self.answer_of_task(method.name(), route, false, asking, context)
    }

    fn list_tasks(&self, params: &Params<'_>, context: &mut TaskContext<'_>) -> Started {
        let cursor = params.get_str("cursor").map(Cow::into_owned);
        let size = self.session.core.options.page_size;
        let place = Place::of(&self.session);
        let listing = async move {
            let page = place.page(cursor.as_deref(), size).await?;
            Ok(Outcome::Tasks(page))
        };
        self.answer_of_task("tasks/list", Route::default(), false, listing, context)
    }

    /// A request that is none of the protocol's.
    fn extension_method(
        &self,
        rate: Option<&mut impl Conversation>,
        now: Moment,
        params: &Params<'_>,
        revision: Revision,
        mut request: Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let name = request.extension.take().unwrap_or_default();
        let Some(handler) = self.session.core.options.methods.get(&name) else {
            return Started::Done(ErrorObject::method_not_found(&name).into());
        };
        if let Err(error) = count(None, rate, now) {
            return Started::Done(error.into());
        }
        let arguments = Arguments::Text(params.as_json());
        let call = Call::new(&self.session, &name, arguments, None, request);
        let begun = guarded(&*name, || {
            let future = handler(&call);
            let name = name.clone();
            Handling::Other(Box::pin(async move {
                match future.await {
                    Ok(result) if revision.era() == Era::Stateless => Outcome::Written(result),
                    Ok(result) => Outcome::Raw(result),
                    Err(error) => error.into_error(&name).into(),
                }
            }))
        });
        start(begun, &call, context)
    }

    fn get_prompt(
        &self,
        params: &Params<'_>,
        request: Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let Some(name) = params.get_str("name") else {
            return missing("name");
        };
        let Some(prompt) = self.registry.prompts.get(&name, || self.session()) else {
            let shown: String = name.chars().take(128).collect();
            let error = ErrorObject::invalid_params(format!("Unknown prompt: {shown}"));
            return Started::Done(error.into());
        };
        let arguments = match object(params, "arguments") {
            Ok(arguments) => arguments,
            Err(started) => return started,
        };
        let texts = match prompt_arguments(prompt, &arguments) {
            Ok(texts) => texts,
            Err(error) => return Started::Done(error.into()),
        };
        let arguments = Arguments::Texts(&texts);
        let mut request = request;
        if let Err(error) = self.resume(&mut request, &name, &arguments, params, false) {
            return Started::Done(error.into());
        }
        let call = Call::new(&self.session, &name, arguments, None, request);
        let begun = guarded(&*name, || {
            let future = (prompt.handler)(&call);
            let name: Box<str> = name.as_ref().into();
            Handling::Other(Box::pin(async move {
                match future.await {
                    Ok(result) => Outcome::GetPrompt(result),
                    Err(error) => error.into_error(&name).into(),
                }
            }))
        });
        start(begun, &call, context)
    }

    /// The handler of a URI, with the variables of its template.
    fn find_resource(&self, uri: &str) -> Option<FoundResource> {
        if let Some(resource) = self.registry.resources.get(uri, || self.session()) {
            return Some(FoundResource {
                handler: resource.handler.clone(),
                mime_type: resource.definition.mime_type.clone(),
                cache: resource.cache,
                variables: Texts::new(),
            });
        }
        let session = self.session();
        self.registry
            .templates
            .visible(&session)
            .find_map(|template| {
                let variables = template.template.as_ref().ok()?.matches(uri)?;
                Some(FoundResource {
                    handler: template.handler.clone(),
                    mime_type: template.definition.mime_type.clone(),
                    cache: template.cache,
                    variables,
                })
            })
    }

    fn read_resource(
        &self,
        params: &Params<'_>,
        revision: Revision,
        request: Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        let uri = match self.uri(params) {
            Ok(uri) => uri,
            Err(error) => return Started::Done(error.into()),
        };
        let not_found = revision.rules().resource_not_found_code;
        let Some(found) = self.find_resource(&uri) else {
            return Started::Done(resource_not_found(&uri, not_found).into());
        };
        let FoundResource {
            handler,
            mime_type,
            cache,
            variables,
        } = found;
        let arguments = Arguments::Texts(&variables);
        let mut request = request;
        if let Err(error) = self.resume(&mut request, &uri, &arguments, params, false) {
            return Started::Done(error.into());
        }
        let call = Call::new(&self.session, &uri, arguments, Some(&uri), request);
        let begun = guarded(uri.as_str(), || {
            let future = handler(&call, mime_type.as_deref());
            let name: Box<str> = uri.as_str().into();
            let shared = call.shared_if_made().cloned();
            Handling::Other(Box::pin(async move {
                match future.await {
                    Ok(result) => {
                        let said = shared.and_then(|call| call.kept.get().copied());
                        Outcome::ReadResource(result, said.or(cache))
                    }
                    Err(error) => {
                        let mut error = error.into_error(&name);
                        if error.code == code::RESOURCE_NOT_FOUND {
                            error.code = not_found;
                        }
                        error.into()
                    }
                }
            }))
        });
        start(begun, &call, context)
    }

    fn uri(&self, params: &Params<'_>) -> Result<String, ErrorObject> {
        let uri = params
            .get_str("uri")
            .ok_or_else(|| ErrorObject::invalid_params("Invalid params: uri is missing"))?;
        check_uri(&uri, &self.session.core.options.limits)
            .map_err(|why| ErrorObject::invalid_params(format!("Invalid params: {why}")))?;
        Ok(uri.into_owned())
    }

    fn subscribe(&self, conversation: &mut impl Conversation, params: &Params<'_>) -> Outcome {
        let uri = match self.uri(params) {
            Ok(uri) => uri,
            Err(error) => return error.into(),
        };
        if !self.is_subscribable(&uri) {
            let code = conversation.revision().rules().resource_not_found_code;
            return resource_not_found(&uri, code).into();
        }
        match conversation.subscribe(&uri) {
            Ok(true) => self.subscribed(conversation, uri),
            Ok(false) => Outcome::Empty,
            Err(error) => error.into(),
        }
    }

    /// Is there such a resource, and does it say when it changes?
    fn is_subscribable(&self, uri: &str) -> bool {
        let session = self.session();
        let resource = self.registry.resources.get(uri, || session.clone());
        if resource.is_some_and(|resource| resource.subscribable) {
            return true;
        }
        let templates = self.registry.templates.visible(&session);
        let mut templates = templates.filter(|template| template.subscribable);
        templates.any(|template| {
            let template = template.template.as_ref();
            template.is_ok_and(|template| template.matches(uri).is_some())
        })
    }

    /// Tells the hook of a new subscription, which may refuse it.
    fn subscribed(&self, conversation: &mut impl Conversation, uri: String) -> Outcome {
        let options = &self.session.core.options;
        if let Some(hook) = &options.on_subscribe
            && let Err(error) = hook(&self.session(), &uri)
        {
            conversation.unsubscribe(&uri);
            return error.into_error("resources/subscribe").into();
        }
        self.session.subscribed(uri);
        Outcome::Empty
    }

    fn unsubscribe(&self, conversation: &mut impl Conversation, params: &Params<'_>) -> Outcome {
        match params.decode::<ResourceParams>() {
            Ok(params) => {
                conversation.unsubscribe(&params.uri);
                self.session.unsubscribed(&params.uri);
                Outcome::Empty
            }
            Err(error) => error.into(),
        }
    }

    fn complete(
        &self,
        rate: Option<&mut impl Conversation>,
        now: Moment,
        params: &Params<'_>,
        request: Request,
        context: &mut TaskContext<'_>,
    ) -> Started {
        if let Err(error) = count(None, rate, now) {
            return Started::Done(error.into());
        }
        let params: CompleteParams = match params.decode() {
            Ok(params) => params,
            Err(error) => return Started::Done(error.into()),
        };
        let key = CompletionReferenceKey::from(&params.reference);
        if let Err(error) = self.check_reference(&key) {
            return Started::Done(error.into());
        }
        let argument = params.argument;
        let key = (key, argument.name.as_str().into());
        let limit = self.session.core.options.limits.completion_values;
        let Some(completer) = self.registry.completers.get(&key) else {
            let none = CompleteResult::new(Completion::from_all(Vec::new(), limit));
            return Started::Done(Outcome::Complete(none));
        };
        let known = params
            .context
            .and_then(|context| context.arguments)
            .unwrap_or_default();
        let query = CompletionQuery::new(argument.name, argument.value, known, self.session());
        let call = Call::new(&self.session, "", Arguments::NONE, None, request);
        let begun = guarded("completion", || {
            let future = completer(query);
            Handling::Other(Box::pin(async move {
                match future.await {
                    Ok(values) => {
                        Outcome::Complete(CompleteResult::new(Completion::from_all(values, limit)))
                    }
                    Err(error) => error.into_error("completion").into(),
                }
            }))
        });
        start(begun, &call, context)
    }

    /// What does not exist, or may not be seen, cannot be completed: not even with nothing.
    fn check_reference(&self, key: &CompletionReferenceKey) -> Result<(), ErrorObject> {
        let session = || self.session();
        let known = match key {
            CompletionReferenceKey::Prompt(name) => {
                self.registry.prompts.get(name, session).is_some()
            }
            CompletionReferenceKey::Resource(uri) => {
                self.registry.templates.get(uri, session).is_some()
                    || self.registry.resources.get(uri, session).is_some()
            }
        };
        if known {
            return Ok(());
        }
        Err(ErrorObject::invalid_params(match key {
            CompletionReferenceKey::Prompt(_) => "Unknown prompt",
            CompletionReferenceKey::Resource(_) => "Unknown resource template",
        }))
    }

    fn session(&self) -> Session {
        Session::new(self.session.clone())
    }
}

fn count(
    own: Option<Result<(), ErrorObject>>,
    rate: Option<&mut impl Conversation>,
    now: Moment,
) -> Result<(), ErrorObject> {
    match (own, rate) {
        (Some(taken), _) => taken,
        (None, Some(conversation)) => conversation.count_call(now),
        (None, None) => Ok(()),
    }
}

fn missing_member(member: &str) -> ErrorObject {
    ErrorObject::invalid_params(format!("Invalid params: {member} is missing or no string"))
}

fn missing(member: &str) -> Started {
    Started::Done(missing_member(member).into())
}

/// When a call becomes a task of the extension.
enum AsTask {
    Never,
    /// When its handler is not ready at once and asks nothing.
    IfItTakesLong,
    Always,
}

/// Clients without sessions do not ask for tasks; they say that they can deal with them.
fn as_extension(tool: &ServerTool, request: &Request) -> Result<AsTask, ErrorObject> {
    let Some(brought) = &request.brought else {
        return Ok(AsTask::Never);
    };
    match tool.task_support {
        TaskSupport::Forbidden => Ok(AsTask::Never),
        support => match (support, brought.has_extension(tasks::EXTENSION)) {
            (TaskSupport::Required, true) => Ok(AsTask::Always),
            (TaskSupport::Required, false) => Err(missing_extension(tasks::EXTENSION)),
            (_, true) => Ok(AsTask::IfItTakesLong),
            (_, false) => Ok(AsTask::Never),
        },
    }
}

/// A member that is an object; absent and null count as an empty one.
fn object<'p>(params: &'p Params<'_>, member: &str) -> Result<Arguments<'p>, Started> {
    match params.node(member).map(|node| (node, node.kind())) {
        None | Some((_, Kind::Null)) => Ok(Arguments::NONE),
        Some((node, Kind::Object)) => Ok(Arguments::Scanned(node)),
        Some(_) => Err(Started::Done(
            ErrorObject::invalid_params(format!("Invalid params: {member} is no object")).into(),
        )),
    }
}

fn prompt_arguments(
    prompt: &ServerPrompt,
    arguments: &Arguments<'_>,
) -> Result<Texts, ErrorObject> {
    let given: Texts = arguments.decode().map_err(|error| {
        let why = without_position(&error);
        ErrorObject::invalid_params(format!("Invalid params: arguments: {why}"))
    })?;
    let missing = prompt
        .definition
        .arguments
        .iter()
        .flatten()
        .find(|argument| argument.required == Some(true) && !given.contains_key(&argument.name));
    match missing {
        Some(argument) => Err(ErrorObject::invalid_params(format!(
            "Missing required argument: {}",
            argument.name
        ))),
        None => Ok(given),
    }
}

/// Calls the handler behind the panic boundary: a function may panic before its first await.
fn guarded(name: impl Into<Arc<str>>, begin: impl FnOnce() -> Handling) -> Begun {
    let name = name.into();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(begin)) {
        Ok(handling) => Ok(Work { handling, name }),
        Err(panic) => Err(panicked(&name, panic.as_ref())),
    }
}

/// Polls the handler where its message was read. Only a handler that is pending needs to be known
/// to anyone.
fn start(begun: Begun, call: &Call<'_>, context: &mut TaskContext<'_>) -> Started {
    let mut work = match begun {
        Ok(work) => work,
        Err(outcome) => return Started::Done(outcome),
    };
    match work.poll(context, call.shared_if_made().map(|call| &**call)) {
        // The call of a handler that took nothing of it is made only now.
        Poll::Ready(Outcome::Error(error)) if error.code == code::URL_ELICITATION_REQUIRED => {
            let shared = call.shared().clone();
            Started::Answered(shared.pages_or(error), shared)
        }
        Poll::Ready(outcome) => match call.shared_if_made() {
            Some(shared) => Started::Answered(outcome, shared.clone()),
            None => Started::Done(outcome),
        },
        Poll::Pending => Started::Pending(work, call.shared().clone()),
    }
}
