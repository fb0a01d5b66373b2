//! The Rust of `docs/guides/http.md`, compiled and run.

mod block_1 {
    use compere::prelude::*;

    /// Add two numbers.
    #[tool]
    async fn add(a: f64, b: f64) -> f64 {
        a + b
    }

    #[expect(dead_code, reason = "it would take a port that may be taken")]
    async fn serve() -> compere::Result<()> {
        Server::new("calculator", "1.0.0")
            .tool(add)
            .serve_http("127.0.0.1:8080")
            .await
    }
}

mod block_2 {
    use compere::prelude::*;
    use compere::server::http::HttpOptions;

    async fn parts(server: Server) -> compere::Result<()> {
        let handle = server.start()?;
        let options = HttpOptions::new()
            .path("/calculator")
            .without_sse()
            .allow_host("calculator.example.com")
            .allow_origin("https://app.example.com");
        // For a router of yours: `router.fallback_service(service)`.
        let service = handle.http(options.clone())?;
        assert_eq!(service.paths(), ["/calculator"]);
        // Or a listener of ours, here on a port that is free.
        let listener = handle.listen_http("127.0.0.1:0", options).await?;
        println!("http://{}/calculator", listener.local_addr()?);
        Ok(())
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        parts(Server::new("calculator", "1")).await
    }
}

mod block_3 {
    use compere::server::http::HttpOptions;
    use compere::server::http::bearer::Principal;

    fn options() -> HttpOptions {
        HttpOptions::new().bearer(|token| {
            // Compare in constant time, against what you keep.
            (token == "the-token-of-ada").then(|| Principal::new("ada"))
        })
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        use compere::prelude::*;
        use compere::transport::http::HttpTarget;

        let server = Server::new("calculator", "1").tool_fn("who", |context: Context| async move {
            context.session().principal().to_owned()
        });
        let listener = server
            .start()?
            .listen_http("127.0.0.1:0", options())
            .await?;
        let address = format!("http://{}/mcp", listener.local_addr()?);
        tokio::spawn(listener.serve_until(std::future::pending()));
        assert!(Client::connect(address.as_str()).await.is_err());
        let target = HttpTarget::new(address).bearer("the-token-of-ada");
        let client = Client::connect(target).await?;
        assert_eq!(client.call("who", ()).await?.joined_text(), "ada");
        Ok(())
    }
}

mod block_shared {
    use compere::prelude::*;
    use compere::server::http::HttpOptions;
    use compere::server::http::store::MemoryStore;

    async fn two_instances(server: impl Fn() -> Server) -> compere::Result<()> {
        // In one process. Over several, implement the three traits of `store` on what you have.
        let stores = MemoryStore::default().shared();
        let options = || HttpOptions::new().shared(stores.clone());
        let one = server()
            .start()?
            .listen_http("127.0.0.1:0", options())
            .await?;
        let other = server()
            .start()?
            .listen_http("127.0.0.1:0", options())
            .await?;
        println!("{} {}", one.local_addr()?, other.local_addr()?);
        Ok(())
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        two_instances(|| Server::new("calculator", "1")).await
    }
}

mod block_tasks {
    use compere::prelude::*;
    use compere::server::tasks::MemoryTasks;

    fn with_shared_tasks(server: Server, tasks: &MemoryTasks) -> Server {
        // In one process. Over several, implement `TaskStore` on what you have.
        server.task_store(tasks.clone())
    }

    #[test]
    fn works() {
        let server = Server::new("calculator", "1");
        with_shared_tasks(server, &MemoryTasks::new());
    }
}

mod block_4 {
    use compere::prelude::*;
    use compere::transport::http::HttpTarget;

    #[expect(dead_code, reason = "nobody listens there")]
    async fn connect(token: &str) -> compere::Result<()> {
        let client = Client::connect("http://127.0.0.1:8080/mcp").await?;
        client.ping().await?;

        // With a token, which goes to this server only: redirects are not followed.
        let target = HttpTarget::new("https://calculator.example.com/mcp").bearer(token);
        let client = Client::connect(target).await?;
        client.close().await
    }
}

mod block_5 {
    use compere::server::http::HttpOptions;
    use compere::{Command, Relay};

    #[expect(dead_code, reason = "there is no such server")]
    async fn carry() -> compere::Result<()> {
        let relay = Relay::new(|client| client.connect(Command::new("some-server")));
        let listener = relay
            .start()?
            .listen_http("127.0.0.1:8080", HttpOptions::new())
            .await?;
        listener.serve_until_signal().await
    }
}
