//! JSON with comments and commas too many, as people and apps write it. Nothing else is forgiven: a
//! member that stands twice would mean one thing to us and another to the app.

use jsonc_parser::ast;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Map, Value};

/// Reads a text; `None` if there is nothing in it.
pub(crate) fn parse(text: &str) -> Result<Option<Value>, String> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options());
    let parsed = parsed.map_err(|error| error.to_string())?;
    parsed.value.map(value).transpose()
}

/// What is forgiven.
pub(crate) fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
    }
}

/// The depth is bounded by the parser.
fn value(parsed: ast::Value<'_>) -> Result<Value, String> {
    Ok(match parsed {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::StringLit(literal) => Value::String(literal.value.into_owned()),
        ast::Value::NumberLit(literal) => serde_json::from_str(literal.value)
            .map_err(|_| format!("{} is no number", literal.value))?,
        ast::Value::Array(array) => {
            let elements = array.elements.into_iter().map(value);
            Value::Array(elements.collect::<Result<_, _>>()?)
        }
        ast::Value::Object(object) => {
            let mut members = Map::new();
            for property in object.properties {
                let name = property.name.into_string();
                let member = value(property.value)?;
                if let Some((name, _)) = members.get_key_value(&name) {
                    let name = super::read::shown(name);
                    return Err(format!("`{name}` stands twice in one object"));
                }
                members.insert(name, member);
            }
            Value::Object(members)
        }
    })
}
