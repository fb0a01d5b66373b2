//! A form that a server wants filled in, asked field by field at the terminal.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use compere::client::ClientBuilder;
use compere::client::answer::Refusal;
use compere::model::{ElicitAction, ElicitParams, ElicitResult, RawJson};
use compere::serde_json::Value;
use compere::text::{escape, escape_line};

use crate::arguments;
use crate::person::Person;

/// Lets the person answer.
pub(crate) fn answered_by(builder: ClientBuilder, person: &Person) -> ClientBuilder {
    let person = person.clone();
    builder.on_elicit(move |params| {
        let person = person.clone();
        async move {
            match person.ask(move || ask(&params)).await {
                Some(Ok(result)) => Ok(result),
                _ => Err(Refusal::by_user("there was nobody to ask")),
            }
        }
    })
}

/// What a person can type instead of an answer.
enum Typed {
    Value(Option<Value>),
    Declined,
    Cancelled,
}

fn ask(params: &ElicitParams) -> io::Result<ElicitResult> {
    let schema: Value = params
        .requested_schema
        .as_ref()
        .and_then(|schema| schema.decode().ok())
        .unwrap_or_default();
    let mut stderr = io::stderr();
    writeln!(stderr, "\nThe server asks you:")?;
    for line in escape(&params.message).lines() {
        writeln!(stderr, "  | {line}")?;
    }
    writeln!(
        stderr,
        "A dot alone declines; Ctrl-D puts it away. Never type a password for a server."
    )?;
    let required: Vec<&str> = arguments::required(&schema).collect();
    let mut answers = BTreeMap::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        match ask_field(name, field, required.contains(&name.as_str()))? {
            Typed::Value(Some(value)) => {
                let value = RawJson::from_value(&value).map_err(io::Error::other)?;
                answers.insert(name.clone(), value);
            }
            Typed::Value(None) => {}
            Typed::Declined => return Ok(ElicitResult::new(ElicitAction::Decline)),
            Typed::Cancelled => return Ok(ElicitResult::new(ElicitAction::Cancel)),
        }
    }
    let mut result = ElicitResult::new(ElicitAction::Accept);
    result.content = Some(answers);
    Ok(result)
}

fn ask_field(name: &str, field: &Value, required: bool) -> io::Result<Typed> {
    let mut stderr = io::stderr();
    if let Some(description) = field["description"].as_str() {
        writeln!(stderr, "{}", escape_line(description))?;
    }
    let title = field["title"].as_str().unwrap_or(name);
    let default = Some(&field["default"]).filter(|default| !default.is_null());
    loop {
        write!(stderr, "{} ({})", escape_line(title), kind(field, required))?;
        if let Some(default) = default {
            write!(stderr, " [{}]", escape_line(&plain(default)))?;
        }
        write!(stderr, ": ")?;
        stderr.flush()?;
        let mut typed = String::new();
        if io::stdin().lock().read_line(&mut typed)? == 0 {
            writeln!(stderr)?;
            return Ok(Typed::Cancelled);
        }
        let typed = typed.trim_end_matches(['\n', '\r']);
        match (typed, default, required) {
            (".", ..) => return Ok(Typed::Declined),
            ("", Some(default), _) => return Ok(Typed::Value(Some(default.clone()))),
            ("", None, false) => return Ok(Typed::Value(None)),
            _ => match value(field, typed) {
                Ok(value) => return Ok(Typed::Value(Some(value))),
                Err(why) => writeln!(stderr, "  {why}")?,
            },
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// What may be typed, in words.
fn kind(field: &Value, required: bool) -> String {
    let kind = match choices(field) {
        choices if !choices.is_empty() => {
            let choices: Vec<String> = choices.iter().map(|choice| escape_line(choice)).collect();
            choices.join(" | ")
        }
        _ => match field["type"].as_str() {
            Some("boolean") => "yes | no".to_owned(),
            Some("integer") => "a whole number".to_owned(),
            Some("number") => "a number".to_owned(),
            _ => match field["format"].as_str() {
                Some(format) => escape_line(format),
                None => "text".to_owned(),
            },
        },
    };
    match required {
        true => kind,
        false => format!("{kind}, may be empty"),
    }
}

fn choices(field: &Value) -> Vec<String> {
    let plain = field["enum"].as_array().into_iter().flatten();
    let titled = field["oneOf"].as_array().into_iter().flatten();
    plain
        .filter_map(Value::as_str)
        .chain(titled.filter_map(|choice| choice["const"].as_str()))
        .map(str::to_owned)
        .collect()
}

/// The value of what was typed, or what is wrong with it.
fn value(field: &Value, typed: &str) -> Result<Value, String> {
    let choices = choices(field);
    if !choices.is_empty() {
        return match choices.iter().find(|choice| *choice == typed) {
            Some(choice) => Ok(choice.as_str().into()),
            None => Err(format!("one of {}", choices.join(", "))),
        };
    }
    match field["type"].as_str() {
        Some("boolean") => match typed.to_lowercase().as_str() {
            "y" | "yes" | "true" => Ok(true.into()),
            "n" | "no" | "false" => Ok(false.into()),
            _ => Err("yes or no".to_owned()),
        },
        Some("integer") => match typed.parse::<i64>() {
            Ok(number) => bounded(field, typed, number.into()),
            Err(_) => Err("a whole number".to_owned()),
        },
        Some("number") => match typed
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
        {
            Some(number) => bounded(field, typed, number.into()),
            None => Err("a number".to_owned()),
        },
        _ => {
            let length = typed.chars().count() as u64;
            match (field["minLength"].as_u64(), field["maxLength"].as_u64()) {
                (Some(least), _) if length < least => Err(format!("at least {least} letters")),
                (_, Some(most)) if length > most => Err(format!("at most {most} letters")),
                _ => Ok(typed.into()),
            }
        }
    }
}

fn bounded(field: &Value, typed: &str, value: Value) -> Result<Value, String> {
    let number: f64 = typed.parse().unwrap_or_default();
    match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(least), _) if number < least => Err(format!("at least {least}")),
        (_, Some(most)) if number > most => Err(format!("at most {most}")),
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use compere::serde_json::json;

    use super::*;

    #[test]
    fn what_is_typed_takes_the_type_of_the_field() {
        let number = json!({"type": "integer", "minimum": 0, "maximum": 9});
        assert_eq!(value(&number, "7"), Ok(json!(7)));
        assert!(value(&number, "10").is_err() && value(&number, "x").is_err());
        assert_eq!(value(&json!({"type": "boolean"}), "Yes"), Ok(json!(true)));
        let choice = json!({"type": "string", "enum": ["red", "blue"]});
        assert_eq!(value(&choice, "red"), Ok(json!("red")));
        assert!(value(&choice, "green").is_err());
        let short = json!({"type": "string", "maxLength": 3});
        assert_eq!(value(&short, "äöü"), Ok(json!("äöü")));
        assert!(value(&short, "long").is_err());
    }
}
