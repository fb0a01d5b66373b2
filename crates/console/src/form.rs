//! A form for what a JSON Schema asks for, and from a filled form back to a value.
//!
//! What a form cannot say is typed as JSON. Whether the value fits is for whoever gets it to say.

use maud::{Markup, html};
use serde_json::{Map, Number, Value};

use crate::answers::Fields;
use crate::text::line;

/// Objects within objects, before JSON is asked for.
const DEPTH: usize = 4;
/// Choices, before JSON is asked for.
const CHOICES: usize = 200;
/// The field in which all of it can be typed as JSON.
const ALL: &str = "json";

/// How something is asked for.
enum Kind<'s> {
    Text {
        long: bool,
    },
    Number {
        step: &'static str,
    },
    Flag,
    Choice(Vec<(&'s Value, String)>),
    /// Texts, one a line.
    Lines,
    Object(&'s Map<String, Value>),
    Json,
}

/// The fields for an object of this schema. `id` makes their names on the page their own.
pub(crate) fn form(schema: &Value, id: &str) -> Markup {
    let fields = match Asked::of(schema, schema, 0).kind {
        Kind::Object(properties) => object(schema, schema, properties, "", id, 0),
        _ => html! {},
    };
    html! {
        (fields)
        details {
            summary { "As JSON instead" }
            label for=(format!("{id}-json")) { "All arguments, as a JSON object" }
            textarea id=(format!("{id}-json")) name=(ALL) rows="4" spellcheck="false" placeholder="{}" {}
        }
    }
}

/// The value of a form.
pub(crate) fn value(schema: &Value, fields: &Fields) -> Result<Value, String> {
    if let Some(text) = fields.filled(ALL) {
        return serde_json::from_str(text).map_err(|error| format!("that is no JSON: {error}"));
    }
    let read = read(schema, schema, fields, "", true, 0)?;
    Ok(read.unwrap_or_else(|| Value::Object(Map::new())))
}

struct Asked<'s> {
    schema: &'s Value,
    kind: Kind<'s>,
}

impl<'s> Asked<'s> {
    fn of(all: &'s Value, schema: &'s Value, depth: usize) -> Self {
        let schema = plain(all, schema);
        Self {
            schema,
            kind: kind(schema, depth),
        }
    }

    fn text(&self, name: &str) -> Option<&'s str> {
        self.schema.get(name).and_then(Value::as_str)
    }
}

/// The schema that is meant: references within it are followed, and what may be null besides is what it
/// is otherwise.
fn plain<'s>(all: &'s Value, schema: &'s Value) -> &'s Value {
    let mut schema = schema;
    for _ in 0..8 {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let alternatives = ["anyOf", "oneOf"].iter().find_map(|name| {
            let several = schema.get(*name)?.as_array()?;
            let is_null = |one: &Value| one.get("type").and_then(Value::as_str) == Some("null");
            let mut rest = several.iter().filter(|one| !is_null(one));
            let first = rest.next()?;
            rest.next().is_none().then_some(first)
        });
        let next = match reference {
            Some(reference) => reference
                .strip_prefix('#')
                .and_then(|pointer| all.pointer(pointer)),
            None => alternatives,
        };
        match next {
            Some(next) => schema = next,
            None => return schema,
        }
    }
    schema
}

fn kind(schema: &Value, depth: usize) -> Kind<'_> {
    if let Some(choices) = choices(schema) {
        return Kind::Choice(choices);
    }
    let named = match schema.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ if schema.get("properties").is_some() => Some("object"),
        _ => None,
    };
    match named {
        Some("string") => Kind::Text {
            long: schema
                .get("maxLength")
                .and_then(Value::as_u64)
                .is_none_or(|most| most > 200),
        },
        Some("integer") => Kind::Number { step: "1" },
        Some("number") => Kind::Number { step: "any" },
        Some("boolean") => Kind::Flag,
        Some("array") => {
            let of = schema.get("items").and_then(|items| items.get("type"));
            match of.and_then(Value::as_str) {
                Some("string") => Kind::Lines,
                _ => Kind::Json,
            }
        }
        Some("object") if depth < DEPTH => {
            match schema.get("properties").and_then(Value::as_object) {
                Some(properties) => Kind::Object(properties),
                None => Kind::Json,
            }
        }
        _ => Kind::Json,
    }
}

