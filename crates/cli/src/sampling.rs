//! A sampling request, shown to the person at the terminal, who answers in place of a model or
//! refuses. Nothing is answered without them.

use std::fmt::Write as _;
use std::io::{BufRead, Write};

use compere::client::ClientBuilder;
use compere::client::answer::Refusal;
use compere::model::{Content, CreateMessageParams, CreateMessageResult, Role};
use compere::text::{escape, escape_line};

use crate::person::Person;

/// Lets the person answer.
pub(crate) fn answered_by(builder: ClientBuilder, person: &Person, server: &str) -> ClientBuilder {
    let (person, server) = (person.clone(), server.to_owned());
    builder.on_sample(move |params| {
        let (person, server) = (person.clone(), server.clone());
        async move {
            match person.ask(move || ask(&server, &params)).await {
                Some(Ok(Some(text))) => Ok(answered(text)),
                Some(Ok(None)) => Err(Refusal::by_user("the person refused")),
                _ => Err(Refusal::by_user("there was nobody to ask")),
            }
        }
    })
}

fn answered(text: String) -> CreateMessageResult {
    let mut result = CreateMessageResult::new(
        Role::Assistant,
        Content::text(text),
        "a person at a terminal",
    );
    result.stop_reason = Some("endTurn".to_owned());
    result
}

fn ask(server: &str, params: &CreateMessageParams) -> std::io::Result<Option<String>> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{}", describe(server, params))?;
    writeln!(
        stderr,
        "Answer it yourself, with a line that holds only a dot at the end.\n\
         A dot at once refuses."
    )?;
    stderr.flush()?;
    drop(stderr);
    let mut answer = String::new();
    for typed in std::io::stdin().lock().lines() {
        let typed = typed?;
        if typed == "." {
            let answer = answer.trim_end_matches('\n').to_owned();
            return Ok((!answer.is_empty()).then_some(answer));
        }
        answer.push_str(&typed);
        answer.push('\n');
    }
    Ok(None)
}

/// What the server wants, in our words, its own words quoted.
fn describe(server: &str, params: &CreateMessageParams) -> String {
    let server = escape_line(server);
    let mut text = format!("\n{server} asks for an answer of a model.\n");
    let _ = writeln!(text, "  at most {} tokens", params.max_tokens);
    if let Some(system) = &params.system_prompt {
        quote(&mut text, "system prompt", system);
    }
    let hints = params.model_preferences.iter().flat_map(|preferences| {
        preferences
            .hints
            .iter()
            .flatten()
            .filter_map(|hint| hint.name.as_deref())
    });
    for hint in hints {
        let _ = writeln!(text, "  model wanted: {}", escape_line(hint));
    }
    for message in &params.messages {
        for block in &message.content.0 {
            match block.as_text() {
                Some(said) => quote(&mut text, message.role.as_str(), said),
                None => {
                    let _ = writeln!(text, "  {}: [no text]", message.role.as_str());
                }
            }
        }
    }
    text
}

fn quote(text: &mut String, who: &str, said: &str) {
    let _ = writeln!(text, "  {who}:");
    for line in escape(said).lines() {
        let _ = writeln!(text, "  | {line}");
    }
}
