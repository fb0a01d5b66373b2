//! `elicitation/create`, from 2025-06-18 on: the server asks the person for something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::jsonrpc::{ErrorObject, code};
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

/// A page that a person is to go to (only 2025-11-25): for what must not pass through the client, such
/// as signing in somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrlElicitation {
    /// Why, for the person to read.
    pub message: String,
    /// The page. Untrusted: show all of it and open it only when the person agreed.
    pub url: String,
    /// Its name at the server; opaque.
    pub elicitation_id: String,
}

impl UrlElicitation {
    /// A page to go to.
    pub fn new(
        message: impl Into<String>,
        url: impl Into<String>,
        elicitation_id: impl Into<String>,
    ) -> Self {
        Self {
            message: message.into(),
            url: url.into(),
            elicitation_id: elicitation_id.into(),
        }
    }

    /// As the params of `elicitation/create`.
    pub fn params(&self) -> ElicitParams {
        ElicitParams::new(self.message.as_str())
            .mode("url")
            .url(self.url.as_str())
            .elicitation_id(self.elicitation_id.as_str())
    }

    /// Read from params, if they are of that mode and whole.
    pub fn of(params: &ElicitParams) -> Option<Self> {
        (params.mode.as_deref() == Some("url")).then_some(())?;
        let (url, id) = (params.url.clone()?, params.elicitation_id.clone()?);
        Some(Self::new(params.message.as_str(), url, id))
    }

    /// What a request needs before it can be done, if that is what a server refused it for.
    pub fn required(error: &ErrorObject) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Data {
            elicitations: Vec<ElicitParams>,
        }

        if error.code != code::URL_ELICITATION_REQUIRED {
            return Vec::new();
        }
        let data = error.data.as_ref().map_or("null", |data| data.get());
        let data = serde_json::from_str::<Data>(data);
        let asked = data.map(|data| data.elicitations).unwrap_or_default();
        asked.iter().filter_map(Self::of).collect()
    }
}

open_object! {
    /// Params of `notifications/elicitation/complete`.
    pub struct ElicitationCompleteParams {
        required {
            /// Which one is done.
            elicitation_id: String = "elicitationId",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
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
