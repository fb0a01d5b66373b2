//! A server that exercises every feature of the protocol, so that any client can be tried on it.
//!
//! Tool names follow the reference server of the same name where both have the tool.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compere::model::{
    Annotations, Content, CreateMessageParams, ErrorObject, Icon, LoggingLevel, PromptArgument,
    PromptMessage, Resource, ResourceContents, Role, SamplingMessage, UrlElicitation,
};
use compere::prelude::*;
use compere::{CompletionQuery, Elicited, ServerHandle, Variables, rank};

/// One pixel.
const TINY_IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/// Forty-four bytes of silence.
const TINY_SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// How many numbered resources there are of each kind.
const NUMBERED: u32 = 100;

const INSTRUCTIONS: &str = "\
A server for trying out clients: every feature of the protocol once. \
`echo` answers with its message, `trigger-long-running-operation` reports progress, \
`trigger-sampling-request` asks your model, `get-roots-list` asks for your roots. \
Resources are at demo://resource/dynamic/text/{id} and demo://resource/dynamic/blob/{id}.";

/// Puts the server together.
pub fn everything() -> Server {
    let server = Server::new("compere-everything", env!("CARGO_PKG_VERSION"))
        .schemas_later()
        .title("Everything")
        .description("Every feature of the protocol once.")
        .website("https://modelcontextprotocol.io")
        .icon(dot())
        .instructions(INSTRUCTIONS)
        .state(Switches::default());
    prompts(resources(tools(server)))
}

fn tools(server: Server) -> Server {
    server
        // It costs nothing and is what every benchmark calls: no bound on calls per second.
        .tool(echo().unlimited_rate())
        .tool(get_sum().icon(dot()))
        .tool(get_tiny_image)
        .tool(get_tiny_sound)
        .tool(get_annotated_message)
        .tool(get_resource_reference)
        .tool(get_resource_links)
        .tool(get_structured_content)
        .tool(get_error)
        .tool(get_roots_list)
        .tool(trigger_long_running_operation)
        .tool(trigger_sampling_request)
        .tool(trigger_elicitation_request)
        .tool(trigger_url_elicitation)
        .tool(requires_url_elicitation)
        .tool(trigger_logging)
        .tool(trigger_list_changed)
        .tool(toggle_subscriber_updates)
        .tool(check_person().unlimited_rate())
}

/// An icon: one pixel.
fn dot() -> Icon {
    let mut icon = Icon::new(format!("data:image/png;base64,{TINY_IMAGE}"));
    icon.mime_type = Some("image/png".to_owned());
    icon.sizes = Some(vec!["1x1".to_owned()]);
    icon
}

/// Answers with its message.
#[tool(read_only)]
fn echo(
    /// What to answer with.
    message: String,
) -> String {
    message
}

/// Adds two numbers.
#[tool(name = "get-sum", read_only)]
fn get_sum(
    /// The first number.
    a: f64,
    /// The second number.
    b: f64,
) -> String {
    format!("The sum of {a} and {b} is {}.", a + b)
}

/// A text and a very small image.
#[tool(name = "get-tiny-image", read_only)]
fn get_tiny_image() -> Vec<Content> {
    vec![
        Content::text("This is one pixel:"),
        Content::image(TINY_IMAGE, "image/png"),
        Content::text("The image above is one pixel."),
    ]
}

/// A very short sound, of silence.
#[tool(name = "get-tiny-sound", read_only)]
fn get_tiny_sound() -> Content {
    Content::audio(TINY_SOUND, "audio/wav")
}

/// Which message to annotate.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
enum MessageType {
    Error,
    Success,
    Debug,
}

/// A message with annotations on audience and priority.
#[tool(name = "get-annotated-message", read_only)]
fn get_annotated_message(
    /// Which message.
    #[serde(rename = "messageType")]
    message_type: MessageType,
    /// Adds an image for the person.
    #[serde(rename = "includeImage", default)]
    include_image: bool,
) -> Vec<Content> {
    let (text, priority, audience) = match message_type {
        MessageType::Error => (
            "Error: something failed",
            1.0,
            vec![Role::User, Role::Assistant],
        ),
        MessageType::Success => ("It worked", 0.7, vec![Role::User]),
        MessageType::Debug => ("Debug: cache hit, 12 ms", 0.3, vec![Role::Assistant]),
    };
    let notes = Annotations::new().audience(audience).priority(priority);
    let mut message = compere::model::TextContent::new(text);
    message.annotations = Some(Box::new(notes));
    let mut content = vec![Content::Text(message)];
    if include_image {
        let notes = Annotations::new().audience(vec![Role::User]).priority(0.5);
        let mut image = compere::model::ImageContent::new(TINY_IMAGE, "image/png");
        image.annotations = Some(Box::new(notes));
        content.push(Content::Image(Box::new(image)));
    }
    content
}

