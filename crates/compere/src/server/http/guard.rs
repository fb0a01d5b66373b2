//! What every request passes before anything of it is used: where it is addressed to, and from
//! which page it comes. On by default, in front of every route.
//!
//! A page in a browser can reach a server on this machine by a name that it controls; then `Host`
//! carries that name, and `Origin` the page. Both are checked against lists that hold the loopback
//! names only, unless someone adds others.

use std::net::IpAddr;

use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::revision::UnreadableId;
use compere_proto::wire::encode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::server::http::body::Body;

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");

/// The allow-lists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    /// Names, with or without a port.
    pub(crate) hosts: Vec<String>,
    pub(crate) any_host: bool,
    /// Scheme, name and port, as browsers write them.
    pub(crate) origins: Vec<String>,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) why: &'static str,
}

impl Refused {
    pub(crate) const fn new(status: StatusCode, why: &'static str) -> Self {
        Self { status, why }
    }

    /// The answer: an error of the protocol without an id, for programs and people alike.
    pub(crate) fn into_response(self) -> Response<Body> {
        let error = ErrorObject::new(code::INVALID_REQUEST, self.why);
        let mut message = Vec::new();
        encode::error_without_id(&mut message, UnreadableId::Absent, &error);
        let mut response = json(message);
        *response.status_mut() = self.status;
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(header::ALLOW, ALLOWED_METHODS);
        }
        response
    }
}

/// A JSON body.
pub(crate) fn json(message: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::whole(message));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

impl Guard {
    /// Checks where a request is addressed to and where it comes from. Gives the origin, if there
    /// is one, for the answer to name.
    pub(crate) fn admit<'h>(
        &self,
        headers: &'h HeaderMap,
        authority: Option<&str>,
    ) -> Result<Option<&'h HeaderValue>, Refused> {
        let host = match (single(headers, &header::HOST)?, authority) {
            (Some(host), _) => host.to_str().map_err(|_| FOREIGN_HOST)?,
            (None, Some(authority)) => authority,
            (None, None) => return Err(Refused::new(StatusCode::BAD_REQUEST, "Host is missing")),
        };
        if !self.any_host && !self.is_own_host(host) {
            return Err(FOREIGN_HOST);
        }
        let Some(origin) = single(headers, &header::ORIGIN)? else {
            return Ok(None);
        };
        let allowed = origin.to_str().is_ok_and(|text| self.is_own_origin(text));
        if allowed {
            Ok(Some(origin))
        } else {
            Err(Refused::new(
                StatusCode::FORBIDDEN,
                "Pages of this origin may not use this server",
            ))
        }
    }

    fn is_own_host(&self, host: &str) -> bool {
        let name = without_port(host);
        is_loopback(name)
            || self
                .hosts
                .iter()
                .any(|own| own.eq_ignore_ascii_case(host) || own.eq_ignore_ascii_case(name))
    }

    fn is_own_origin(&self, origin: &str) -> bool {
        let of_loopback = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|rest| is_loopback(without_port(rest)));
        of_loopback
            || self
                .origins
                .iter()
                .any(|own| own.eq_ignore_ascii_case(origin))
    }

    /// The answer to a browser that asks whether a page may send a request.
    pub(crate) fn preflight(headers: &HeaderMap) -> Option<Response<Body>> {
        headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let mut response = empty(StatusCode::NO_CONTENT);
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        answer.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "accept, authorization, content-type, last-event-id, mcp-protocol-version, mcp-session-id",
            ),
        );
        answer.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("600"),
        );
        Some(response)
    }

    /// Lets a page of an allowed origin read the answer.
    pub(crate) fn allow(response: &mut Response<Body>, origin: HeaderValue) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("mcp-session-id, www-authenticate"),
        );
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

const FOREIGN_HOST: Refused = Refused::new(
    StatusCode::FORBIDDEN,
    "This server is not reached by this name; the one who runs it can allow the host",
);

/// A header that may stand once.
pub(crate) fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "A header stands twice that may stand once",
        )),
    }
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// May this method be used at all?
pub(crate) fn is_known_method(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::POST | Method::DELETE | Method::OPTIONS
    )
}

/// The body must say that it is JSON: no page can send that elsewhere without being asked first.
pub(crate) fn is_json(headers: &HeaderMap) -> Result<(), Refused> {
    let given = single(headers, &header::CONTENT_TYPE)?;
    if given.is_some_and(|value| value == "application/json") {
        return Ok(());
    }
    let given = given.and_then(|value| value.to_str().ok());
    let essence = given.map(|value| value.split(';').next().unwrap_or_default().trim());
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Refused::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body must be application/json",
    ))
}

/// Does the client take all of these? One that does not say takes anything.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &[&str]) -> Result<(), Refused> {
    // What official clients send.
    let usual = |value: &HeaderValue| value == "application/json, text/event-stream";
    if headers.get(header::ACCEPT).is_some_and(usual) {
        return Ok(());
    }
    let mut given = headers.get_all(header::ACCEPT).iter().peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let ranges: Vec<&str> = given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .collect();
    let covers = |range: &&str, wanted: &str| {
        range.eq_ignore_ascii_case(wanted)
            || *range == "*/*"
            || range.strip_suffix("/*").is_some_and(|kind| {
                wanted
                    .split_once('/')
                    .is_some_and(|(wanted, _)| wanted.eq_ignore_ascii_case(kind))
            })
    };
    let all = wanted
        .iter()
        .all(|wanted| ranges.iter().any(|range| covers(range, wanted)));
    if all {
        Ok(())
    } else {
        Err(Refused::new(
            StatusCode::NOT_ACCEPTABLE,
            "Accept must list application/json and text/event-stream for POST, text/event-stream for GET",
        ))
    }
}
