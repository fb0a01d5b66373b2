//! A small server: echo, and as many tools as `TOOLS` says.

use compere::Limits;
use compere::prelude::*;
use compere::server::http::HttpOptions;

/// Answers with its message.
#[tool]
fn echo(message: String) -> String {
    message
}

/// Answers with its message, one turn of the runtime later.
#[tool]
async fn yields(message: String) -> String {
    tokio::task::yield_now().await;
    message
}

fn main() -> compere::Result<()> {
    let count = std::env::var("TOOLS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let server = (1..count).fold(
        Server::new("bench", "1.0.0")
            .tool(echo().unlimited_rate())
            .tool(yields().unlimited_rate()),
        |server, number| {
            server.tool(
                tool_fn(format!("tool-{number}"), |Args(a): Args<Text>| async move {
                    a.message
                })
                .description("Answers with its message."),
            )
        },
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match std::env::args().nth(1).as_deref() {
        Some("http") => {
            let sessions = std::env::args().nth(2).as_deref() != Some("sessionless");
            runtime.block_on(over_http(server, sessions))
        }
        _ => runtime.block_on(server.serve_stdio()),
    }
}

/// Over HTTP, with or without sessions. There may be more sessions and more calls than usual.
async fn over_http(server: Server, sessions: bool) -> compere::Result<()> {
    let mut limits = Limits::default();
    limits.sessions = 20_000;
    limits.connections = 20_000;
    limits.calls_per_second = 1e9;
    limits.calls_burst = 1e9;
    limits.log_messages_per_second = 1e9;
    limits.log_messages_burst = 1e9;
    let handle = server
        .limits(limits)
        .tool(tool_fn("chatty", chatty).unlimited_rate())
        .tool(tool_fn("ticks", ticks))
        .start()?;
    let mut options = HttpOptions::new();
    if !sessions {
        options = options.without_sessions();
    }
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, options).await?;
    println!("http://{}/mcp", listener.local_addr()?);
    listener.serve_until_signal().await
}

/// Says something before it answers.
async fn chatty(context: Context, Args(said): Args<Text>) -> String {
    context.log(LoggingLevel::Info, "a word before");
    said.message
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Ticks {
    count: u32,
}

/// An event of 4 KB every 5 ms, with the time of its making.
async fn ticks(context: Context, Args(ticks): Args<Ticks>) -> &'static str {
    let mut interval = tokio::time::interval(std::time::Duration::from_millis(5));
    for _ in 0..ticks.count {
        interval.tick().await;
        let now = std::time::SystemTime::now();
        let made = now.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        let padding = "x".repeat(4000);
        context.log(LoggingLevel::Info, format!("made:{};{padding}", made.as_nanos()));
    }
    "all ticks"
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Text {
    message: String,
}
