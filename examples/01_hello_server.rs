//! A server with one tool, on standard input and output.
//!
//! Try it: `cargo run -- call add a=1 b=2 -- cargo run -q --example 01_hello_server`

use compere::prelude::*;

/// Add two numbers.
#[tool]
async fn add(a: f64, b: f64) -> f64 {
    a + b
}

#[tokio::main]
async fn main() -> compere::Result<()> {
    Server::new("calculator", "1.0.0")
        .tool(add)
        .serve_stdio()
        .await
}
