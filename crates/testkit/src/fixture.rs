//! The server of the transcripts: small, and with a handler for every way in which a call can go.

use std::time::Duration;

use compere::model::{CreateMessageParams, ElicitParams, PromptArgument, SamplingMessage};
use compere::prelude::*;
use compere::{Limits, Revision, Variables, rank};

/// Tight bounds, so that transcripts can reach them.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.requests_in_flight = 64;
    limits.calls_per_second = 10.0;
    limits.calls_burst = 200.0;
    limits.subscriptions = 2;
    limits.request_bytes = 64 * 1024;
    limits.message_bytes = 128 * 1024;
    limits
}

/// The server, speaking the given revisions.
pub fn server(revisions: &[Revision]) -> Server {
    Server::new("fixture", "1.0.0")
        .instructions("Only for tests.")
        .limits(limits())
        .revisions(revisions)
        .page_size(4)
        .tool(
            tool_fn("add", |Args(a): Args<Add>| async move { a.a + a.b })
                .description("Adds two numbers"),
        )
        .tool(tool_fn("ask", ask))
        .tool(tool_fn("checked", |Args(a): Args<Checked>| async move {
            a.word
        }))
        .tool(tool_fn("fail", || async {
            Err::<String, _>(ToolError::new("it did not work"))
        }))
        .tool(tool_fn("hidden", || async { "secret" }).visible_to(|_| false))
        .tool(tool_fn("log", log))
        .tool(tool_fn("panic", panics))
        .tool(tool_fn("progress", progress))
        .tool(tool_fn("roots", roots))
        .tool(tool_fn("sample", sample))
        .tool(tool_fn("wait", wait))
        .tool(tool_fn("change", change))
        .prompt(
            prompt_fn("greet", |Variables(given): Variables| async move {
                format!("Say hello to {}.", given["name"])
            })
            .description("A greeting")
            .argument(PromptArgument::new("name").required(true)),
        )
        .prompt(prompt_fn("broken", || async {
            Err::<String, ToolError>(std::io::Error::other("a path that nobody may see").into())
        }))
        .complete_prompt("greet", "name", |query| async move {
            Ok(rank(["Ada", "Alan", "Grace"], &query.value))
        })
        .resource(
            resource_fn("test://text", "text", || async { "plain text" })
                .mime_type("text/plain")
                .subscribable(),
        )
        .resource(resource_fn("test://bytes", "bytes", || async {
            vec![0_u8, 1, 2]
        }))
        .resource(
            template_fn(
                "test://item/{id}",
                "item",
                |Variables(v): Variables| async move {
                    match v["id"].as_str() {
                        "none" => Err(ToolError::resource_not_found("test://item/none")),
                        id => Ok(format!("item {id}")),
                    }
                },
            )
            .subscribable(),
        )
        .complete_template("test://item/{id}", "id", |_| async {
            Ok((0..150).map(|id| id.to_string()).collect())
        })
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Add {
    a: f64,
    b: f64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Checked {
    #[schemars(length(min = 2, max = 8), regex(pattern = "^[a-z]+$"))]
    word: String,
}

#[allow(clippy::panic)]
async fn panics() -> String {
    panic!("on purpose")
}

async fn ask(context: Context) -> Result<String, ToolError> {
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
    let answer = context
        .elicit(
            "confirm",
            ElicitParams::new("Go on?").requested_schema(schema),
        )
        .await
        .map_err(|error| ToolError::new(error.to_string()))?;
    let ok = answer
        .content
        .as_ref()
        .and_then(|content| content.get("ok"));
    Ok(match ok.map(compere::model::RawJson::get) {
        Some("true") => "confirmed".to_owned(),
        _ => "not confirmed".to_owned(),
    })
}

async fn log(context: Context) -> &'static str {
    context.log(LoggingLevel::Debug, "details");
    context.log_as(Some("fixture"), LoggingLevel::Warning, json!({"disk": 93}));
    "logged"
}

async fn progress(context: Context) -> &'static str {
    context.progress_of(1.0, 3.0);
    context.progress_of(2.0, 3.0);
    // Does not grow, so it is not sent.
    context.progress_of(2.0, 3.0);
    context.progress_of(3.0, 3.0);
    "done"
}

async fn roots(context: Context) -> Result<String, ToolError> {
    let roots = context
        .roots("roots")
        .await
        .map_err(|error| ToolError::new(error.to_string()))?;
    let uris: Vec<&str> = roots.iter().map(|root| root.uri.as_str()).collect();
    Ok(uris.join(" "))
}

async fn sample(context: Context) -> Result<String, ToolError> {
    let question = CreateMessageParams::new(vec![SamplingMessage::user("2 + 2?")], 10_u64);
    let answer = context
        .sample("sum", question)
        .await
        .map_err(|error| ToolError::new(error.to_string()))?;
    Ok(answer.content.text())
}

async fn wait(context: Context) -> &'static str {
    tokio::select! {
        () = context.cancelled() => "cancelled",
        () = tokio::time::sleep(Duration::from_secs(3600)) => "an hour later",
    }
}

async fn change(context: Context) -> Result<&'static str, ToolError> {
    let server = context.server();
    server.resource_updated("test://text");
    server.resource_updated("test://item/1");
    server.add_tool(tool_fn("new", || async { "new" }))?;
    server.remove_tool("new");
    Ok("changed")
}
