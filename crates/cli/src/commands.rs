//! One file per command.

pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod bridge;
pub(crate) mod call;
pub(crate) mod complete;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod console;
pub(crate) mod doctor;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod install;
pub(crate) mod ping;
pub(crate) mod policy;
pub(crate) mod prompts;
pub(crate) mod read;
pub(crate) mod replay;
pub(crate) mod resources;
pub(crate) mod roots;
pub(crate) mod sandbox;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod subscribe;
pub(crate) mod tools;
pub(crate) mod up;
