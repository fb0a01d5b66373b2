//! The Rust of `docs/guides/eras.md`, compiled and run.

mod block_1 {
    use compere::Revision;
    use compere::prelude::*;

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let server = Server::new("modern", "1.0.0").revisions(&[Revision::V2026_07_28]);
        let client = Client::builder("app", "1.0.0").revisions(Revision::NEGOTIABLE);
        // They have nothing in common, and say so.
        let error = client.connect(server).await.unwrap_err();
        println!("{error}");
        Ok(())
    }
}

mod block_2 {
    use compere::model::ElicitParams;
    use compere::prelude::*;

    /// Book a table.
    #[tool(single_use)]
    async fn book(context: Context) -> Result<String, ToolError> {
        let number: u32 = context.once("reserve", async { 7 }).await?;
        let form = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
        let answer = context
            .elicit(
                "name",
                ElicitParams::new("In which name?").requested_schema(form),
            )
            .await?;
        Ok(format!("Table {number}: {:?}", answer.action))
    }

    use compere::model::{ElicitAction, ElicitResult};

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let client = Client::builder("app", "1.0.0")
            .on_elicit(|_| async { Ok(ElicitResult::new(ElicitAction::Decline)) })
            .connect(Server::new("tables", "1.0.0").tool(book()))
            .await?;
        assert_eq!(
            client.call("book", ()).await?.joined_text(),
            "Table 7: Decline"
        );
        Ok(())
    }
}

mod block_3 {
    use compere::client::era::EraMemory;
    use compere::prelude::*;

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let memory = EraMemory::new();
        let client = Client::builder("app", "1.0.0")
            .memory(&memory)
            .connect(Server::new("any", "1.0.0"))
            .await?;
        // For yourself, for as long as you like: then there is not even one request.
        let verdict = client.verdict();
        let again = Client::builder("app", "1.0.0").known(verdict);
        again.connect(Server::new("any", "1.0.0")).await?;
        Ok(())
    }
}

mod block_4 {
    use compere::client::cache::{CacheMode, CacheScope, ResultCache};
    use compere::prelude::*;
    use std::time::Duration;

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let server = Server::new("slow", "1.0.0")
            .cache(Duration::from_secs(60), CacheScope::Private)
            .resource(resource_fn("test://text", "text", || async {
                "plain text"
            }));
        // One cache for several clients: what is private is shared only where both act for the same principal.
        let cache = ResultCache::new();
        let client = Client::builder("app", "1.0.0")
            .cache(&cache, "ada")
            .connect(server)
            .await?;
        client.read("test://text").await?;
        client.read("test://text").await?; // Not asked for again.
        client.read_in(CacheMode::Refresh, "test://text").await?;
        let fresh = client
            .resources()
            .cache(CacheMode::Bypass)
            .collect()
            .await?;
        assert_eq!((fresh.len(), cache.len()), (1, 1));
        Ok(())
    }
}
