//! Bytes to messages and back. No I/O: callers bring the bytes.

pub mod scan;
pub mod tape;
pub mod decode;
pub mod line;
pub mod skim;
pub mod encode;
pub mod project;
