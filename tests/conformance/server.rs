//! The server that the official conformance suite is run against: the tools, resources and prompts
//! that its scenarios call by name. `conformance-server` listens on a free port of this machine
//! and says on standard output where.

use std::time::Duration;

use compere::Variables;
use compere::model::{
    CreateMessageParams, ElicitParams, ErrorObject, PromptArgument, RawJson, Role, SamplingMessage,
    TaskSupport,
};
use compere::prelude::*;
use compere::schemars::Schema;
use compere::server::http::HttpOptions;

/// One red pixel.
const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/// A wave file without samples.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// Between two reports of one tool.
const STEP: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> compere::Result<()> {
    let handle = server().start()?;
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, HttpOptions::new()).await?;
    println!("http://{}/mcp", listener.local_addr()?);
    listener.serve_until_signal().await
}

fn server() -> Server {
    let server = contents(asking(Server::new("compere-conformance", "1.0.0")));
    tasks(rounds(stateless(server)))
        .tool(tool_fn("test_tool_with_logging", logging).description("Logs three messages"))
        .tool(tool_fn("test_tool_with_progress", progress).description("Reports progress"))
        .tool(
            tool_fn("test_error_handling", || async {
                Err::<String, _>(ToolError::new(
                    "This tool intentionally returns an error for testing",
                ))
            })
            .description("Fails"),
        )
        .tool(tool_fn("test_reconnection", reconnection).description("Lets go of its stream"))
        .tool(
            tool_fn(
                "json_schema_2020_12_tool",
                |arguments: compere::RawArgs| async move { arguments.0.get().to_owned() },
            )
            .description("Has a schema with everything of its dialect")
            .input_schema(dialect())
            .unvalidated(),
        )
}

/// Content of every kind, from tools, resources and prompts.
fn contents(server: Server) -> Server {
    server
        .tool(
            tool_fn("test_simple_text", || async {
                "This is a simple text response for testing."
            })
            .description("Answers with text"),
        )
        .tool(
            // E-292
            tool_fn("test_image_content", || async {
                Content::image(IMAGE, "image/png")
            })
            .description("Answers with an image"),
        )
        .tool(
            // E-293
            tool_fn("test_audio_content", || async {
                Content::audio(SOUND, "audio/wav")
            })
            .description("Answers with a sound"),
        )
        .tool(
            // E-295
            tool_fn("test_embedded_resource", || async {
                embedded("test://embedded-resource", "This is an embedded resource.")
            })
            .description("Answers with a resource"),
        )
        .tool(
            tool_fn("test_multiple_content_types", || async {
                let json = r#"{"test":"data"}"#;
                let mixed = ResourceContents::text("test://mixed-content-resource", json)
                    .mime_type("application/json");
                vec![
                    Content::text("Several kinds of content:"),
                    Content::image(IMAGE, "image/png"),
                    Content::resource(mixed),
                ]
            })
            .description("Answers with several kinds of content"),
        )
        .resource(
            resource_fn("test://static-text", "Static text", || async {
                "This is the content of the static text resource."
            })
            .description("A text that never changes")
            .mime_type("text/plain"),
        )
        .resource(
            resource_fn("test://static-binary", "Static bytes", || async {
                ResourceContents::blob("test://static-binary", IMAGE).mime_type("image/png")
            })
            .description("Bytes that never change")
            .mime_type("image/png"),
        )
        .resource(
            resource_fn("test://watched-resource", "Watched", || async { "watched" })
                .description("A resource to subscribe to")
                .mime_type("text/plain")
                .subscribable(),
        )
        .resource(
            template_fn(
                "test://template/{id}/data",
                "Data by id",
                |Variables(variables): Variables| async move {
                    let id = variables.get("id").cloned().unwrap_or_default();
                    json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")})
                        .to_string()
                },
            )
            .description("Data of one id")
            .mime_type("application/json"),
        )
        .prompt(
            prompt_fn("test_simple_prompt", || async {
                "This is a simple prompt for testing."
            })
            .description("A prompt without arguments"),
        )
        .prompt(
            prompt_fn(
                "test_prompt_with_arguments",
                |Variables(given): Variables| async move {
                    format!(
                        "Prompt with arguments: arg1='{}', arg2='{}'",
                        given.get("arg1").map_or("", String::as_str),
                        given.get("arg2").map_or("", String::as_str)
                    )
                },
            )
            .description("A prompt with two arguments")
            .argument(
                PromptArgument::new("arg1")
                    .description("First")
                    .required(true),
            )
            .argument(
                PromptArgument::new("arg2")
                    .description("Second")
                    .required(true),
            ),
        )
        .complete_prompt("test_prompt_with_arguments", "arg1", |query| async move {
            Ok(compere::rank(["test", "testing", "other"], &query.value))
        })
        .prompt(
            prompt_fn(
                "test_prompt_with_embedded_resource",
                |Variables(given): Variables| async move {
                    let uri = given.get("resourceUri").cloned().unwrap_or_default();
                    vec![
                        PromptMessage::new(
                            Role::User,
                            embedded(&uri, "Embedded resource content for testing."),
                        ),
                        PromptMessage::user("Please process the embedded resource above."),
                    ]
                },
            )
            .description("A prompt with a resource")
            .argument(
                PromptArgument::new("resourceUri")
                    .description("The resource")
                    .required(true),
            ),
        )
        .prompt(
            prompt_fn("test_prompt_with_image", || async {
                vec![
                    PromptMessage::new(Role::User, Content::image(IMAGE, "image/png")),
                    PromptMessage::user("Please analyze the image above."),
                ]
            })
            .description("A prompt with an image"),
        )
}

