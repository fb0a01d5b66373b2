//! The server that the official conformance suite is run against: the tools, resources and prompts
//! that its scenarios call by name. `conformance-server` listens on a free port of this machine
//! and says on standard output where.

use std::time::Duration;

use compere::Variables;
use compere::model::{
    CreateMessageParams, ElicitParams, PromptArgument, RawJson, Role, SamplingMessage,
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
    contents(asking(Server::new("compere-conformance", "1.0.0")))
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
            tool_fn("test_image_content", || async {
                Content::image(IMAGE, "image/png")
            })
            .description("Answers with an image"),
        )
        .tool(
            tool_fn("test_audio_content", || async {
                Content::audio(SOUND, "audio/wav")
            })
            .description("Answers with a sound"),
        )
        .tool(
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
