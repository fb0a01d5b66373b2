//! Bytes to messages and back. No I/O: callers bring the bytes.

pub mod batch;
pub mod decode;
pub mod encode;
pub mod header;
pub mod line;
pub mod project;
pub mod scan;
pub mod skim;
pub mod tape;
