//! A prompt of a server: its definition, its handler, and its rules.

use std::any::TypeId;
use std::sync::Arc;

use compere_proto::icon::Icon;
use compere_proto::prompts::{GetPromptResult, Prompt, PromptArgument};
use schemars::Schema;
use serde_json::Value;

use crate::driver::call::BoxFuture;
use crate::server::extract::Call;
use crate::server::handler::Handler;
use crate::server::reply::{IntoPromptResult, ToolError};
use crate::server::session::Session;
use crate::server::tools::Visible;

pub(crate) type PromptHandler =
    Arc<dyn Fn(&Call<'_>) -> BoxFuture<Result<GetPromptResult, ToolError>> + Send + Sync>;

/// A prompt of a server. Made by [`prompt_fn`] or by `#[prompt]`, given to
/// [`Server::prompt`](crate::Server::prompt).
#[derive(Clone)]
pub struct ServerPrompt {
    pub(crate) definition: Prompt,
    pub(crate) handler: PromptHandler,
    pub(crate) visible: Option<Visible>,
    pub(crate) states: Vec<(TypeId, &'static str)>,
}

/// A prompt made of a function. Its arguments are the members of its [`Args`](crate::Args), which
/// are texts (`String`, `Option<String>`, or types that decode from a string).
pub fn prompt_fn<H, A, O>(name: impl Into<String>, handler: H) -> ServerPrompt
where
    H: Handler<A, O>,
    A: 'static,
    O: IntoPromptResult + 'static,
{
    let mut definition = Prompt::new(name);
    definition.arguments = H::input_schema().map(|schema| arguments_of(&schema));
    ServerPrompt {
        definition,
        handler: Arc::new(move |call: &Call<'_>| match handler.call(call) {
            Ok(future) => Box::pin(async move { future.await.into_prompt_result() }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }),
        visible: None,
        states: H::required_states(),
    }
}

fn arguments_of(schema: &Schema) -> Vec<PromptArgument> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let mut argument = PromptArgument::new(name.as_str());
            argument.description = property
                .get("description")
                .and_then(Value::as_str)
                .map(str::to_owned);
            argument.required = Some(required.contains(&name.as_str()));
            argument
        })
        .collect()
}

impl ServerPrompt {
    /// What the prompt is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.definition.description = Some(description.into());
        self
    }

    /// An icon (shown from 2025-11-25 on); may be called several times.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.definition.icons.get_or_insert_default().push(icon);
        self
    }

    /// A name for people (shown from 2025-06-18 on).
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.definition.title = Some(title.into());
        self
    }

    /// Adds an argument, or replaces the one with the same name. For handlers that take
    /// [`Variables`](crate::Variables) instead of a type of their own.
    #[must_use]
    pub fn argument(mut self, argument: PromptArgument) -> Self {
        let arguments = self.definition.arguments.get_or_insert_default();
        arguments.retain(|known| known.name != argument.name);
        arguments.push(argument);
        self
    }

    /// Shows the prompt only to some clients. For the others it does not exist.
    #[must_use]
    pub fn visible_to(mut self, rule: impl Fn(&Session) -> bool + Send + Sync + 'static) -> Self {
        self.visible = Some(Arc::new(rule));
        self
    }
}

/// Anything that can be registered as a prompt.
pub trait IntoPrompt {
    /// The prompt.
    fn into_prompt(self) -> ServerPrompt;
}

impl IntoPrompt for ServerPrompt {
    fn into_prompt(self) -> ServerPrompt {
        self
    }
}

impl<F: Fn() -> ServerPrompt> IntoPrompt for F {
    fn into_prompt(self) -> ServerPrompt {
        self()
    }
}