/// Tools that ask the client.
fn asking(server: Server) -> Server {
    server
        .tool(tool_fn("test_sampling", sampling).description("Asks the model of the client"))
        .tool(tool_fn("test_elicitation", elicitation).description("Asks the person"))
        .tool(
            tool_fn(
                "test_elicitation_sep1034_defaults",
                |context: Context| async move {
                    elicit(context, "Please check the defaults", defaults()).await
                },
            )
            .description("Asks with defaults"),
        )
        .tool(
            tool_fn(
                "test_elicitation_sep1330_enums",
                |context: Context| async move { elicit(context, "Please choose", choices()).await },
            )
            .description("Asks with choices"),
        )
}

/// What only clients without a session call.
fn stateless(server: Server) -> Server {
    server
        .tool(
            tool_fn("test_missing_capability", |context: Context| async move {
                context.sample("answer", question("Say anything.")).await?;
                Ok::<_, ToolError>("The client can sample")
            })
            .description("Needs sampling"),
        )
        .tool(tool_fn("test_streaming_elicitation", confirmed).description("Asks the person"))
        .tool(
            tool_fn("test_logging_tool", |context: Context| async move {
                context.log(LoggingLevel::Info, "Only for those who asked");
                "Logged"
            })
            .description("Logs one message"),
        )
        .tool(
            tool_fn("test_trigger_tool_change", |context: Context| async move {
                let server = context.server();
                server.add_tool(tool_fn("test_new_tool", || async { "new" }))?;
                server.remove_tool("test_new_tool");
                Ok::<_, ToolError>("The tools have changed")
            })
            .description("Changes the list of tools"),
        )
        .tool(
            tool_fn("test_trigger_prompt_change", |context: Context| async move {
                let server = context.server();
                server.add_prompt(prompt_fn("test_new_prompt", || async { "new" }))?;
                server.remove_prompt("test_new_prompt");
                Ok::<_, ToolError>("The prompts have changed")
            })
            .description("Changes the list of prompts"),
        )
        .tool(
            tool_fn(
                "test_header_parameter",
                |arguments: compere::RawArgs| async move { arguments.0.get().to_owned() },
            )
            .description("Has a parameter that stands in a header")
            .input_schema(
                Schema::try_from(json!({
                    "type": "object",
                    "properties": {
                        "region": {"type": "string", "description": "Where", "x-mcp-header": "Region"},
                    },
                }))
                .unwrap_or_default(),
            ),
        )
}

/// Tools and a prompt that ask in one round or several.
fn rounds(server: Server) -> Server {
    server
        .tool(
            tool_fn(
                "test_input_required_result_elicitation",
                |context: Context| async move {
                    let name = name_of(&context, "user_name").await?;
                    Ok::<_, ToolError>(format!("Hello, {name}!"))
                },
            )
            .description("Asks for a name"),
        )
        .tool(
            tool_fn(
                "test_input_required_result_sampling",
                |context: Context| async move {
                    let answer =
                        context.sample("capital", question("What is the capital of France?"));
                    Ok::<_, ToolError>(answer.await?.content.text())
                },
            )
            .description("Asks the model of the client"),
        )
        .tool(
            tool_fn(
                "test_input_required_result_list_roots",
                |context: Context| async move {
                    let roots = context.roots("client_roots").await?;
                    Ok::<_, ToolError>(format!("{} roots", roots.len()))
                },
            )
            .description("Asks for the roots"),
        )
        .tool(
            tool_fn(
                "test_input_required_result_request_state",
                |context: Context| async move {
                    confirmed(context).await?;
                    Ok::<_, ToolError>("state-ok")
                },
            )
            .description("Gives the client something to keep"),
        )
        .tool(
            tool_fn(
                "test_input_required_result_multiple_inputs",
                |context: Context| async move {
                    let (name, greeting, roots) = tokio::try_join!(
                        async { name_of(&context, "user_name").await },
                        async { Ok(context.sample("greeting", question("Greet.")).await?) },
                        async { Ok(context.roots("client_roots").await?) },
                    )?;
                    let (greeting, roots) = (greeting.content.text(), roots.len());
                    Ok::<_, ToolError>(format!("{greeting} {name}, {roots} roots"))
                },
            )
            .description("Asks three things at once"),
        )
        .tool(
            tool_fn(
                "test_input_required_result_multi_round",
                |context: Context| async move {
                    let first = name_of(&context, "step1").await?;
                    let second = name_of(&context, "step2").await?;
                    Ok::<_, ToolError>(format!("{first}, then {second}"))
                },
            )
            .description("Asks twice"),
        )
        .tool(
            tool_fn("test_input_required_result_tampered_state", confirmed)
                .description("Takes nothing that was changed"),
        )
        .tool(
            tool_fn("test_input_required_result_capabilities", by_capability)
                .description("Asks what the client can be asked"),
        )
        .prompt(
            prompt_fn(
                "test_input_required_result_prompt",
                |context: Context| async move {
                    let name = name_of(&context, "user_context").await?;
                    Ok::<_, ToolError>(format!("Write about {name}."))
                },
            )
            .description("A prompt that asks first"),
        )
}

