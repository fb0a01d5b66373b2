//! The Rust of `docs/reference/limits.md`, compiled and run.

mod block_1 {
    use std::time::Duration;

    use compere::Limits;
    use compere::prelude::*;

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let mut limits = Limits::default();
        limits.request_timeout = Duration::from_secs(5);
        limits.list_items = 10_000;
        let client = Client::builder("my-app", "1.0.0")
            .limits(limits)
            .connect(Server::new("s", "1").tool_fn("hello", || async { "hello" }))
            .await?;
        client.close().await
    }
}