/// Embeds one of the numbered resources.
#[tool(name = "get-resource-reference", read_only)]
fn get_resource_reference(
    /// Its number, from 1 to 100.
    #[serde(rename = "resourceId")]
    #[schemars(range(min = 1, max = 100))]
    resource_id: u32,
) -> Result<Vec<Content>, ToolError> {
    let uri = numbered_uri(resource_id);
    Ok(vec![
        Content::text(format!("The resource with number {resource_id}:")),
        Content::resource(numbered(&uri, resource_id)?),
        Content::text(format!("You can read it at {uri}.")),
    ])
}

/// Links to several of the numbered resources.
#[tool(name = "get-resource-links", read_only)]
fn get_resource_links(
    /// How many links.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 10))]
    count: u32,
) -> Vec<Content> {
    (1..=count)
        .map(|number| {
            let resource = Resource::new(numbered_uri(number), format!("Resource {number}"));
            Content::resource_link(resource.mime_type(numbered_type(number)))
        })
        .collect()
}

fn three() -> u32 {
    3
}

/// The weather of a place that does not exist.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Weather {
    /// In degrees Celsius.
    temperature: f64,
    /// In words.
    conditions: String,
    /// In percent.
    humidity: f64,
}

/// Data with a schema: the weather in a city.
#[tool(name = "get-structured-content", read_only)]
fn get_structured_content(
    /// The city.
    location: String,
) -> Json<Weather> {
    let hot = location.len().is_multiple_of(2);
    Json(Weather {
        temperature: if hot { 33.0 } else { 7.5 },
        conditions: if hot { "Sunny" } else { "Light rain" }.to_owned(),
        humidity: if hot { 41.0 } else { 82.0 },
    })
}

/// How to fail.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
enum Failure {
    Public,
    Internal,
    Protocol,
    Panic,
}

/// Fails, in one of the ways that there are.
#[tool(name = "get-error", read_only)]
#[allow(clippy::panic)]
fn get_error(
    /// Which way.
    kind: Failure,
) -> Result<String, ToolError> {
    match kind {
        Failure::Public => Err(ToolError::new("This tool fails on purpose.")),
        Failure::Internal => {
            let secret: Result<u8, _> = "a secret that stays inside".parse::<u8>();
            Ok(secret?.to_string())
        }
        Failure::Protocol => Err(ToolError::protocol(ErrorObject::invalid_params(
            "This is an error of the protocol",
        ))),
        Failure::Panic => panic!("a handler panics on purpose"),
    }
}

/// Lists the roots of the client.
#[tool(name = "get-roots-list", read_only)]
async fn get_roots_list(context: Context) -> Result<String, ToolError> {
    let roots = context
        .roots("roots")
        .await
        .map_err(|error| ToolError::new(format!("The client tells no roots: {error}")))?;
    let lines: Vec<String> = roots
        .iter()
        .map(|root| match &root.name {
            Some(name) => format!("{name}: {}", root.uri),
            None => root.uri.clone(),
        })
        .collect();
    Ok(format!("{} roots\n{}", lines.len(), lines.join("\n")))
}

/// Takes a while and reports progress. Notices cancellation.
#[tool(name = "trigger-long-running-operation", read_only, task = "optional")]
async fn trigger_long_running_operation(
    context: Context,
    /// How many seconds in all.
    #[serde(default = "ten")]
    #[schemars(range(min = 0.0, max = 3600.0))]
    duration: f64,
    /// In how many steps.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 10_000))]
    steps: u32,
) -> String {
    let step = Duration::from_secs_f64(duration / f64::from(steps));
    for done in 1..=steps {
        tokio::select! {
            () = tokio::time::sleep(step) => {}
            () = context.cancelled() => {
                context.log(LoggingLevel::Notice, "the long operation was cancelled");
                return "cancelled".to_owned();
            }
        }
        context.progress_with(
            f64::from(done),
            Some(f64::from(steps)),
            format!("step {done} of {steps}"),
        );
    }
    format!("Done: {duration} seconds in {steps} steps.")
}

