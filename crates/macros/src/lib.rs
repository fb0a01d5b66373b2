//! `#[tool]`, `#[prompt]` and `#[resource]`: a function becomes a value that a server takes.
//!
//! Sugar over `tool_fn`, `prompt_fn`, `resource_fn` and `template_fn` of `compere`, equal in power
//! and never needed. What they generate names only public items of that crate.

mod function;

use proc_macro::TokenStream;

use crate::function::Kind;

/// Makes a tool of a function.
///
/// The doc comment is the description, the parameters are the arguments and their doc comments
/// describe them. Parameters of type `Context`, `State<T>` and `Uri` are given by the server.
/// `#[serde(…)]` and `#[schemars(…)]` on a parameter apply to its argument; what the schema says is
/// enforced.
///
/// Options: `name = "…"`, `title = "…"`, `description = "…"`, `blocking` (a plain `fn` that runs on
/// the blocking pool), `read_only`, `destructive = bool`, `idempotent`, `open_world = bool` (hints),
/// `single_use` (what comes after a question runs once only for a stateless client),
/// `task = "optional"` or `"required"` (it may, or must, be called as a task; only 2025-11-25).
///
/// `name` then gives the tool, to be registered as it is or refined first
/// (`name().unlimited_rate()`); the function itself stays reachable as `name::call(…)`.
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(Kind::Tool, options.into(), item.into()).into()
}

/// Makes a prompt of a function. The parameters are its arguments, which are texts: `String`,
/// `Option<String>` or a type that decodes from a string.
///
/// Options: `name = "…"`, `title = "…"`, `description = "…"`.
#[proc_macro_attribute]
pub fn prompt(options: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(Kind::Prompt, options.into(), item.into()).into()
}

/// Makes a resource of a function, or a family of them if the URI is a template; the parameters are
/// then its variables.
///
/// `#[resource("file:///notes/{name}", mime_type = "text/plain")]`. Further options: `name = "…"`,
/// `title = "…"`, `description = "…"`, `subscribable`.
#[proc_macro_attribute]
pub fn resource(options: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(Kind::Resource, options.into(), item.into()).into()
}
