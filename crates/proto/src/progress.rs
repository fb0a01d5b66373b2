//! `notifications/progress`: the types.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/utilities/progress>

use crate::jsonrpc::ProgressToken;
use crate::object::{Meta, open_object};

open_object! {
    /// Params of `notifications/progress`.
    pub struct ProgressParams {
        required {
            /// The token that the request carried.
            progress_token: ProgressToken = "progressToken",
            /// How far the work is; grows with every notification.
            progress: f64 = "progress",
        }
        optional {
            /// Where it ends, if known.
            total: f64 = "total",
            /// What is being done (from 2025-03-26).
            message: String = "message",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
