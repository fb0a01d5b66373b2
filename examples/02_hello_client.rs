//! A client of a server in memory; with a `Command` instead of the server it starts a process.

use compere::prelude::*;

#[tokio::main]
async fn main() -> compere::Result<()> {
    let server = Server::new("greeter", "1.0.0").tool(greet);
    let client = Client::connect(server).await?;
    let mut tools = client.tools();
    while let Some(tool) = tools.next().await {
        println!("{}", tool?.name);
    }
    let greeting: String = client.call("greet", json!({"name": "Ada"})).await?.data()?;
    println!("{greeting}");
    client.close().await
}

/// Greets someone.
#[tool]
fn greet(name: String) -> String {
    format!("Hello, {name}!")
}