fn ten() -> f64 {
    10.0
}

fn five() -> u32 {
    5
}

/// Asks the model of the client.
#[tool(name = "trigger-sampling-request")]
async fn trigger_sampling_request(
    context: Context,
    /// What to ask.
    prompt: String,
    /// The most tokens to answer with.
    #[serde(rename = "maxTokens", default = "hundred")]
    max_tokens: u64,
) -> Result<String, ToolError> {
    let question = CreateMessageParams::new(vec![SamplingMessage::user(prompt)], max_tokens)
        .system_prompt("You help to try out a server.")
        .temperature(0.7);
    let answer = context
        .sample("answer", question)
        .await
        .map_err(|error| ToolError::new(format!("No answer: {error}")))?;
    Ok(format!("{} says: {}", answer.model, answer.content.text()))
}

fn hundred() -> u64 {
    100
}

/// What a person says of themselves.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Introduction {
    /// What to call you.
    name: String,
    /// How old you are.
    #[schemars(range(max = 150))]
    age: Option<u32>,
    /// What you like best.
    colour: Option<Colour>,
    /// Shall we remember you?
    #[serde(default)]
    remember: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
enum Colour {
    Red,
    Green,
    Blue,
}

/// Asks the person to introduce themselves (from 2025-06-18 on).
#[tool(name = "trigger-elicitation-request")]
async fn trigger_elicitation_request(context: Context) -> Result<String, ToolError> {
    let answer = context
        .elicit_form::<Introduction>("introduction", "Who are you?")
        .await
        .map_err(|error| ToolError::new(format!("No answer: {error}")))?;
    Ok(match answer {
        Elicited::Accepted(person) => format!(
            "Hello {}, {:?}, {:?}, {}",
            person.name, person.age, person.colour, person.remember
        ),
        Elicited::Declined => "They would rather not say.".to_owned(),
        Elicited::Cancelled => "They put it away.".to_owned(),
    })
}

/// Asks the person to open a page (from 2025-11-25 on). The page says that it is an example.
#[tool(name = "trigger-url-elicitation")]
async fn trigger_url_elicitation(context: Context) -> Result<&'static str, ToolError> {
    static ASKED: AtomicU64 = AtomicU64::new(0);

    let id = format!("page-{}", ASKED.fetch_add(1, Ordering::Relaxed));
    let page = UrlElicitation::new("Look at an example.", "https://example.com/", id.as_str());
    let answer = context
        .elicit_url("page", &page)
        .await
        .map_err(|error| ToolError::new(format!("No answer: {error}")))?;
    Ok(match answer {
        Elicited::Accepted(()) => {
            // A real server says so when the person is done with the page.
            context.elicitation_complete(&id);
            "They will open it."
        }
        Elicited::Declined => "They would rather not.",
        Elicited::Cancelled => "They put it away.",
    })
}

/// Refuses, because the person must open a page first (from 2025-11-25 on).
#[tool(name = "requires-url-elicitation")]
fn requires_url_elicitation() -> Result<String, ToolError> {
    let page = UrlElicitation::new("Look at an example first.", "https://example.com/", "first");
    Err(ToolError::url_elicitation_required(&[page]))
}

/// Sends one log message of every level.
#[tool(name = "trigger-logging", read_only)]
fn trigger_logging(context: Context) -> &'static str {
    for level in LoggingLevel::ALL {
        let data = json!({"message": format!("a message of level {}", level.as_str())});
        context.log_as(Some("everything"), level, data);
    }
    "Sent one message of every level; you see those that you asked for."
}

/// Adds a tool, a prompt and a resource, and removes them again.
#[tool(name = "trigger-list-changed")]
fn trigger_list_changed(context: Context) -> Result<&'static str, ToolError> {
    let server = context.server();
    server.add_tool(tool_fn("temporary", || async { "short-lived" }))?;
    server.add_prompt(prompt_fn("temporary", || async { "short-lived" }))?;
    server.add_resource(resource_fn("demo://temporary", "temporary", || async {
        "short-lived"
    }))?;
    server.remove_tool("temporary");
    server.remove_prompt("temporary");
    server.remove_resource("demo://temporary");
    Ok("The lists changed twice each.")
}

