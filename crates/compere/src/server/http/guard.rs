//! What every request passes before anything of it is used: where it is addressed to, and from
//! which page it comes. On by default, in front of every route.
//!
//! A page in a browser can reach a server on this machine by a name that it controls; then `Host`
//! carries that name, and `Origin` the page. Both are checked against lists that hold the loopback
//! names only, unless someone adds others.

use std::net::IpAddr;

use compere_proto::connection::classify::Headers;
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

/// The headers that every request is judged by, found in one pass: to look each of them up would cost more
/// than all the rest of the judgement.
#[derive(Debug, Default)]
pub(crate) struct Seen<'h> {
    bytes: usize,
    host: Option<&'h HeaderValue>,
    origin: Option<&'h HeaderValue>,
    content_type: Option<&'h HeaderValue>,
    content_length: Option<&'h HeaderValue>,
    accept: Option<&'h HeaderValue>,
    /// One of these stands twice that may stand once.
    is_doubled: bool,
    accepts_more: bool,
    is_encoded: bool,
    has_transfer_encoding: bool,
    /// What belongs to the protocol.
    pub(crate) of_protocol: Headers<'h>,
}

impl<'h> Seen<'h> {
    pub(crate) fn new(headers: &'h HeaderMap) -> Self {
        let mut seen = Self::default();
        let of_protocol = &mut seen.of_protocol;
        for (name, value) in headers {
            let name = name.as_str();
            seen.bytes += name.len() + value.len();
            let place = match name {
                "host" => &mut seen.host,
                "origin" => &mut seen.origin,
                "content-type" => &mut seen.content_type,
                "content-length" => &mut seen.content_length,
                "accept" => {
                    seen.accepts_more |= seen.accept.is_some();
                    seen.accept = Some(value);
                    continue;
                }
                "content-encoding" => {
                    seen.is_encoded = true;
                    continue;
                }
                "transfer-encoding" => {
                    seen.has_transfer_encoding = true;
                    continue;
                }
                "mcp-session-id" => {
                    of_protocol.has_session = true;
                    continue;
                }
                name if name.starts_with("mcp-") => {
                    let place = match name {
                        "mcp-protocol-version" => &mut of_protocol.protocol_version,
                        "mcp-method" => &mut of_protocol.method,
                        "mcp-name" => &mut of_protocol.name,
                        _ => continue,
                    };
                    of_protocol.is_ambiguous |= place.is_some();
                    // What is no text agrees with nothing.
                    *place = Some(value.to_str().unwrap_or("\u{0}"));
                    continue;
                }
                _ => continue,
            };
            seen.is_doubled |= place.is_some();
            *place = Some(value);
        }
        seen
    }

    /// The length that the body is said to have.
    pub(crate) fn announced(&self) -> Option<usize> {
        self.content_length?.to_str().ok()?.parse().ok()
    }
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
        seen: &Seen<'h>,
        authority: Option<&str>,
    ) -> Result<Option<&'h HeaderValue>, Refused> {
        if seen.is_doubled {
            return Err(DOUBLED);
        }
        let host = seen.host;
        if host.is_none() && authority.is_none() {
            return Err(Refused::new(StatusCode::BAD_REQUEST, "Host is missing"));
        }
        // A request may name both; then both are where it goes.
        let host = host.map(HeaderValue::to_str).transpose();
        let host = host.map_err(|_| FOREIGN_HOST)?;
        let mut named = host.into_iter().chain(authority);
        if !self.any_host && !named.all(|name| self.is_own_host(name)) {
            return Err(FOREIGN_HOST);
        }
        let Some(origin) = seen.origin else {
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
        let Some(name) = without_port(host) else {
            return false;
        };
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
            .and_then(without_port)
            .is_some_and(is_loopback);
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
            allowed_headers(headers),
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

/// The headers that a page may send: those of the protocol, and the parameters that it asks for.
fn allowed_headers(headers: &HeaderMap) -> HeaderValue {
    const ALWAYS: &str = "accept, authorization, content-type, last-event-id, mcp-method, mcp-name, \
        mcp-protocol-version, mcp-session-id";
    let asked = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let parameters = asked
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| name.starts_with("mcp-param-"));
    let all = parameters.fold(ALWAYS.to_owned(), |all, name| format!("{all}, {name}"));
    HeaderValue::from_str(&all).unwrap_or(HeaderValue::from_static(ALWAYS))
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
        _ => Err(DOUBLED),
    }
}

const DOUBLED: Refused = Refused::new(
    StatusCode::BAD_REQUEST,
    "A header stands twice that may stand once",
);

/// The name without its port; `None` if what stands there is no port.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (
                address,
                rest.strip_prefix(':')
                    .or_else(|| rest.is_empty().then_some("0"))?,
            )
        }
        None => host.split_once(':').unwrap_or((host, "0")),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some(name)
}

fn is_loopback(name: &str) -> bool {
    // What most write, before all that it could be.
    name == "127.0.0.1"
        || name.eq_ignore_ascii_case("localhost")
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
pub(crate) fn is_json(seen: &Seen<'_>) -> Result<(), Refused> {
    if seen.is_encoded {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body must not be compressed",
        ));
    }
    let given = seen.content_type;
    if given.is_some_and(|value| value == "application/json") {
        return Ok(());
    }
    let given = given
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    // There is one encoding; a parameter may say so, and say nothing else.
    let in_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if essence.eq_ignore_ascii_case("application/json") && in_utf8 {
        return Ok(());
    }
    Err(Refused::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body must be application/json",
    ))
}

/// Does a range say that the client does not take it?
fn is_refused(range: &str) -> bool {
    let weights = range.split(';').skip(1).filter_map(|parameter| {
        let weight = parameter.trim().strip_prefix("q=")?;
        weight.trim().parse::<f32>().ok()
    });
    weights.into_iter().any(|weight| weight <= 0.0)
}

/// The head of a request within its bound.
pub(crate) fn head_fits(seen: &Seen<'_>, limit: usize) -> Result<(), Refused> {
    if seen.bytes > limit {
        return Err(Refused::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The headers are too large",
        ));
    }
    // What follows such a request on its connection is anyone's guess.
    if seen.has_transfer_encoding && seen.content_length.is_some() {
        return Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "The body has two lengths",
        ));
    }
    Ok(())
}

/// Does the client take all of these? One that does not say takes anything.
pub(crate) fn accepts(
    headers: &HeaderMap,
    seen: &Seen<'_>,
    wanted: &[&str],
) -> Result<(), Refused> {
    // What official clients send.
    let usual = |value: &HeaderValue| value == "application/json, text/event-stream";
    if seen.accept.is_none_or(usual) && !seen.accepts_more {
        return Ok(());
    }
    let given = headers.get_all(header::ACCEPT).iter();
    let ranges: Vec<&str> = given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|range| !is_refused(range))
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
