//! The host: takes the servers that a person already has and stands between them and the apps that
//! use them.
//!
//! So far it reads configuration ([`config`]), knows what was approved ([`pins`]),
//! decides by rules ([`policy`]) and keeps an audit log
//! ([`audit`]). It reads no
//! environment and no home directory: whoever calls it says what there is.

#![deny(missing_docs)]

pub mod audit;
pub mod config;
pub mod consent;
pub mod door;
pub mod files;
pub mod hex;
pub mod host;
pub mod naming;
pub mod pins;
pub mod policy;
pub mod sampling;
pub mod sandbox;
pub mod secrets;
pub mod servers;
mod session;
pub mod state;