/// What runs per session.
#[derive(Clone, Default)]
struct Switches {
    updates: Arc<Mutex<HashMap<u64, Arc<tokio::sync::Notify>>>>,
}

/// Starts or stops updates of the resources that this client is subscribed to, five times a
/// second.
#[tool(name = "toggle-subscriber-updates")]
fn toggle_subscriber_updates(context: Context, switches: State<Switches>) -> &'static str {
    let id = context.session().id();
    let mut updates = switches
        .updates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(stop) = updates.remove(&id) {
        stop.notify_one();
        return "Updates stopped.";
    }
    let stop = Arc::new(tokio::sync::Notify::new());
    updates.insert(id, stop.clone());
    tokio::spawn(update(context.server(), stop));
    "Updates started."
}

/// Ends by itself after a minute: a client that leaves does not say so.
async fn update(server: ServerHandle, stop: Arc<tokio::sync::Notify>) {
    const TIMES: u32 = 300;
    for _ in 0..TIMES {
        for number in 1..=NUMBERED {
            server.resource_updated(&numbered_uri(number));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = stop.notified() => return,
        }
    }
}

/// Where someone lives.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Address {
    /// Street and number.
    #[schemars(length(min = 1, max = 200))]
    street: String,
    /// The city.
    #[schemars(length(min = 1))]
    city: String,
    /// The postal code.
    #[schemars(regex(pattern = "^[0-9]{4,6}$"))]
    zip: Option<String>,
}

/// Checks the data of a person: as much schema as a busy real tool has.
#[tool(name = "check-person", read_only)]
fn check_person(
    /// The name.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// In years.
    #[schemars(range(min = 0, max = 150))]
    age: Option<u32>,
    /// Words about the person.
    #[serde(default)]
    #[schemars(length(max = 20))]
    tags: Vec<String>,
    /// Where the person lives.
    #[serde(default)]
    #[schemars(length(max = 10))]
    addresses: Vec<Address>,
    /// Still active?
    #[serde(default)]
    active: bool,
) -> String {
    let streets: usize = addresses.iter().map(|home| home.street.len()).sum();
    let cities = addresses
        .iter()
        .filter(|home| !home.city.is_empty())
        .count();
    let zips = addresses.iter().filter(|home| home.zip.is_some()).count();
    if !active || age.is_none() || tags.is_empty() || streets + cities + zips == 0 {
        return format!("{name} is incomplete");
    }
    name
}

fn numbered_uri(number: u32) -> String {
    let kind = if number.is_multiple_of(2) {
        "text"
    } else {
        "blob"
    };
    format!("demo://resource/dynamic/{kind}/{number}")
}

fn numbered_type(number: u32) -> &'static str {
    if number.is_multiple_of(2) {
        "text/plain"
    } else {
        "application/octet-stream"
    }
}

fn numbered(uri: &str, number: u32) -> Result<ResourceContents, ToolError> {
    if !(1..=NUMBERED).contains(&number) {
        return Err(ToolError::resource_not_found(uri));
    }
    let text = format!("Resource {number}: this is its content.");
    Ok(if uri.contains("/text/") {
        ResourceContents::text(uri, text).mime_type("text/plain")
    } else {
        ResourceContents::blob(uri, STANDARD.encode(text)).mime_type("application/octet-stream")
    })
}

fn resources(server: Server) -> Server {
    let server = (1..=NUMBERED).fold(server, |server, number| {
        let uri = numbered_uri(number);
        let read = move |Uri(uri): Uri| async move { numbered(&uri, number) };
        server.resource(
            resource_fn(uri, format!("Resource {number}"), read)
                .description(format!("The resource with number {number}"))
                .mime_type(numbered_type(number))
                .subscribable(),
        )
    });
    let text = "demo://resource/dynamic/text/{id}";
    let blob = "demo://resource/dynamic/blob/{id}";
    server
        .resource(
            template_fn(text, "Dynamic text", read_numbered)
                .description("A text with a number")
                .mime_type("text/plain")
                .subscribable(),
        )
        .resource(
            template_fn(blob, "Dynamic blob", read_numbered)
                .description("Bytes with a number")
                .mime_type("application/octet-stream")
                .subscribable(),
        )
        .complete_template(text, "id", complete_number)
        .complete_template(blob, "id", complete_number)
}

