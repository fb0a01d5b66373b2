//! The same power without macros: closures, schemas from types, rules per tool.

use compere::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Repeat {
    /// What to repeat.
    text: String,
    /// How often.
    #[schemars(range(min = 1, max = 10))]
    times: usize,
}

#[tokio::main]
async fn main() -> compere::Result<()> {
    let repeat = tool_fn("repeat", |Args(a): Args<Repeat>| async move {
        a.text.repeat(a.times)
    });
    let server = Server::new("repeater", "1.0.0").tool(
        repeat
            .description("Repeats a text.")
            .rate(5.0, 10.0)
            .visible_to(|session| session.principal() == "local"),
    );
    let client = Client::connect(server).await?;
    let refused = client
        .call("repeat", json!({"text": "ab", "times": 11}))
        .await?;
    println!("{}", refused.joined_text());
    let repeated: String = client
        .call("repeat", json!({"text": "ab", "times": 3}))
        .await?
        .data()?;
    println!("{repeated}");
    client.close().await
}
