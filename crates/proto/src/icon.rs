//! Icons, from 2025-11-25 on. Untrusted: nothing here fetches or draws them.

use crate::object::open_object;

open_object! {
    /// One icon of a server, tool, prompt or resource.
    pub struct Icon {
        required {
            /// An https or data URI.
            src: String = "src",
        }
        optional {
            /// Its media type.
            mime_type: String = "mimeType",
            /// Sizes such as `48x48`, or `any`.
            sizes: Vec<String> = "sizes",
            /// `light` or `dark`.
            theme: String = "theme",
        }
    }
}
