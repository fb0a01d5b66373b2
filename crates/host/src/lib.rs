//! The host: takes the servers that a person already has and stands between them and the apps that
//! use them.
//!
//! So far it reads configuration ([`config`]). It reads no environment, no home directory and no file
//! by itself: whoever calls it says what there is.

#![deny(missing_docs)]

pub mod config;