/// Tools that become tasks.
fn tasks(server: Server) -> Server {
    server
        .tool(
            tool_fn("greet", |Args(who): Args<Name>| async move {
                format!("Hello, {}!", who.name)
            })
            .description("Greets"),
        )
        .tool(
            tool_fn("slow_compute", |Args(work): Args<Compute>| async move {
                tokio::time::sleep(Duration::from_secs_f64(work.seconds.clamp(0.0, 60.0))).await;
                format!("Computed {}", work.label)
            })
            .description("Takes its time")
            .task_support(TaskSupport::Optional),
        )
        .tool(
            tool_fn("failing_job", || async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err::<String, _>(ToolError::new("The job failed"))
            })
            .description("Fails after a while")
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn("protocol_error_job", || async {
                tokio::time::sleep(STEP).await;
                let error = ErrorObject::new(-31_999, "The job broke off");
                Err::<String, _>(ToolError::protocol(error))
            })
            .description("Ends with an error of the protocol")
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn(
                "confirm_delete",
                |context: Context, Args(file): Args<File>| async move {
                    let form = confirm_form();
                    let params = ElicitParams::new("Delete it?").requested_schema(form);
                    let answer = context.elicit("confirm", params).await?;
                    Ok::<_, ToolError>(format!("{}: {:?}", file.filename, answer.action))
                },
            )
            .description("Asks before it deletes")
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn("multi_input", |context: Context| async move {
                let (one, two) =
                    tokio::try_join!(name_of(&context, "first"), name_of(&context, "second"))?;
                Ok::<_, ToolError>(format!("{one} and {two}"))
            })
            .description("Asks two things at once")
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn("test_tool_with_task", |context: Context| async move {
                let name = name_of(&context, "user_name").await?;
                tokio::time::sleep(4 * STEP).await;
                Ok::<_, ToolError>(format!("Hello, {name}!"))
            })
            .description("Asks first and then takes its time")
            .task_support(TaskSupport::Optional),
        )
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Name {
    /// Who is greeted.
    name: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Compute {
    /// How long it takes.
    #[serde(default)]
    seconds: f64,
    /// What it is.
    #[serde(default)]
    label: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct File {
    /// Its name.
    filename: String,
}

fn confirm_form() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {"confirm": {"type": "boolean", "description": "Go on?"}},
        "required": ["confirm"],
    })
}

fn question(text: &str) -> CreateMessageParams {
    CreateMessageParams::new(vec![SamplingMessage::user(text)], 100_u64)
}

/// Asks for a text, whatever the client calls it.
async fn name_of(context: &Context, key: &str) -> Result<String, ToolError> {
    let form = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "description": "A name"}},
    });
    let params = ElicitParams::new("What is your name?").requested_schema(form);
    let answer = context.elicit(key, params).await?;
    let content = answer.content.unwrap_or_default();
    let name = content.values().find_map(|value| value.decode().ok());
    Ok(name.unwrap_or_else(|| "nobody".to_owned()))
}

async fn confirmed(context: Context) -> Result<String, ToolError> {
    let form = json!({
        "type": "object",
        "properties": {"ok": {"type": "boolean", "description": "Go on?"}},
        "required": ["ok"],
    });
    let params = ElicitParams::new("Please confirm").requested_schema(form);
    let answer = context.elicit("confirm", params).await?;
    Ok(format!("{:?}", answer.action).to_lowercase())
}

