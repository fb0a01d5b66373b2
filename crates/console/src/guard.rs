//! What every request must be, and what goes with every answer: so that no other site can read the page,
//! act through it or show it within itself.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Where a browser says that a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not none at all: forms would come without their origin.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Refuses what does not come from the person's own browser looking at this page.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let is_entry = request.uri().path() == "/" || request.uri().path().starts_with("/enter/");
    let mut response = match refused(request.method(), request.headers(), is_entry) {
        Some((status, why)) => (status, why).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn refused(
    method: &Method,
    headers: &HeaderMap,
    is_entry: bool,
) -> Option<(StatusCode, &'static str)> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    // A name of another site may have been led to this machine.
    let host = text(header::HOST).filter(|host| is_local_name(host));
    let Some(host) = host else {
        return Some((
            StatusCode::MISDIRECTED_REQUEST,
            "This is the page of a host on this machine, and goes by no other name.\n",
        ));
    };
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    let own = format!("http://{host}");
    let origin = text(header::ORIGIN);
    let is_own = match origin {
        Some(origin) => origin == own,
        None => is_reading,
    };
    let site = text(FETCH_SITE);
    let is_from_here = matches!(site, None | Some("same-origin" | "none"));
    // A link may stand anywhere, and leads in once.
    let may = is_own && (is_from_here || is_entry && is_reading);
    (!may).then_some((
        StatusCode::FORBIDDEN,
        "Another site has asked for this, and is not heard here.\n",
    ))
}

/// Is this a name of this machine, with or without a port? Somebody may have led another port here.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name == "localhost"
        || address
            .unwrap_or(name)
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
