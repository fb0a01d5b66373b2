//! Who a client acts for, shown by a bearer token.
//!
//! The check is a function from token to principal. It is the place where OAuth will stand; until
//! then the tokens are the caller's to make, to keep and to compare in constant time.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::server::http::body::Body;
use crate::server::http::guard::{Refused, single};

/// Who a client acts for. Put into the extensions of a request by [`BearerLayer`], or by a layer
/// of your own; handlers see it as
/// [`Session::principal`](crate::server::session::Session::principal).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(pub(crate) Arc<str>);

impl Principal {
    /// A principal of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Who holds this token, if anyone does.
pub(crate) type Check = Arc<dyn Fn(&str) -> Option<Principal> + Send + Sync>;

/// The principal that the headers show.
pub(crate) fn principal(headers: &HeaderMap, check: &Check) -> Result<Principal, Refused> {
    let token = single(headers, &header::AUTHORIZATION)?
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    token.and_then(|token| check(token)).ok_or(UNKNOWN)
}

const UNKNOWN: Refused = Refused::new(
    StatusCode::UNAUTHORIZED,
    "A bearer token that this server knows is needed",
);

/// The answer to a client that did not show who it is.
pub(crate) fn challenge(refused: Refused) -> Response<Body> {
    let mut response = refused.into_response();
    if refused.status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A layer that lets in only requests with a known bearer token, and says whose it is.
#[derive(Clone)]
pub struct BearerLayer {
    check: Check,
}

impl BearerLayer {
    /// Checks with this function, which says who holds a token. Compare in constant time.
    pub fn new(check: impl Fn(&str) -> Option<Principal> + Send + Sync + 'static) -> Self {
        Self {
            check: Arc::new(check),
        }
    }
}

impl fmt::Debug for BearerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerLayer")
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer {
            inner,
            check: self.check.clone(),
        }
    }
}

/// What [`BearerLayer`] makes.
#[derive(Clone)]
pub struct Bearer<S> {
    inner: S,
    check: Check,
}

impl<S: fmt::Debug> fmt::Debug for Bearer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for Bearer<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match principal(request.headers(), &self.check) {
            Ok(principal) => {
                request.extensions_mut().insert(principal);
                Either::Left(self.inner.call(request))
            }
            Err(refused) => Either::Right(ready(Ok(challenge(refused)))),
        }
    }
}
