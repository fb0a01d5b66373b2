//! A field of a form: what may be typed into it, and what was.

use compere::serde_json::Value;
use compere::text::escape_line;

/// What may be typed, in words.
pub(crate) fn kind(field: &Value, required: bool) -> String {
    let kind = match choices(field) {
        choices if !choices.is_empty() => {
            let choices: Vec<String> = choices.iter().map(Choice::shown).collect();
            let shown = choices.join(" | ");
            match several(field) {
                true => format!("some of {shown}, with commas between"),
                false => shown,
            }
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

/// One of the things that can be chosen.
struct Choice<'a> {
    value: &'a str,
    title: Option<&'a str>,
}

impl Choice<'_> {
    fn shown(&self) -> String {
        match self.title.filter(|title| *title != self.value) {
            Some(title) => format!("{} ({})", escape_line(self.value), escape_line(title)),
            None => escape_line(self.value),
        }
    }
}

/// Can more than one be chosen?
fn several(field: &Value) -> bool {
    field["type"] == "array"
}

fn choices(field: &Value) -> Vec<Choice<'_>> {
    let one = match several(field) {
        true => &field["items"],
        false => field,
    };
    let plain = one["enum"].as_array().into_iter().flatten();
    let plain = plain.filter_map(Value::as_str).enumerate();
    let plain = plain.map(|(index, value)| Choice {
        value,
        // Titles beside the values, as the first revision with choices had them.
        title: one["enumNames"][index].as_str(),
    });
    let titled = ["oneOf", "anyOf"]
        .into_iter()
        .filter_map(|key| one[key].as_array());
    let titled = titled.flatten().filter_map(|choice| {
        let value = choice["const"].as_str()?;
        let title = choice["title"].as_str();
        Some(Choice { value, title })
    });
    plain.chain(titled).collect()
}

/// What was typed as one of the choices, by its value or its title.
fn chosen(choices: &[Choice<'_>], typed: &str) -> Result<Value, String> {
    let by_value = choices.iter().find(|choice| choice.value == typed);
    let found = by_value.or_else(|| choices.iter().find(|choice| choice.title == Some(typed)));
    found.map(|choice| choice.value.into()).ok_or_else(|| {
        let shown: Vec<String> = choices.iter().map(Choice::shown).collect();
        format!("one of {}", shown.join(", "))
    })
}

fn chosen_several(field: &Value, choices: &[Choice<'_>], typed: &str) -> Result<Value, String> {
    let parts = typed
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let values = parts
        .map(|part| chosen(choices, part))
        .collect::<Result<Vec<_>, _>>()?;
    let count = values.len() as u64;
    match (field["minItems"].as_u64(), field["maxItems"].as_u64()) {
        (Some(least), _) if count < least => Err(format!("at least {least} of them")),
        (_, Some(most)) if count > most => Err(format!("at most {most} of them")),
        _ => Ok(values.into()),
    }
}

/// The value of what was typed, or what is wrong with it.
pub(crate) fn value(field: &Value, typed: &str) -> Result<Value, String> {
    let choices = choices(field);
    if !choices.is_empty() {
        return match several(field) {
            true => chosen_several(field, &choices, typed),
            false => chosen(&choices, typed),
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
        let titled = json!({"type": "string", "oneOf": [{"const": "r", "title": "Red"}]});
        assert_eq!(value(&titled, "Red"), Ok(json!("r")));
        assert_eq!(kind(&titled, true), "r (Red)");
        let some = json!({"type": "array", "maxItems": 2, "items": {"enum": ["a", "b", "c"]}});
        assert_eq!(value(&some, "a, c"), Ok(json!(["a", "c"])));
        assert!(value(&some, "a, b, c").is_err() && value(&some, "d").is_err());
        let short = json!({"type": "string", "maxLength": 3});
        assert_eq!(value(&short, "äöü"), Ok(json!("äöü")));
        assert!(value(&short, "long").is_err());
    }
}
