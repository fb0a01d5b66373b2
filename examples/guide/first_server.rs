//! The Rust of `docs/guides/first-server.md`, compiled and run.

mod block_1 {
    use compere::prelude::*;

    /// Add two numbers.
    #[tool]
    async fn add(
        /// One of them.
        a: f64,
        /// The other.
        b: f64,
    ) -> f64 {
        a + b
    }

    fn calculator() -> Server {
        Server::new("calculator", "1.0.0").tool(add)
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let client = Client::connect(calculator()).await?;
        let sum: f64 = client.call("add", json!({"a": 1, "b": 2})).await?.data()?;
        assert_eq!(sum, 3.0);
        let refused = client.call("add", json!({"a": "one"})).await?;
        assert!(refused.failed());
        client.close().await
    }
}

mod block_2 {
    use compere::prelude::*;

    #[derive(Serialize, JsonSchema)]
    struct Weather {
        city: String,
        celsius: f64,
    }

    /// The weather of a city, made up.
    #[tool(read_only)]
    async fn weather(city: String, days: Option<u8>) -> Result<Json<Vec<Weather>>, ToolError> {
        let days = days.unwrap_or(1);
        if days > 7 {
            return Err(ToolError::new("I can look seven days ahead at most."));
        }
        let day = |_| Weather {
            city: city.clone(),
            celsius: 21.5,
        };
        Ok(Json((0..days).map(day).collect()))
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let server = Server::new("weather", "1").tool(weather);
        let client = Client::connect(server).await?;
        let week = client
            .call("weather", json!({"city": "Oslo", "days": 7}))
            .await?;
        assert!(week.joined_text().contains("21.5"));
        let month = client
            .call("weather", json!({"city": "Oslo", "days": 30}))
            .await?;
        assert_eq!(month.joined_text(), "I can look seven days ahead at most.");
        client.close().await
    }
}

mod block_3 {
    use std::sync::{Arc, Mutex};

    use compere::prelude::*;

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    /// Keep a note.
    #[tool]
    async fn note(notes: State<Notes>, text: String) -> String {
        let mut kept = notes.0.0.lock().unwrap();
        kept.push(text);
        format!("Kept as number {}.", kept.len() - 1)
    }

    /// Ask for a summary of all notes.
    #[prompt]
    async fn summarise(notes: State<Notes>) -> String {
        format!("Summarise: {}", notes.0.0.lock().unwrap().join("; "))
    }

    /// One note.
    #[resource("note://{number}", name = "note")]
    async fn one(uri: Uri, notes: State<Notes>, number: usize) -> Result<String, ToolError> {
        let kept = notes.0.0.lock().unwrap();
        kept.get(number)
            .cloned()
            .ok_or_else(|| ToolError::resource_not_found(&uri.0))
    }

    fn notes() -> Server {
        Server::new("notes", "1.0.0")
            .state(Notes::default())
            .tool(note)
            .prompt(summarise)
            .resource(one)
    }

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let client = Client::connect(notes()).await?;
        client.call("note", json!({"text": "buy milk"})).await?;
        let read = client.read("note://0").await?;
        assert_eq!(read.contents[0].as_text(), Some("buy milk"));
        assert!(client.read("note://7").await.is_err());
        client.close().await
    }
}
