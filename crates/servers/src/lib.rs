//! The built-in servers. They use only the public door of `compere`, as everyone else does.
#![deny(missing_docs)]

pub mod effects;
pub mod everything;
pub mod files;
