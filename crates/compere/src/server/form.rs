//! Forms for a person, made from a Rust struct, and what became of them.
//!
//! The protocol allows flat forms only: texts, numbers, truths and choices. A type that has more is a
//! mistake of the server and is refused before anyone is asked.

use compere_proto::Limits;
use compere_proto::elicitation::{ElicitAction, ElicitResult};
use compere_proto::object::RawJson;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::server::schema;
use crate::validate::Validation;

/// What a person did with a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elicited<T> {
    /// Filled it in.
    Accepted(T),
    /// Said no.
    Declined,
    /// Put it away without choosing.
    Cancelled,
}

impl<T> Elicited<T> {
    /// What was filled in, if anything was.
    pub fn accepted(self) -> Option<T> {
        match self {
            Self::Accepted(value) => Some(value),
            Self::Declined | Self::Cancelled => None,
        }
    }
}

/// Keys that a field of a form may have.
const FIELD_KEYS: [&str; 10] = [
    "type",
    "title",
    "description",
    "minLength",
    "maxLength",
    "format",
    "minimum",
    "maximum",
    "enum",
    "default",
];
/// Formats of texts that forms know.
const FORMATS: [&str; 4] = ["email", "uri", "date", "date-time"];

/// The schema of a form for this type, or why there is none.
pub(crate) fn requested<T: JsonSchema>() -> Result<RawJson, String> {
    let schema = schema::input::<T>();
    let members = schema.as_object().ok_or("the form is no object")?;
    let mut properties = Map::new();
    let fields = members.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        let field = field_of(field).map_err(|why| format!("the field {name:?} {why}"))?;
        properties.insert(name.clone(), field);
    }
    if properties.is_empty() {
        return Err("the form has no fields".to_owned());
    }
    let mut form = Map::new();
    form.insert("type".to_owned(), "object".into());
    form.insert("properties".to_owned(), properties.into());
    if let Some(required) = members.get("required") {
        form.insert("required".to_owned(), required.clone());
    }
    Ok(Value::Object(form).into())
}

fn field_of(schema: &Value) -> Result<Value, &'static str> {
    const NESTED: &str = "is neither text, number, truth nor a choice of texts";
    let members = schema.as_object().ok_or(NESTED)?;
    let mut field: Map<String, Value> = members
        .iter()
        .filter(|(key, _)| FIELD_KEYS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // A field that may be left out is one that is not required, not one that may be null.
    if let Some(kinds) = field.get("type").and_then(Value::as_array) {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        field.insert("type".to_owned(), kind.ok_or(NESTED)?);
    }
    if let Some(values) = field.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    // Variants with comments of their own, optional ones inside of another choice.
    if let Some(choices) = choices(schema) {
        if choices.iter().any(|choice| !choice.is_string()) {
            return Err(NESTED);
        }
        field.insert("type".to_owned(), "string".into());
        field.insert("enum".to_owned(), choices.into());
    }
    if field
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| !FORMATS.contains(&format))
    {
        field.remove("format");
    }
    field.retain(|key, value| key != "default" || !value.is_null());
    match field.get("type").and_then(Value::as_str) {
        Some("string" | "number" | "integer" | "boolean") => Ok(field.into()),
        _ => Err(NESTED),
    }
}

/// What there is to choose from, if it is a choice between schemas.
fn choices(schema: &Value) -> Option<Vec<Value>> {
    let members = schema.as_object()?;
    let between = members.get("oneOf").or(members.get("anyOf"))?.as_array()?;
    let choices = between
        .iter()
        .filter(|choice| choice["type"] != "null")
        .flat_map(|choice| match (choice.get("const"), &choice["enum"]) {
            (Some(value), _) => vec![value.clone()],
            (None, Value::Array(values)) => values.clone(),
            _ => choices(choice).unwrap_or_else(|| vec![Value::Null]),
        })
        .collect();
    Some(choices)
}

/// Does an answer hold what its form asks for? One that says no holds nothing.
pub(crate) fn fits(form: &RawJson, answer: &RawJson, limits: &Limits) -> Result<(), String> {
    let answer: ElicitResult = answer.decode().map_err(|error| error.to_string())?;
    if answer.action != ElicitAction::Accept {
        return Ok(());
    }
    let form: Value = form.decode().map_err(|error| error.to_string())?;
    let content = answer.content.unwrap_or_default();
    let content = serde_json::to_string(&content).map_err(|error| error.to_string())?;
    Validation::by_schema(form, limits).check_text(&content, limits)
}

/// What the person did, their answers decoded.
pub(crate) fn outcome<T: DeserializeOwned>(
    result: ElicitResult,
) -> Result<Elicited<T>, serde_json::Error> {
    match result.action {
        ElicitAction::Decline => Ok(Elicited::Declined),
        ElicitAction::Cancel => Ok(Elicited::Cancelled),
        ElicitAction::Accept => {
            let content = result.content.unwrap_or_default();
            let answers = content
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.decode()?)))
                .collect::<Result<Map<String, Value>, serde_json::Error>>()?;
            serde_json::from_value(answers.into()).map(Elicited::Accepted)
        }
    }
}