fn choices(schema: &Value) -> Option<Vec<(&Value, String)>> {
    let words = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let found: Vec<(&Value, String)> = match (schema.get("enum"), schema.get("oneOf")) {
        (Some(Value::Array(values)), _) => values.iter().map(|one| (one, words(one))).collect(),
        (None, Some(Value::Array(alternatives))) => alternatives
            .iter()
            .map(|one| {
                let value = one.get("const")?;
                let title = one.get("title").and_then(Value::as_str);
                Some((value, title.map_or_else(|| words(value), str::to_owned)))
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    (!found.is_empty() && found.len() <= CHOICES).then_some(found)
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|names| names.iter().any(|of| of == name))
}

/// The name of a field: where it stands in the value.
fn place(before: &str, name: &str) -> String {
    format!("{before}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn object(
    all: &Value,
    schema: &Value,
    properties: &Map<String, Value>,
    before: &str,
    id: &str,
    depth: usize,
) -> Markup {
    html! {
        @for (name, property) in properties {
            (field(all, property, &place(before, name), name, is_required(schema, name), id, depth))
        }
    }
}

fn field(
    all: &Value,
    schema: &Value,
    place: &str,
    name: &str,
    required: bool,
    id: &str,
    depth: usize,
) -> Markup {
    let asked = Asked::of(all, schema, depth + 1);
    let of_field = format!("{id}{place}");
    let title = asked.text("title").unwrap_or(name);
    let described = schema
        .get("description")
        .and_then(Value::as_str)
        .or(asked.text("description"));
    let default = schema.get("default").or(asked.schema.get("default"));
    let written = default.map(|default| match default {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_str().unwrap_or_default());
            items.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    });
    let heading = html! {
        (line(title))
        @if title != name { " " code { (line(name)) } }
        @if !required { span.optional { " optional" } }
    };
    let hint = format!("{of_field}-hint");
    let described_by = described.map(|_| hint.as_str());
    let below = html! {
        @if let Some(text) = described { p.hint id=(hint) { (line(text)) } }
    };
    if let Kind::Object(properties) = asked.kind {
        return html! {
            fieldset {
                legend { (heading) }
                (below)
                (object(all, asked.schema, properties, place, id, depth + 1))
            }
        };
    }
    let bound = |name: &str| asked.schema.get(name).and_then(Value::as_f64);
    html! {
        div.field {
            label for=(of_field) { (heading) }
            @match &asked.kind {
                Kind::Text { long: true } => {
                    textarea id=(of_field) name=(place) rows="1" aria-describedby=[described_by] spellcheck="false" {
                        "\n" (written.unwrap_or_default())
                    }
                }
                Kind::Text { long: false } => {
                    input id=(of_field) name=(place) value=[written] aria-describedby=[described_by] autocomplete="off" spellcheck="false";
                }
                Kind::Number { step } => {
                    input id=(of_field) name=(place) type="number" step=(step) value=[written] required[required]
                        min=[bound("minimum")] max=[bound("maximum")] aria-describedby=[described_by];
                }
                Kind::Flag => {
                    select id=(of_field) name=(place) aria-describedby=[described_by] {
                        @if !required { option value="" { "not said" } }
                        option value="false" selected[default == Some(&Value::Bool(false))] { "no" }
                        option value="true" selected[default == Some(&Value::Bool(true))] { "yes" }
                    }
                }
                Kind::Choice(choices) => {
                    select id=(of_field) name=(place) aria-describedby=[described_by] {
                        @if !required { option value="" { "not said" } }
                        @for (number, (value, words)) in choices.iter().enumerate() {
                            option value=(number) selected[default == Some(*value)] { (line(words)) }
                        }
                    }
                }
                Kind::Lines => {
                    textarea id=(of_field) name=(place) rows="2" placeholder="one a line" aria-describedby=[described_by] spellcheck="false" {
                        "\n" (written.unwrap_or_default())
                    }
                }
                Kind::Json | Kind::Object(_) => {
                    textarea id=(of_field) name=(place) rows="2" placeholder="JSON" aria-describedby=[described_by] spellcheck="false" {
                        "\n" (default.map(ToString::to_string).unwrap_or_default())
                    }
                }
            }
            (below)
        }
    }
}

/// What stands in a form; `None` if nothing was said.
fn read(
    all: &Value,
    schema: &Value,
    fields: &Fields,
    at: &str,
    required: bool,
    depth: usize,
) -> Result<Option<Value>, String> {
    let asked = Asked::of(all, schema, depth);
    if let Kind::Object(properties) = asked.kind {
        let mut members = Map::new();
        for (name, property) in properties {
            let needed = is_required(asked.schema, name);
            let found = read(all, property, fields, &place(at, name), needed, depth + 1)?;
            members.extend(found.map(|value| (name.clone(), value)));
        }
        let is_there = required || !members.is_empty();
        return Ok(is_there.then_some(Value::Object(members)));
    }
    let Some(text) = fields.text(at) else {
        return Ok(None);
    };
    let is_text = matches!(asked.kind, Kind::Text { .. });
    if text.is_empty() {
        return Ok((is_text && required).then(|| Value::from("")));
    }
    let wrong = |what: &str| format!("{at}: {what}");
    Ok(Some(match asked.kind {
        Kind::Text { .. } => Value::from(text),
        Kind::Number { .. } => {
            let number: Number = text
                .trim()
                .parse()
                .map_err(|_| wrong("that is no number"))?;
            Value::Number(number)
        }
        Kind::Flag => Value::Bool(text == "true"),
        Kind::Choice(choices) => {
            let chosen = text
                .parse()
                .ok()
                .and_then(|number: usize| choices.get(number));
            let (value, _) = chosen.ok_or_else(|| wrong("that is none of the choices"))?;
            Value::clone(value)
        }
        Kind::Lines => {
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.map(Value::from).collect()
        }
        Kind::Json | Kind::Object(_) => serde_json::from_str(&text)
            .map_err(|error| wrong(&format!("that is no JSON: {error}")))?,
    }))
}