async fn by_capability(context: Context) -> Result<String, ToolError> {
    let declared = context.client_capabilities();
    let can_sample = declared.is_some_and(|declared| declared.sampling.is_some());
    let can_elicit = declared.is_some_and(compere::model::ClientCapabilities::elicits_forms);
    let samples = async {
        match can_sample {
            true => context
                .sample("sampled", question("Greet."))
                .await
                .map(drop),
            false => Ok(()),
        }
    };
    let elicits = async {
        match can_elicit {
            true => name_of(&context, "elicited").await.map(drop),
            false => Ok(()),
        }
    };
    let (sampled, elicited) = tokio::join!(samples, elicits);
    sampled?;
    elicited?;
    Ok("Asked what can be asked".to_owned())
}

fn embedded(uri: &str, text: &str) -> Content {
    Content::resource(ResourceContents::text(uri, text).mime_type("text/plain"))
}

async fn logging(context: Context) -> &'static str {
    for message in [
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ] {
        context.log(LoggingLevel::Info, message);
        tokio::time::sleep(STEP).await;
    }
    "Tool with logging executed"
}

async fn progress(context: Context) -> &'static str {
    for done in [0.0, 50.0, 100.0] {
        context.progress_of(done, 100.0);
        tokio::time::sleep(STEP).await;
    }
    "Tool with progress executed"
}

async fn reconnection(context: Context) -> &'static str {
    context.close_event_stream(Duration::from_millis(100));
    tokio::time::sleep(2 * STEP).await;
    "Reconnection worked"
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Prompt {
    /// What the model is asked.
    prompt: String,
}

async fn sampling(context: Context, Args(asked): Args<Prompt>) -> Result<String, ToolError> {
    let question = SamplingMessage::user(asked.prompt);
    let params = CreateMessageParams::new(vec![question], 100_u64);
    let answer = context.sample("answer", params).await.map_err(refused)?;
    Ok(format!("LLM response: {}", answer.content.text()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Message {
    /// What the person is asked.
    message: String,
}

async fn elicitation(context: Context, Args(asked): Args<Message>) -> Result<String, ToolError> {
    let schema = json!({
        "type": "object",
        "properties": {"response": {"type": "string", "description": "Your answer"}},
        "required": ["response"],
    });
    let params = ElicitParams::new(asked.message).requested_schema(schema);
    let answer = context.elicit("answer", params).await.map_err(refused)?;
    let content =
        RawJson::from_value(&answer.content).map_err(|error| ToolError::new(error.to_string()))?;
    let action = format!("{:?}", answer.action).to_lowercase();
    Ok(format!(
        "User response: action={action}, content={}",
        content.get()
    ))
}

async fn elicit(
    context: Context,
    message: &str,
    schema: serde_json::Value,
) -> Result<String, ToolError> {
    let params = ElicitParams::new(message).requested_schema(schema);
    let answer = context.elicit("answer", params).await.map_err(refused)?;
    let content =
        RawJson::from_value(&answer.content).map_err(|error| ToolError::new(error.to_string()))?;
    let action = format!("{:?}", answer.action).to_lowercase();
    Ok(format!(
        "Elicitation completed: action={action}, content={}",
        content.get()
    ))
}

fn refused(error: compere::Error) -> ToolError {
    ToolError::new(format!("The client did not answer: {error}"))
}

fn defaults() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Name", "default": "John Doe"},
            "age": {"type": "integer", "description": "Age", "default": 30},
            "score": {"type": "number", "description": "Score", "default": 95.5},
            "status": {
                "type": "string",
                "description": "Status",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": {"type": "boolean", "description": "Verified", "default": true},
        },
        "required": [],
    })
}

fn choices() -> serde_json::Value {
    let titled = json!([
        {"const": "value1", "title": "First Option"},
        {"const": "value2", "title": "Second Option"},
        {"const": "value3", "title": "Third Option"},
    ]);
    let plain = json!(["option1", "option2", "option3"]);
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "description": "One", "enum": plain},
            "titledSingle": {"type": "string", "description": "One", "oneOf": titled},
            "legacyEnum": {
                "type": "string",
                "description": "One",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {
                "type": "array",
                "description": "Some",
                "minItems": 1,
                "maxItems": 3,
                "items": {"type": "string", "enum": plain},
            },
            "titledMulti": {
                "type": "array",
                "description": "Some",
                "minItems": 1,
                "maxItems": 3,
                "items": {"anyOf": titled},
            },
        },
        "required": [],
    })
}

// D-007 D-010 D-013
/// A schema with what its dialect has beyond the usual.
fn dialect() -> Schema {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {
            "properties": {"contactMethod": {"const": "phone"}},
            "required": ["contactMethod"],
        },
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    Schema::try_from(schema).unwrap_or_default()
}
