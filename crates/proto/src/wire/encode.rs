//! Writes messages into a buffer that the caller owns, one line each without its end.
//!
//! A message never contains a line break: raw JSON from elsewhere may be spread over lines, and
//! outside of strings a break is white space, so it is turned into a blank here, at the one
//! place where all messages pass.

use serde::Serialize;

use crate::jsonrpc::{ErrorObject, IdRef, RequestId};
use crate::method::Method;
use crate::revision::UnreadableId;

/// An id as it goes into a message.
pub trait EncodeId {
    /// Appends the JSON text of the id.
    fn encode(&self, buffer: &mut Vec<u8>);
}

impl EncodeId for IdRef<'_> {
    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.as_json().as_bytes());
    }
}

impl EncodeId for RequestId {
    fn encode(&self, buffer: &mut Vec<u8>) {
        append(buffer, self);
    }
}

impl EncodeId for i64 {
    fn encode(&self, buffer: &mut Vec<u8>) {
        append(buffer, self);
    }
}

/// A success response. When `result` cannot be serialised, an internal error stands in its place
/// and the cause comes back.
pub fn result(
    buffer: &mut Vec<u8>,
    id: &impl EncodeId,
    result: &impl Serialize,
) -> Result<(), serde_json::Error> {
    let start = buffer.len();
    buffer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    id.encode(buffer);
    buffer.extend_from_slice(b",\"result\":");
    if let Err(error) = serde_json::to_writer(&mut *buffer, result) {
        buffer.truncate(start);
        self::error(buffer, id, &ErrorObject::internal());
        return Err(error);
    }
    buffer.push(b'}');
    keep_on_one_line(buffer, start);
    Ok(())
}

/// A success response whose result is written by the caller, as JSON text. When that fails, an internal
/// error stands in its place and the cause comes back.
pub fn written_result<E>(
    buffer: &mut Vec<u8>,
    id: &impl EncodeId,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = buffer.len();
    buffer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    id.encode(buffer);
    buffer.extend_from_slice(b",\"result\":");
    if let Err(cause) = write(buffer) {
        buffer.truncate(start);
        error(buffer, id, &ErrorObject::internal());
        return Err(cause);
    }
    buffer.push(b'}');
    keep_on_one_line(buffer, start);
    Ok(())
}

/// A success response whose result is already JSON text.
pub fn raw_result(buffer: &mut Vec<u8>, id: &impl EncodeId, result: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    id.encode(buffer);
    buffer.extend_from_slice(b",\"result\":");
    buffer.extend_from_slice(result);
    buffer.push(b'}');
    keep_on_one_line(buffer, start);
}

/// An error response.
pub fn error(buffer: &mut Vec<u8>, id: &impl EncodeId, error: &ErrorObject) {
    let start = buffer.len();
    buffer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    id.encode(buffer);
    buffer.extend_from_slice(b",\"error\":");
    append(buffer, error);
    buffer.push(b'}');
    keep_on_one_line(buffer, start);
}

/// An error response to something whose id could not be read.
pub fn error_without_id(buffer: &mut Vec<u8>, unreadable: UnreadableId, error: &ErrorObject) {
    let start = buffer.len();
    buffer.extend_from_slice(match unreadable {
        UnreadableId::Null => b"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":".as_slice(),
        UnreadableId::Absent => b"{\"jsonrpc\":\"2.0\",\"error\":",
    });
    append(buffer, error);
    buffer.push(b'}');
    keep_on_one_line(buffer, start);
}

/// A request with an id of our own.
pub fn request(
    buffer: &mut Vec<u8>,
    id: i64,
    method: Method,
    params: Option<&impl Serialize>,
) -> Result<(), serde_json::Error> {
    let start = buffer.len();
    buffer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    append(buffer, &id);
    method_and_params(buffer, start, method, params)
}

/// A request whose params are already JSON text.
pub fn raw_request(buffer: &mut Vec<u8>, id: i64, method: Method, params: &[u8]) {
    named_request(buffer, id, method.name(), params);
}

/// The same with any name that needs no escapes.
pub fn named_request(buffer: &mut Vec<u8>, id: i64, method: &str, params: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    append(buffer, &id);
    buffer.extend_from_slice(b",\"method\":\"");
    buffer.extend_from_slice(method.as_bytes());
    buffer.extend_from_slice(b"\",\"params\":");
    buffer.extend_from_slice(params);
    buffer.push(b'}');
    keep_on_one_line(buffer, start);
}

/// A notification.
pub fn notification(
    buffer: &mut Vec<u8>,
    method: Method,
    params: Option<&impl Serialize>,
) -> Result<(), serde_json::Error> {
    let start = buffer.len();
    buffer.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    method_and_params(buffer, start, method, params)
}

fn method_and_params(
    buffer: &mut Vec<u8>,
    start: usize,
    method: Method,
    params: Option<&impl Serialize>,
) -> Result<(), serde_json::Error> {
    buffer.extend_from_slice(b",\"method\":\"");
    buffer.extend_from_slice(method.name().as_bytes());
    buffer.push(b'"');
    if let Some(params) = params {
        buffer.extend_from_slice(b",\"params\":");
        if let Err(error) = serde_json::to_writer(&mut *buffer, params) {
            buffer.truncate(start);
            return Err(error);
        }
    }
    buffer.push(b'}');
    keep_on_one_line(buffer, start);
    Ok(())
}

/// Serialises a value that always can be.
fn append(buffer: &mut Vec<u8>, value: &impl Serialize) {
    let start = buffer.len();
    if serde_json::to_writer(&mut *buffer, value).is_err() {
        buffer.truncate(start);
        buffer.extend_from_slice(b"null");
    }
}

fn keep_on_one_line(buffer: &mut [u8], start: usize) {
    let Some(message) = buffer.get_mut(start..) else {
        return;
    };
    if memchr::memchr2(b'\n', b'\r', message).is_some() {
        for byte in message {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}
