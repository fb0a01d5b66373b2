//! `compere policy`: what your rules say of a call, and which of them decides.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use compere::serde_json::{Map, Value, json};
use compere_host::policy::{Because, Claims, Effect, Question, Reads, Subject, decide, in_file};

use compere::text::escape_line;
use compere_host::door::{Order, Reply};

use crate::args::{Explain, Keeps, Policy, PolicyCommand};
use crate::commands::import::{own_file, text_of};
use crate::failure::Failure;
use crate::{hosted, output};

pub(crate) fn run(policy: Policy) -> Result<ExitCode, Failure> {
    match policy.command {
        PolicyCommand::Explain(explain) => run_explain(&explain),
        PolicyCommand::List { keeps, json } => run_list(&keeps, json),
    }
}

fn run_list(keeps: &Keeps, as_json: bool) -> Result<ExitCode, Failure> {
    let file = hosted::file(keeps)?;
    let text = text_of(&file)?.unwrap_or_default();
    let rules = in_file(&text).map_err(|faults| {
        let failure = Failure::usage(format!("{}: its policy cannot be read", file.display()));
        faults.into_iter().fold(failure, Failure::hint)
    })?;
    // Those of a host that does not run hold nothing now, and are kept for when it does.
    let grants = match hosted::reach(keeps).and_then(|mut host| {
        let reply = host.order(&Order::Grants);
        reply.map_err(hosted::failure)
    }) {
        Ok(Reply::Grants(grants)) => Some(grants),
        _ => None,
    };
    if as_json {
        let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
        output::json(&json!({"rules": rules, "grants": grants}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines: Vec<String> = rules
        .iter()
        .enumerate()
        .map(|(place, rule)| format!("{}  {rule}", place + 1))
        .collect();
    if rules.is_empty() {
        lines.push(format!("{} has no rules.", file.display()));
    }
    match grants {
        None => lines.push("What you granted is shown while the host runs.".to_owned()),
        Some(grants) => lines.extend(grants.iter().map(|grant| {
            let (what, who) = (escape_line(&grant.to_string()), escape_line(&grant.who));
            format!("{}  granted: {what} (by {who})", grant.id)
        })),
    }
    lines.push(
        "If none of these decides: what only reads is allowed, and you are asked about the rest."
            .to_owned(),
    );
    output::text(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn run_explain(explain: &Explain) -> Result<ExitCode, Failure> {
    let file = match &explain.file {
        Some(file) => file.clone(),
        None => own_file()?,
    };
    let text = text_of(&file)?;
    if text.is_none() && explain.file.is_some() {
        return Err(Failure::usage(format!(
            "{}: there is no such file",
            file.display()
        )));
    }
    let rules = in_file(&text.unwrap_or_default()).map_err(|faults| {
        let failure = Failure::usage(format!("{}: its policy cannot be read", file.display()));
        faults.into_iter().fold(failure, Failure::hint)
    })?;
    let subjects = [
        (&explain.tool, Subject::Tool),
        (&explain.resource, Subject::Resource),
        (&explain.prompt, Subject::Prompt),
    ];
    let named = subjects
        .into_iter()
        .find_map(|(name, subject)| Some((name.as_deref()?, subject)));
    let (name, subject) = named.ok_or_else(|| {
        Failure::usage("what is it about?")
            .hint("Say --tool NAME, --resource URI or --prompt NAME.")
    })?;
    let arguments = arguments(&explain.arguments)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let question = Question {
        app: &explain.app,
        server: &explain.server,
        subject,
        name,
        arguments: &arguments,
        claims: Claims {
            read_only: explain.claims_read_only.then_some(true),
            ..Claims::default()
        },
        reads: match explain.reads {
            true => Reads::Marked,
            false => Reads::Unknown,
        },
        now: now.map_or(0, |now| now.as_secs()),
    };
    let verdict = decide(&rules, &question);
    if explain.json {
        let rule = match verdict.because {
            Because::Rule(place, rule) => json!({"number": place + 1, "says": rule.to_string()}),
            _ => Value::Null,
        };
        output::json(&json!({
            "effect": verdict.effect.as_str(),
            "because": verdict.because.to_string(),
            "rule": rule,
        }))?;
    } else {
        let words = match verdict.effect {
            Effect::Allow => "allowed",
            Effect::Ask => "you are asked",
            Effect::Deny => "refused",
        };
        output::text(&format!("{words}: {}", verdict.because))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `key=value` is a text, `key:=JSON` what it is.
fn arguments(given: &[String]) -> Result<Value, Failure> {
    let mut arguments = Map::new();
    for argument in given {
        let wrong = || Failure::usage(format!("{argument:?} is neither key=value nor key:=JSON"));
        let (key, value) = argument.split_once('=').ok_or_else(wrong)?;
        let (key, value) = match key.strip_suffix(':') {
            Some(key) => {
                let value = compere::serde_json::from_str(value).map_err(|_| wrong())?;
                (key, value)
            }
            None => (key, Value::from(value)),
        };
        arguments.insert(key.to_owned(), value);
    }
    Ok(Value::Object(arguments))
}
