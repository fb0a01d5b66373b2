use compere::prelude::*;

/// Add two numbers.
#[tool]
async fn add(
    /// The first one.
    a: f64,
    b: f64,
) -> f64 {
    a + b
}

#[tokio::test]
async fn adds_in_memory() {
    let server = Server::new("calculator", "1.0.0").tool(add);
    let client = Client::connect(server).await.unwrap();
    let sum: f64 = client.call("add", json!({"a": 1, "b": 2})).await.unwrap().data().unwrap();
    assert_eq!(sum, 3.0);
    let tools = client.tools().collect().await.unwrap();
    assert_eq!(tools[0].name, "add");
    assert_eq!(tools[0].description.as_deref(), Some("Add two numbers."));
    client.close().await.unwrap();
}
