//! `notifications/cancelled`: the types.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/utilities/cancellation>

use crate::jsonrpc::RequestId;
use crate::object::{Meta, open_object};

open_object! {
    /// Params of `notifications/cancelled`.
    pub struct CancelledParams {
        required {
            /// The request, sent earlier in the same direction.
            request_id: RequestId = "requestId",
        }
        optional {
            /// Why, for logs and people.
            reason: String = "reason",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
