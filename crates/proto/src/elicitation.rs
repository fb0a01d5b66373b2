//! `elicitation/create`, from 2025-06-18 on: the server asks the person for something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::{Meta, RawJson, open_object};

open_object! {
    /// Params of `elicitation/create`. Form mode has a schema, URL mode (from 2025-11-25) a URL.
    pub struct ElicitParams {
        required {
            /// What the person reads.
            message: String = "message",
        }
        optional {
            /// `form` or `url` (from 2025-11-25); absent means form.
            mode: String = "mode",
            /// A flat schema of what is asked.
            requested_schema: RawJson = "requestedSchema",
            /// The page to open in URL mode.
            url: String = "url",
            /// Names a URL elicitation (only 2025-11-25).
            elicitation_id: String = "elicitationId",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

impl ElicitParams {
    /// The answers that the form suggests: the default of each field that has one. What a person
    /// sees before they have typed anything.
    pub fn default_answers(&self) -> BTreeMap<String, RawJson> {
        #[derive(Deserialize)]
        struct Form {
            #[serde(default)]
            properties: BTreeMap<String, Field>,
        }
        #[derive(Deserialize)]
        struct Field {
            default: Option<RawJson>,
        }

        let form = self.requested_schema.as_ref();
        let form: Option<Form> = form.and_then(|schema| schema.decode().ok());
        let fields = form.map(|form| form.properties).unwrap_or_default();
        let answers = fields.into_iter();
        answers
            .filter_map(|(name, field)| Some((name, field.default?)))
            .collect()
    }
}

/// What the person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElicitAction {
    /// Answered.
    Accept,
    /// Refused.
    Decline,
    /// Dismissed it without choosing.
    Cancel,
}

open_object! {
    /// Result of `elicitation/create`.
    pub struct ElicitResult {
        required {
            /// What the person did.
            action: ElicitAction = "action",
        }
        optional {
            /// The answers, only with `accept` in form mode.
            content: BTreeMap<String, RawJson> = "content",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
