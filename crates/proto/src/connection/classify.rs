//! The door: to which era a message belongs, and whether what came with it says the same.
//!
//! A pure function over one scanned message and, for HTTP, the headers of the request that brought it.
//! Servers ask it once for each message; whoever routes messages to several servers asks the same
//! function, so that the two cannot disagree.
//!
//! The body has the word: a request that carries a version in its `_meta` is of the stateless era, and
//! its headers are held against it. It never falls back to the other era because something of it is
//! malformed.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

use std::borrow::Cow;

use crate::connection::stateless::{Envelope, PROTOCOL_VERSION, missing, unsupported};
use crate::jsonrpc::{ErrorObject, code};
use crate::method::{Kind, Method, Role};
use crate::revision::{Era, Revision};
use crate::wire::header;
use crate::wire::scan::{Message, Params};

/// The headers of an HTTP request that say something about its body. A value that is not visible ASCII
/// is given as it is; it then agrees with nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'h> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<&'h str>,
    /// `Mcp-Method`.
    pub method: Option<&'h str>,
    /// `Mcp-Name`.
    pub name: Option<&'h str>,
    /// Is there an `Mcp-Session-Id`?
    pub has_session: bool,
    /// Does one of these stand more than once?
    pub is_ambiguous: bool,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// To a session of the handshake era, or to the opening of one.
    Session,
    /// A request that stands by itself.
    Request(Method, Box<Envelope>),
    /// A notification of the stateless era.
    Notification,
}

/// Why a message goes nowhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// The status of the answer over HTTP.
    pub status: u16,
    /// The error that answers the request.
    pub error: ErrorObject,
}

impl Rejection {
    fn new(error: ErrorObject) -> Self {
        let status = match http_status(error.code) {
            200 => 400,
            status => status,
        };
        Self { status, error }
    }

    fn mismatch(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorObject::new(code::HEADER_MISMATCH, what))
    }
}

/// The status of an answer with this error over HTTP, in the stateless era: an error of a request that was
/// understood is an answer like any other.
pub const fn http_status(error: i64) -> u16 {
    match error {
        code::METHOD_NOT_FOUND => 404,
        code::PARSE_ERROR
        | code::INVALID_REQUEST
        | code::HEADER_MISMATCH
        | code::MISSING_CLIENT_CAPABILITY
        | code::UNSUPPORTED_VERSION => 400,
        _ => 200,
    }
}

/// Says where a message goes. `headers` are those of the HTTP request that brought it, none on other
/// transports; `served` are the revisions that are spoken, of both eras.
pub fn classify(
    message: &Message<'_>,
    headers: Option<&Headers<'_>>,
    served: &[Revision],
) -> Result<Route, Rejection> {
    classify_with(message, headers, served, &|_| false)
}

/// The same where requests are answered that are none of the protocol's: `added` says of which names. They are
/// [`Method::Extension`].
pub fn classify_with(
    message: &Message<'_>,
    headers: Option<&Headers<'_>>,
    served: &[Revision],
    added: &dyn Fn(&str) -> bool,
) -> Result<Route, Rejection> {
    match message {
        Message::Request { method, params, .. } => {
            request(&method.text(), params, headers, served, added)
        }
        Message::Notification { method, .. } => notification(&method.text(), headers, served),
        Message::Result { .. } | Message::Error { .. } => Ok(Route::Session),
    }
}

fn speaks(served: &[Revision], era: Era) -> bool {
    served.iter().any(|revision| revision.era() == era)
}

fn notification(
    name: &str,
    headers: Option<&Headers<'_>>,
    served: &[Revision],
) -> Result<Route, Rejection> {
    let of_sessions =
        Method::from_name(name).is_some_and(|method| method.row().last.era() == Era::Handshake);
    let Some(headers) = headers else {
        return Ok(Route::Session);
    };
    match headers.protocol_version.map(str::parse::<Revision>) {
        Some(Ok(revision))
            if revision.era() == Era::Stateless
                && served.contains(&revision)
                && !of_sessions
                && !headers.has_session =>
        {
            let said = headers.method.map(|said| said.trim_matches([' ', '\t']));
            if headers.is_ambiguous || said.is_some_and(|said| said != name) {
                return Err(Rejection::mismatch("Mcp-Method differs from the method"));
            }
            Ok(Route::Notification)
        }
        _ => Ok(Route::Session),
    }
}