async fn read_numbered(
    Uri(uri): Uri,
    Variables(variables): Variables,
) -> Result<ResourceContents, ToolError> {
    let number = variables.get("id").and_then(|id| id.parse().ok());
    match number {
        Some(number) => numbered(&uri, number),
        None => Err(ToolError::resource_not_found(&uri)),
    }
}

async fn complete_number(query: CompletionQuery) -> Result<Vec<String>, ToolError> {
    Ok(rank(
        (1..=NUMBERED).map(|number| number.to_string()),
        &query.value,
    ))
}

const DEPARTMENTS: [(&str, [&str; 3]); 3] = [
    ("Engineering", ["Alice", "Bob", "Carol"]),
    ("Sales", ["Dan", "Eve", "Frank"]),
    ("Support", ["Grace", "Heidi", "Ivan"]),
];

fn prompts(server: Server) -> Server {
    server
        .prompt(
            prompt_fn("simple-prompt", || async {
                "This is a simple prompt without arguments."
            })
            .description("A prompt without arguments"),
        )
        .prompt(
            prompt_fn("args-prompt", args_prompt)
                .description("A prompt with a required and an optional argument")
                .argument(
                    PromptArgument::new("city")
                        .description("The city")
                        .required(true),
                )
                .argument(
                    PromptArgument::new("state")
                        .description("The state that it lies in")
                        .required(false),
                ),
        )
        .prompt(
            prompt_fn("completable-prompt", completable_prompt)
                .description("A prompt whose arguments can be completed")
                .argument(
                    PromptArgument::new("department")
                        .description("The department")
                        .required(true),
                )
                .argument(
                    PromptArgument::new("name")
                        .description("Someone who works there")
                        .required(true),
                ),
        )
        .prompt(
            prompt_fn("resource-prompt", resource_prompt)
                .description("A prompt that embeds a resource")
                .argument(
                    PromptArgument::new("resourceId")
                        .description("Its number, from 1 to 100")
                        .required(true),
                ),
        )
        .prompt(
            prompt_fn("image-prompt", || async {
                vec![
                    PromptMessage::user(Content::image(TINY_IMAGE, "image/png")),
                    PromptMessage::assistant("I see one pixel."),
                ]
            })
            .description("A prompt with an image"),
        )
        .complete_prompt("completable-prompt", "department", |query| async move {
            Ok(rank(DEPARTMENTS.map(|(name, _)| name), &query.value))
        })
        .complete_prompt("completable-prompt", "name", |query| async move {
            let known = query.known.get("department").cloned();
            let names = DEPARTMENTS
                .iter()
                .filter(|(department, _)| known.as_deref().is_none_or(|known| known == *department))
                .flat_map(|(_, names)| names);
            Ok(rank(names, &query.value))
        })
}

async fn args_prompt(Variables(arguments): Variables) -> String {
    let city = arguments.get("city").map_or("", String::as_str);
    match arguments.get("state") {
        Some(state) => format!("What is the weather in {city}, {state}?"),
        None => format!("What is the weather in {city}?"),
    }
}

async fn completable_prompt(Variables(arguments): Variables) -> String {
    let get = |name: &str| arguments.get(name).map_or("", String::as_str).to_owned();
    format!("Say hello to {} of {}.", get("name"), get("department"))
}

async fn resource_prompt(Variables(arguments): Variables) -> Result<Vec<PromptMessage>, ToolError> {
    let number = arguments
        .get("resourceId")
        .and_then(|id| id.parse().ok())
        .filter(|number| (1..=NUMBERED).contains(number))
        .ok_or_else(|| {
            ToolError::protocol(ErrorObject::invalid_params(
                "resourceId is a number from 1 to 100",
            ))
        })?;
    let contents = numbered(&numbered_uri(number), number)?;
    Ok(vec![
        PromptMessage::user(format!("Please look at resource {number}:")),
        PromptMessage::user(Content::resource(contents)),
    ])
}
