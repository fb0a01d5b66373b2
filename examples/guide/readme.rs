//! The Rust of `README.md`, compiled.

mod block_1 {
    use compere::prelude::*;

    /// Add two numbers.
    #[tool]
    async fn add(a: f64, b: f64) -> f64 {
        a + b
    }

    #[tokio::main]
    #[expect(
        dead_code,
        reason = "it would wait for a client or a server of the reader"
    )]
    async fn main() -> compere::Result<()> {
        Server::new("calculator", "1.0.0")
            .tool(add)
            .serve_stdio()
            .await
    }

    #[derive(Deserialize, JsonSchema)]
    struct Add {
        a: f64,
        b: f64,
    }

    #[tokio::test]
    async fn both_servers_add() -> compere::Result<()> {
        let server = Server::new("calculator", "1.0.0").tool(add);
        let plain = Server::new("plain", "1.0.0");
        let plain = plain.tool_fn("add", |Args(a): Args<Add>| async move { a.a + a.b });
        for server in [server, plain] {
            let client = Client::connect(server).await?;
            let sum: f64 = client.call("add", json!({"a": 1, "b": 2})).await?.data()?;
            assert!((sum - 3.0).abs() < 1e-9);
        }
        Ok(())
    }
}

mod block_2 {
    use compere::prelude::*;

    #[expect(
        dead_code,
        reason = "it would wait for a client or a server of the reader"
    )]
    async fn example() -> compere::Result<()> {
        let client = Client::connect(Command::new("some-server")).await?; // or "https://…/mcp", or a Server, in memory
        let sum: f64 = client.call("add", json!({"a": 1, "b": 2})).await?.data()?;
        assert!(sum > 0.0);
        Ok(())
    }
}