/// The same for a request that was taken apart already.
pub(crate) fn request(
    name: &str,
    params: &Params<'_>,
    headers: Option<&Headers<'_>>,
    served: &[Revision],
    added: &dyn Fn(&str) -> bool,
) -> Result<Route, Rejection> {
    if !speaks(served, Era::Stateless) {
        return Ok(Route::Session);
    }
    let meta = params.node("_meta");
    // What is no text is no version, and claims nothing.
    let claim = meta.and_then(|meta| meta.get(PROTOCOL_VERSION)?.as_str());
    let method = Method::from_name(name).or_else(|| added(name).then_some(Method::Extension));
    let Some(version) = claim else {
        return without_claim(method, params, headers, served);
    };
    if let Some(headers) = headers {
        if headers.is_ambiguous {
            return Err(Rejection::mismatch(
                "A header stands twice that may stand once",
            ));
        }
        let said = headers
            .protocol_version
            .map(|said| said.trim_matches([' ', '\t']));
        if said != Some(&*version) {
            return Err(Rejection::mismatch(match said {
                None => "MCP-Protocol-Version is missing",
                Some(_) => "MCP-Protocol-Version differs from the version in _meta",
            }));
        }
    }
    let revision = Envelope::revision(&version, served).map_err(Rejection::new)?;
    if let Some(headers) = headers
        && headers.method.map(|said| said.trim_matches([' ', '\t'])) != Some(name)
    {
        return Err(Rejection::mismatch(match headers.method {
            None => "Mcp-Method is missing",
            Some(_) => "Mcp-Method differs from the method",
        }));
    }
    let known = method.filter(|method| {
        method.row().kind == Kind::Request
            && method.goes_to(Role::Server)
            && method.exists_in(revision)
    });
    let method = known.ok_or_else(|| Rejection::new(ErrorObject::method_not_found(name)))?;
    let envelope = Envelope::of(meta, Some(revision), served).map_err(Rejection::new)?;
    if let Some(headers) = headers {
        check_name(method, headers.name, params)?;
    }
    Ok(Route::Request(method, Box::new(envelope)))
}

/// The member of the params that `Mcp-Name` repeats.
pub const fn named_by(method: Method) -> Option<&'static str> {
    match method {
        Method::ToolsCall | Method::PromptsGet => Some("name"),
        Method::ResourcesRead => Some("uri"),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Some("taskId"),
        _ => None,
    }
}

fn check_name(method: Method, header: Option<&str>, params: &Params<'_>) -> Result<(), Rejection> {
    let Some(member) = named_by(method) else {
        return Ok(());
    };
    let said = match header.map(header::decode) {
        None => None,
        Some(Ok(said)) => Some(said),
        Some(Err(why)) => return Err(Rejection::mismatch(format!("Mcp-Name: {why}"))),
    };
    let meant = params.get_str(member);
    if said == meant {
        // Without either, it is the request that is incomplete.
        return Ok(());
    }
    Err(Rejection::mismatch(match said {
        None => Cow::Borrowed("Mcp-Name is missing"),
        Some(_) => format!("Mcp-Name differs from {member}").into(),
    }))
}

/// A request that carries no version.
fn without_claim(
    method: Option<Method>,
    params: &Params<'_>,
    headers: Option<&Headers<'_>>,
    served: &[Revision],
) -> Result<Route, Rejection> {
    let has_sessions = speaks(served, Era::Handshake);
    if method == Some(Method::Initialize) {
        if has_sessions {
            return Ok(Route::Session);
        }
        let asked = params.get_str("protocolVersion").unwrap_or_default();
        return Err(Rejection::new(unsupported(&asked, served)));
    }
    if headers.is_some_and(|headers| headers.has_session) && has_sessions {
        return Ok(Route::Session);
    }
    let header = headers.and_then(|headers| headers.protocol_version);
    let header_claims = header
        .and_then(|version| version.parse::<Revision>().ok())
        .is_some_and(|revision| revision.era() == Era::Stateless);
    let only_there = method.is_some_and(|method| method.row().first.era() == Era::Stateless);
    if header_claims || only_there || !has_sessions {
        let member = match params.node("_meta") {
            Some(_) => PROTOCOL_VERSION,
            None => "_meta",
        };
        return Err(Rejection::new(missing(member)));
    }
    Ok(Route::Session)
}
