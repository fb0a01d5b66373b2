//! One file per command.

pub(crate) mod call;
pub(crate) mod info;
pub(crate) mod serve;
pub(crate) mod tools;
