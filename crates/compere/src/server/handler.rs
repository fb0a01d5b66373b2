//! Functions as handlers: any `async fn` or closure whose arguments are [`FromCall`].

use std::any::TypeId;
use std::future::Future;

use schemars::Schema;

use crate::server::extract::{Call, FromCall};
use crate::server::reply::ToolError;

/// An async function of up to five [`FromCall`] arguments. `Arguments` only tells apart functions
/// of different arity; write functions, never name it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    note = "a handler is an async function or closure, `Clone + Send + Sync + 'static`, of `Args<T>`, `Context`, `State<T>`, `Uri` in any order"
)]
pub trait Handler<Arguments, Output>: Clone + Send + Sync + 'static {
    /// What calling it gives.
    type Future: Future<Output = Output> + Send + 'static;

    /// Takes the arguments from the call and calls the function.
    fn call(&self, call: &Call<'_>) -> Result<Self::Future, ToolError>;

    /// The schema of its arguments, if it takes any.
    fn input_schema() -> Option<Schema>;

    /// The shared state that it needs.
    fn required_states() -> Vec<(TypeId, &'static str)>;
}

macro_rules! handlers {
    ($($argument:ident),*) => {
        impl<F, Fut, Output, $($argument),*> Handler<($($argument,)*), Output> for F
        where
            F: Fn($($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Output> + Send + 'static,
            $($argument: FromCall,)*
        {
            type Future = Fut;

            #[allow(unused_variables)]
            fn call(&self, call: &Call<'_>) -> Result<Fut, ToolError> {
                Ok(self($($argument::from_call(call)?),*))
            }

            fn input_schema() -> Option<Schema> {
                None$(.or_else($argument::input_schema))*
            }

            fn required_states() -> Vec<(TypeId, &'static str)> {
                let needed: Vec<Option<_>> = vec![$($argument::required_state()),*];
                needed.into_iter().flatten().collect()
            }
        }
    };
}

handlers!();
handlers!(A1);
handlers!(A1, A2);
handlers!(A1, A2, A3);
handlers!(A1, A2, A3, A4);
handlers!(A1, A2, A3, A4, A5);
