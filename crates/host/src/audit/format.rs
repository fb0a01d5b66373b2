//! How a log lies on the disk. The writer and the verifier share this text and nothing else.
//!
//! - The folder holds segments `00000001.log`, `00000002.log`, … without a gap, and `head`.
//! - A segment is a sequence of frames: the length of the payload as four bytes, little-endian; the
//!   payload; the hash, 32 bytes.
//! - The hash of a frame is SHA-256 over the hash before it, the four bytes of the length, and the
//!   payload. Before the first frame of the first segment stands the SHA-256 of
//!   `compere audit log 1`; before the first frame of any other segment stands the last hash of the
//!   segment before it.
//! - The first payload of a segment is its opening, `{"segment":N,"version":1,"records":R,"after":"…"}`:
//!   how many records stand before it, and the hash before it in hex. Every other payload is a record,
//!   one JSON object, whose `number` counts from 1 through all segments.
//! - `head` holds the number of the last record in twenty digits and its hash in hex, separated by a
//!   space, and a line end. It may be behind the log, never ahead of it.

/// What the first hash is made of.
pub const BEGINNING: &[u8] = b"compere audit log 1";
/// The version of this format.
pub const VERSION: u64 = 1;
/// Bytes of a length.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// The longest payload.
pub const PAYLOAD_BYTES: usize = 1024 * 1024;
/// The name of the file with the last number and hash.
pub const HEAD: &str = "head";

/// The name of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{number:08}.log")
}
