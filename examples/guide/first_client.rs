//! The Rust of `docs/guides/first-client.md`, compiled and run.

mod block_1 {
    use compere::prelude::*;

    #[expect(dead_code, reason = "it would fetch a server from a registry")]
    async fn example() -> compere::Result<()> {
        let command = Command::new("npx").args(["-y", "@modelcontextprotocol/server-everything"]);
        let client = Client::connect(command).await?;
        println!("{}", client.server_info().map_or("?", |info| &info.name));
        client.close().await
    }
}

mod block_2 {
    use compere::prelude::*;
    fn server() -> Server {
        Server::new("calculator", "1")
            .tool_fn("add", |Args(sum): Args<Sum>| async move { sum.a + sum.b })
    }
    #[derive(Deserialize, JsonSchema)]
    struct Sum {
        a: f64,
        b: f64,
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let client = Client::connect(server()).await?;

        // Lists come page by page, with a bound.
        let mut tools = client.tools();
        while let Some(tool) = tools.next().await {
            println!("{}", tool?.name);
        }

        // A result as data, or as it is.
        let sum: f64 = client.call("add", json!({"a": 1, "b": 2})).await?.data()?;
        assert_eq!(sum, 3.0);
        let output = client.call("add", json!({})).await?;
        assert!(output.failed());
        client.close().await
    }
}

mod block_3 {
    use compere::client::answer::Refusal;
    use compere::model::{CreateMessageResult, Role, Root};
    use compere::prelude::*;
    /// Asks the model.
    #[tool]
    async fn ask(context: Context) -> Result<String, ToolError> {
        let question = compere::model::SamplingMessage::user("Why?");
        let params = compere::model::CreateMessageParams::new(vec![question], 10_u64);
        Ok(context.sample("why", params).await?.content.text())
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let server = Server::new("asks", "1").tool(ask);
        let client = Client::builder("my-app", "1.0.0")
            .roots([Root::new("file:///home/ada/project").name("project")])
            .on_sample(|request| async move {
                // Show the request to a person here. What they refuse:
                if request.max_tokens > 1000 {
                    return Err(Refusal::by_user("too long"));
                }
                Ok(CreateMessageResult::new(
                    Role::Assistant,
                    "Because.",
                    "my-model",
                ))
            })
            .on_log(|message| eprintln!("{}", message.data.get()))
            .connect(server)
            .await?;
        assert_eq!(client.call("ask", ()).await?.joined_text(), "Because.");
        client.close().await
    }
}
