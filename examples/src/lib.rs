//! The examples lie beside this folder: `cargo run --example 01_hello_server`.
