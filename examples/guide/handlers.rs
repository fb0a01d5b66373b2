//! The Rust of `docs/guides/handlers.md`, compiled and run.

mod block_1 {
    use compere::prelude::*;

    /// Counts until told to stop.
    #[tool]
    async fn count(context: Context) -> String {
        let mut counted = 0_u32;
        while !context.is_cancelled() && counted < 1000 {
            counted += 1;
            context.progress_of(f64::from(counted), 1000.0);
            tokio::task::yield_now().await;
        }
        format!("{counted}")
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let client = Client::connect(Server::new("counts", "1").tool(count)).await?;
        assert_eq!(client.call("count", ()).await?.joined_text(), "1000");
        client.close().await
    }
}

mod block_2 {
    use compere::prelude::*;

    /// Reads a file the plain way.
    #[tool(blocking, read_only)]
    fn first_line(path: String) -> Result<String, ToolError> {
        let text = std::fs::read_to_string(&path)
            .map_err(|_| ToolError::new(format!("{path} cannot be read.")))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let client = Client::connect(Server::new("files", "1").tool(first_line)).await?;
        assert!(
            client
                .call("first_line", json!({"path": "/no/such/file"}))
                .await?
                .failed()
        );
        client.close().await
    }
}
