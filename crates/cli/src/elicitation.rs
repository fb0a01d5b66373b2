//! What a server wants of the person: a form, asked field by field at the terminal and shown before it
//! is sent, or a page that they are to open themselves. Nothing here opens anything.

mod field;
mod page;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use compere::client::ClientBuilder;
use compere::client::answer::Refusal;
use compere::model::{ElicitAction, ElicitParams, ElicitResult, RawJson, UrlElicitation};
use compere::serde_json::Value;
use compere::text::{escape, escape_line};

use crate::arguments;
use crate::elicitation::page::Page;
use crate::person::Person;

/// Lets the person answer. `server` is how they call it.
pub(crate) fn answered_by(builder: ClientBuilder, person: &Person, server: &str) -> ClientBuilder {
    let (asked, shown) = (person.clone(), person.clone());
    let (asking, showing) = (server.to_owned(), server.to_owned());
    builder
        .on_elicit(move |params| {
            let (person, server) = (asked.clone(), asking.clone());
            async move {
                match person.ask(move || ask(&server, &params)).await {
                    Some(Ok(result)) => Ok(result),
                    _ => Err(Refusal::by_user("there was nobody to ask")),
                }
            }
        })
        .on_elicit_url(move |asked| {
            let (person, server) = (shown.clone(), showing.clone());
            async move {
                match person.ask(move || show(&server, &asked)).await {
                    Some(Ok(action)) => Ok(action),
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

/// What becomes of a form that is filled in.
enum Review {
    Send,
    Change,
    Decline,
    Cancel,
}

type Answers = BTreeMap<String, Value>;

fn ask(server: &str, params: &ElicitParams) -> io::Result<ElicitResult> {
    let schema: Value = params
        .requested_schema
        .as_ref()
        .and_then(|schema| schema.decode().ok())
        .unwrap_or_default();
    let mut stderr = io::stderr();
    writeln!(stderr, "\n{} asks you:", escape_line(server))?;
    quote(&params.message)?;
    writeln!(
        stderr,
        "A dot alone declines; Ctrl-D puts it away. Never type a password for a server."
    )?;
    let mut answers = Answers::new();
    loop {
        match fill_in(&schema, &mut answers)? {
            Review::Send => {}
            Review::Change => continue,
            Review::Decline => return Ok(ElicitResult::new(ElicitAction::Decline)),
            Review::Cancel => return Ok(ElicitResult::new(ElicitAction::Cancel)),
        }
        let answers = answers.iter().map(|(name, value)| {
            let value = RawJson::from_value(value).map_err(io::Error::other)?;
            Ok((name.clone(), value))
        });
        let mut result = ElicitResult::new(ElicitAction::Accept);
        result.content = Some(answers.collect::<io::Result<_>>()?);
        return Ok(result);
    }
}

/// Asks for every field, and then whether it shall be sent. What was answered before is the default.
fn fill_in(schema: &Value, answers: &mut Answers) -> io::Result<Review> {
    let required: Vec<&str> = arguments::required(schema).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let default = answers.get(name).or_else(|| field.get("default"));
        let default = default.filter(|default| !default.is_null()).cloned();
        match ask_field(
            name,
            field,
            default.as_ref(),
            required.contains(&name.as_str()),
        )? {
            Typed::Value(Some(value)) => drop(answers.insert(name.clone(), value)),
            Typed::Value(None) => drop(answers.remove(name)),
            Typed::Declined => return Ok(Review::Decline),
            Typed::Cancelled => return Ok(Review::Cancel),
        }
    }
    review(answers)
}

fn review(answers: &Answers) -> io::Result<Review> {
    let mut stderr = io::stderr();
    writeln!(stderr, "Your answer:")?;
    for (name, value) in answers {
        writeln!(
            stderr,
            "  {}: {}",
            escape_line(name),
            escape_line(&plain(value))
        )?;
    }
    if answers.is_empty() {
        writeln!(stderr, "  (empty)")?;
    }
    loop {
        let Some(typed) = typed("Send it? (yes | no | change) ")? else {
            return Ok(Review::Cancel);
        };
        match typed.to_lowercase().as_str() {
            "y" | "yes" => return Ok(Review::Send),
            "c" | "change" => return Ok(Review::Change),
            "n" | "no" | "." => return Ok(Review::Decline),
            _ => {}
        }
    }
}

fn ask_field(
    name: &str,
    field: &Value,
    default: Option<&Value>,
    required: bool,
) -> io::Result<Typed> {
    let mut stderr = io::stderr();
    if let Some(description) = field["description"].as_str() {
        writeln!(stderr, "{}", escape_line(description))?;
    }
    let title = escape_line(field["title"].as_str().unwrap_or(name));
    let shown = default.map(|default| escape_line(&plain(default)));
    let shown = shown.map(|shown| format!(" [{shown}]")).unwrap_or_default();
    let prompt = format!("{title} ({}){shown}: ", field::kind(field, required));
    loop {
        let Some(typed) = typed(&prompt)? else {
            return Ok(Typed::Cancelled);
        };
        match (typed.as_str(), default, required) {
            (".", ..) => return Ok(Typed::Declined),
            ("", Some(default), _) => return Ok(Typed::Value(Some(default.clone()))),
            ("", None, false) => return Ok(Typed::Value(None)),
            _ => match field::value(field, &typed) {
                Ok(value) => return Ok(Typed::Value(Some(value))),
                Err(why) => writeln!(stderr, "  {why}")?,
            },
        }
    }
}

/// Shows the whole of an address and asks for consent.
fn show(server: &str, asked: &UrlElicitation) -> io::Result<ElicitAction> {
    let mut stderr = io::stderr();
    let server = escape_line(server);
    writeln!(
        stderr,
        "\n{server} wants you to open a page in your browser:"
    )?;
    quote(&asked.message)?;
    let url = escape_line(&asked.url);
    let Some(page) = Page::of(&asked.url) else {
        writeln!(
            stderr,
            "  {url}\nThis is no page of the web; it is declined."
        )?;
        return Ok(ElicitAction::Decline);
    };
    writeln!(stderr, "  site: {}", escape_line(&page.site))?;
    writeln!(stderr, "  page: {url}")?;
    for warning in page.warnings {
        writeln!(stderr, "  ! {warning}")?;
    }
    loop {
        let prompt = "Will you? Nothing is opened for you. (yes | no) ";
        let Some(typed) = typed(prompt)? else {
            return Ok(ElicitAction::Cancel);
        };
        match typed.to_lowercase().as_str() {
            "y" | "yes" => return Ok(ElicitAction::Accept),
            "n" | "no" | "." => return Ok(ElicitAction::Decline),
            _ => {}
        }
    }
}

/// A line of the person's; `None` if they put it away.
fn typed(prompt: &str) -> io::Result<Option<String>> {
    let mut stderr = io::stderr();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    let mut typed = String::new();
    if io::stdin().lock().read_line(&mut typed)? == 0 {
        writeln!(stderr)?;
        return Ok(None);
    }
    Ok(Some(typed.trim_end_matches(['\n', '\r']).to_owned()))
}

fn quote(said: &str) -> io::Result<()> {
    let mut stderr = io::stderr();
    for line in escape(said).lines() {
        writeln!(stderr, "  | {line}")?;
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}
