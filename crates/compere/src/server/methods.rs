//! Requests that are none of the protocol's: what a server answers besides, under names of its own.
//!
//! They come in through the same doors and bounds as all others; only their params and results are the
//! author's. Both sides have to know them: an extension that says so is
//! [`Server::extension`](crate::Server::extension).

use std::any::TypeId;
use std::sync::Arc;

use compere_proto::Method;
use compere_proto::jsonrpc::ErrorObject;
use serde::Serialize;

use crate::driver::call::BoxFuture;
use crate::server::extract::Call;
use crate::server::handler::Handler;
use crate::server::reply::ToolError;

pub(crate) type MethodHandler =
    Arc<dyn Fn(&Call<'_>) -> BoxFuture<Result<Box<str>, ToolError>> + Send + Sync>;

/// A method being registered.
pub(crate) struct ServerMethod {
    pub(crate) name: Box<str>,
    pub(crate) handler: MethodHandler,
    pub(crate) states: Vec<(TypeId, &'static str)>,
}

impl ServerMethod {
    pub(crate) fn new<H, A, T>(name: Box<str>, handler: H) -> Self
    where
        H: Handler<A, Result<T, ToolError>>,
        A: 'static,
        T: Serialize + 'static,
    {
        let handler: MethodHandler = Arc::new(move |call: &Call<'_>| match handler.call(call) {
            Ok(future) => Box::pin(async move { written(&future.await?) }),
            Err(error) => Box::pin(std::future::ready(Err(error.of_params()))),
        });
        Self {
            name,
            handler,
            states: H::required_states(),
        }
    }

    /// Why a name is none.
    pub(crate) fn fault(&self) -> Option<String> {
        let name = &self.name;
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'-' | b'_');
        if name.is_empty() || name.len() > 128 || !name.bytes().all(is_plain) {
            let why = "has letters, digits and . / - _, at most 128";
            return Some(format!(
                "the method {name:?} cannot be named so: a name {why}"
            ));
        }
        let is_ours = Method::from_name(name).is_some();
        if is_ours || name.starts_with("notifications/") || name.starts_with("rpc.") {
            return Some(format!("the method {name:?} is the protocol's"));
        }
        None
    }
}

fn written(result: &impl Serialize) -> Result<Box<str>, ToolError> {
    let text = serde_json::to_string(result).map_err(|error| {
        tracing::error!(%error, "a result cannot be written");
        ToolError::protocol(ErrorObject::internal())
    })?;
    match text.starts_with('{') {
        true => Ok(text.into()),
        false => {
            tracing::error!("a result of a method is no object");
            Err(ToolError::protocol(ErrorObject::internal()))
        }
    }
}
