//! A small server: echo, and as many tools as `TOOLS` says.

use compere::prelude::*;

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
    runtime.block_on(server.serve_stdio())
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Text {
    message: String,
}
