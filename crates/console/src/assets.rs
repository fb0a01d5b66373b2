//! What pages are drawn and kept up to date with.

use axum::http::header;
use axum::response::IntoResponse;

pub(crate) async fn style() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (kind, include_str!("assets/style.css"))
}

pub(crate) async fn script() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (kind, include_str!("assets/script.js"))
}
