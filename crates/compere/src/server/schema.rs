//! JSON Schemas of Rust types, what of them the type itself already enforces, and their bounds.

use compere_proto::Limits;
use compere_proto::object::RawJson;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// The schema of the arguments of a tool: always an object at the root.
pub fn input<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.meta_schema = None;
    settings.inline_subschemas = true;
    let mut schema = settings
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.remove("title");
    if schema.get("type").is_none() {
        schema.insert("type".to_owned(), Value::from("object"));
    }
    schema
}

/// The schema of structured output, of any type.
pub fn output<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.meta_schema = None;
    settings.inline_subschemas = true;
    let mut schema = settings
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.remove("title");
    schema
}

/// The schema of a tool without arguments.
pub fn empty() -> Schema {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), Value::from("object"));
    schema.into()
}

/// The text of a schema as it goes into a definition.
pub fn raw(schema: &Schema) -> RawJson {
    schema.as_value().clone().into()
}

/// Does decoding into the Rust type enforce everything that its generated schema says? Then a
/// validator would only repeat the work. Everything that is not known to be enforced counts as
/// not enforced.
pub(crate) fn is_implied(schema: &Value) -> bool {
    match schema {
        Value::Bool(anything) => *anything,
        Value::Object(members) => is_implied_object(members),
        _ => false,
    }
}

fn is_implied_object(members: &Map<String, Value>) -> bool {
    members
        .iter()
        .all(|(keyword, value)| match keyword.as_str() {
            "type" | "title" | "description" | "default" | "examples" | "required" | "$schema"
            | "deprecated" | "readOnly" | "writeOnly" => true,
            "properties" | "$defs" | "definitions" => value
                .as_object()
                .is_some_and(|schemas| schemas.values().all(is_implied)),
            "items" | "additionalProperties" if value.is_boolean() => {
                // `false` comes from `deny_unknown_fields`, which serde enforces.
                true
            }
            "items" | "additionalProperties" => is_implied(value),
            "prefixItems" | "anyOf" | "oneOf" => value
                .as_array()
                .is_some_and(|schemas| schemas.iter().all(is_implied)),
            "$ref" => value
                .as_str()
                .is_some_and(|target| target.starts_with("#/")),
            "enum" | "const" => true,
            "format" => value.as_str().is_some_and(is_number_format),
            // An unsigned integer has this minimum by itself; any other bound is a constraint.
            "minimum" => {
                value.as_f64() == Some(0.0)
                    && members
                        .get("format")
                        .and_then(Value::as_str)
                        .is_some_and(|format| format.starts_with("uint"))
            }
            // Small integers and fixed arrays carry the bounds of their type.
            "maximum" => members
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|format| maximum_of(format) == value.as_f64()),
            _ => false,
        })
}

fn is_number_format(format: &str) -> bool {
    matches!(
        format,
        "int8"
            | "int16"
            | "int32"
            | "int64"
            | "int"
            | "uint8"
            | "uint16"
            | "uint32"
            | "uint64"
            | "uint"
            | "float"
            | "double"
    )
}

fn maximum_of(format: &str) -> Option<f64> {
    match format {
        "uint8" => Some(f64::from(u8::MAX)),
        "uint16" => Some(f64::from(u16::MAX)),
        _ => None,
    }
}

/// Checks a schema against the bounds, and that nothing in it would have to be fetched.
pub(crate) fn check(schema: &Value, limits: &Limits) -> Result<(), String> {
    let mut nodes = 0;
    check_node(schema, 1, &mut nodes, limits)
}

fn check_node(
    schema: &Value,
    depth: usize,
    nodes: &mut usize,
    limits: &Limits,
) -> Result<(), String> {
    *nodes += 1;
    // Keywords and the schemas below them alternate, hence twice the depth.
    if depth > limits.schema_depth * 2 {
        return Err(format!("deeper than {} schemas", limits.schema_depth));
    }
    if *nodes > limits.schema_nodes * 8 {
        return Err(format!("more than {} sub-schemas", limits.schema_nodes));
    }
    match schema {
        Value::Object(members) => {
            for (keyword, value) in members {
                if matches!(keyword.as_str(), "$ref" | "$dynamicRef")
                    && value
                        .as_str()
                        .is_some_and(|target| !target.starts_with('#'))
                {
                    return Err(format!("the reference {value} leads outside of the schema"));
                }
                check_node(value, depth + 1, nodes, limits)?;
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_node(item, depth + 1, nodes, limits)),
        _ => Ok(()),
    }
}
