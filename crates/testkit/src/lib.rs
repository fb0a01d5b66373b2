//! What the tests of Compere share. Not published.

pub mod fixture;
pub mod schema;
pub mod script;
pub mod stores;
pub mod tasks;
pub mod transcript;
pub mod used_states;
