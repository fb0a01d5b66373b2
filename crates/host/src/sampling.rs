//! Sampling: what servers may ask models through the host. Off for every server until a person turns it
//! on in their file; bounded by a budget for each day; seen by a person before a model sees it, and again
//! before the server does.
//!
//! Here is what needs neither app nor server. The way of one request is in `session/sampling.rs`.

pub mod budget;
pub mod models;
#[cfg(feature = "models")]
pub(crate) mod provider;
pub mod request;

pub use budget::{Budget, Budgets, Over, Spent};
pub use models::{Model, Provider, suited};
