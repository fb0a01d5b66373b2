//! The examples lie beside this folder: `cargo run --example 01_hello_server`. `guide/` holds the Rust
//! of the guide's pages.
