//! Params of every list request: an opaque cursor.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/server/utilities/pagination>

use crate::object::{Meta, open_object};

open_object! {
    /// Params of the list methods, and of methods without params of their own.
    pub struct ListParams {
        optional {
            /// Where to go on: the `nextCursor` of the page before, unread and unchanged.
            cursor: String = "cursor",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// A result without data, and params without fields.
    pub struct Empty {
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
