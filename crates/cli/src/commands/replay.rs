//! `compere replay`: a recorded conversation, as a person reads it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use compere::serde::{Deserialize, Serialize};
use compere::serde_json::{self, Value, value::RawValue};
use compere::text::{escape, escape_line};

use crate::args::Replay;
use crate::failure::Failure;
use crate::record::{Entry, Speaker};

/// How much of params and results stands on a line.
const SHOWN: usize = 100;

pub(crate) fn run(replay: &Replay) -> Result<ExitCode, Failure> {
    let shown = replay.file.display();
    let reader: Box<dyn BufRead> = if replay.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = File::open(&replay.file)
            .map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
        Box::new(BufReader::new(file))
    };
    let mut conversation = Conversation::default();
    let mut stdout = std::io::stdout().lock();
    for (number, line) in reader.lines().enumerate() {
        let line = line?;
        let entry: Entry = serde_json::from_str(&line).map_err(|_| {
            Failure::usage(format!("{shown}: line {} is not of a trace", number + 1))
                .hint("Traces are written with --trace FILE; --wire-log FILE writes another form.")
        })?;
        let Some(seen) = conversation.see(entry) else {
            return Err(Failure::usage(format!(
                "{shown}: line {} has no time",
                number + 1
            )));
        };
        if !seen.is_wanted(replay) {
            continue;
        }
        let written = match replay.json {
            true => serde_json::to_string(&seen)
                .map_err(std::io::Error::other)
                .and_then(|line| writeln!(stdout, "{line}")),
            false => seen.write(&mut stdout, replay.full),
        };
        match written {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            other => other?,
        }
    }
    if !replay.json {
        for open in conversation.unanswered() {
            writeln!(stdout, "never answered: {open}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a message says of itself.
#[derive(Deserialize)]
#[serde(crate = "compere::serde")]
struct Head<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default, borrow)]
    params: Option<&'a RawValue>,
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

/// A request: its session, whether it is behind a bridge, who asked, its id.
type Asked = (u64, bool, Speaker, String);

/// What was asked and when; answers are told by that.
#[derive(Default)]
struct Conversation {
    started: Option<SystemTime>,
    asked: HashMap<Asked, (String, SystemTime)>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(crate = "compere::serde", rename_all = "lowercase")]
enum Kind {
    Request,
    Notification,
    Result,
    Error,
    /// No message of the protocol.
    Other,
}

/// A message and what is known of it.
#[derive(Serialize)]
#[serde(crate = "compere::serde")]
struct Seen {
    #[serde(flatten)]
    entry: Entry,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<f64>,
    #[serde(skip)]
    since: Duration,
    #[serde(skip)]
    id: Option<String>,
    #[serde(skip)]
    summary: String,
}

impl Conversation {
    fn see(&mut self, entry: Entry) -> Option<Seen> {
        let at = humantime::parse_rfc3339(&entry.at).ok()?;
        let started = *self.started.get_or_insert(at);
        let text = entry
            .message
            .as_ref()
            .map_or("null", |message| message.get());
        let head: Option<Head<'_>> = serde_json::from_str(text).ok();
        let mut kind = Kind::Other;
        let (mut method, mut took_ms, mut id) = (None, None, None);
        let summary;
        match head {
            Some(head) if head.method.is_some() => {
                let name = head.method.unwrap_or_default();
                id = head.id.map(|id| id.get().to_owned());
                kind = match &id {
                    Some(id) => {
                        let key = (entry.session, entry.behind, entry.from, id.clone());
                        self.asked.insert(key, (name.clone(), at));
                        Kind::Request
                    }
                    None => Kind::Notification,
                };
                summary = of_params(&name, head.params);
                method = Some(name);
            }
            Some(Head {
                id: answered,
                result,
                error,
                ..
            }) if result.is_some() || error.is_some() => {
                id = answered.map(|id| id.get().to_owned());
                let asker = match entry.from {
                    Speaker::Client => Speaker::Server,
                    Speaker::Server => Speaker::Client,
                };
                let key = (
                    entry.session,
                    entry.behind,
                    asker,
                    id.clone().unwrap_or_default(),
                );
                if let Some((name, when)) = self.asked.remove(&key) {
                    let took = at.duration_since(when).unwrap_or_default();
                    took_ms = Some((took.as_secs_f64() * 1e6).round() / 1e3);
                    method = Some(name);
                }
                (kind, summary) = match (result, error) {
                    (_, Some(error)) => (Kind::Error, of_error(error)),
                    (result, None) => (Kind::Result, of_result(method.as_deref(), result)),
                };
            }
            _ => summary = entry.text.clone().unwrap_or_else(|| text.to_owned()),
        }
        Some(Seen {
            since: at.duration_since(started).unwrap_or_default(),
            entry,
            kind,
            method,
            took_ms,
            id,
            summary,
        })
    }

    fn unanswered(&self) -> Vec<String> {
        let mut open: Vec<String> = self
            .asked
            .iter()
            .map(|((session, behind, _, id), (method, _))| {
                let place = if *behind { " behind the bridge" } else { "" };
                format!(
                    "{} #{} of session {session}{place}",
                    escape_line(method),
                    escape_line(id)
                )
            })
            .collect();
        open.sort();
        open
    }
}

impl Seen {
    fn is_wanted(&self, replay: &Replay) -> bool {
        let method = |wanted: &String| self.method.as_ref() == Some(wanted);
        (replay.method.is_empty() || replay.method.iter().any(method))
            && replay
                .session
                .is_none_or(|session| session == self.entry.session)
    }

    fn write(&self, to: &mut impl Write, full: bool) -> std::io::Result<()> {
        let colour = std::io::stdout().is_terminal();
        let arrow = match self.entry.from {
            Speaker::Client => "→",
            Speaker::Server => "←",
        };
        let behind = if self.entry.behind { "b" } else { " " };
        let method = escape_line(self.method.as_deref().unwrap_or("?"));
        let id = self
            .id
            .as_ref()
            .map(|id| format!(" #{}", escape_line(id)))
            .unwrap_or_default();
        let (red, dim, end) = match (colour, self.kind) {
            (true, Kind::Error | Kind::Other) => ("\x1b[31m", "\x1b[2m", "\x1b[0m"),
            (true, _) => ("", "\x1b[2m", "\x1b[0m"),
            (false, _) => ("", "", ""),
        };
        let said = match self.kind {
            Kind::Other => "no message",
            Kind::Error => "error",
            _ => "",
        };
        let took = self
            .took_ms
            .map(|took| format!("  ({took:.1} ms)"))
            .unwrap_or_default();
        let summary = cut(&escape_line(&self.summary));
        let parts = [method + &id, said.to_owned(), summary];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        writeln!(
            to,
            "{dim}{:>9.3} {}{behind}{end}{red}{arrow} {}{end}{dim}{took}{end}",
            self.since.as_secs_f64(),
            self.entry.session,
            parts.join("  "),
        )?;
        if full && let Some(message) = &self.entry.message {
            let value: Value = serde_json::from_str(message.get()).unwrap_or_default();
            let text = serde_json::to_string_pretty(&value).map_err(std::io::Error::other)?;
            for line in escape(&text).lines() {
                writeln!(to, "            {line}")?;
            }
        }
        Ok(())
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn member(object: &Value, path: &[&str]) -> Option<String> {
    let mut value = object;
    for name in path {
        value = value.get(name)?;
    }
    Some(match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// What a request or notification is about.
fn of_params(method: &str, params: Option<&RawValue>) -> String {
    let Some(params) = params else {
        return String::new();
    };
    let value: Value = serde_json::from_str(params.get()).unwrap_or_default();
    let parts: &[&[&str]] = match method {
        "initialize" => &[
            &["protocolVersion"],
            &["clientInfo", "name"],
            &["clientInfo", "version"],
        ],
        "server/discover" => &[
            &["_meta", "io.modelcontextprotocol/protocolVersion"],
            &["_meta", "io.modelcontextprotocol/clientInfo", "name"],
            &["_meta", "io.modelcontextprotocol/clientInfo", "version"],
        ],
        "tools/call" | "prompts/get" => &[&["name"], &["arguments"]],
        "resources/read"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "notifications/resources/updated" => &[&["uri"]],
        "notifications/progress" => &[&["progress"], &["total"], &["message"]],
        "notifications/message" => &[&["level"], &["data"]],
        "notifications/cancelled" => &[&["requestId"], &["reason"]],
        "logging/setLevel" => &[&["level"]],
        "elicitation/create" => &[&["message"]],
        _ => return without_meta(value),
    };
    let parts = parts.iter().filter_map(|path| member(&value, path));
    parts.collect::<Vec<_>>().join(" ")
}

fn without_meta(mut value: Value) -> String {
    if let Value::Object(members) = &mut value {
        members.remove("_meta");
        if members.is_empty() {
            return String::new();
        }
    }
    value.to_string()
}

fn of_error(error: &RawValue) -> String {
    let value: Value = serde_json::from_str(error.get()).unwrap_or_default();
    let parts = [member(&value, &["code"]), member(&value, &["message"])];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// What an answer holds.
fn of_result(method: Option<&str>, result: Option<&RawValue>) -> String {
    let text = result.map_or("null", RawValue::get);
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let names = |list: &str, key: &str| {
        let items = value.get(list)?.as_array()?;
        let names: Vec<String> = items
            .iter()
            .filter_map(|item| member(item, &[key]))
            .collect();
        Some(format!("{}: {}", items.len(), names.join(" ")))
    };
    let summary = match method {
        Some("initialize") => {
            let parts: [&[&str]; 3] = [
                &["protocolVersion"],
                &["serverInfo", "name"],
                &["serverInfo", "version"],
            ];
            let parts = parts.iter().filter_map(|path| member(&value, path));
            Some(parts.collect::<Vec<_>>().join(" "))
        }
        Some("server/discover") => {
            let server = "io.modelcontextprotocol/serverInfo";
            let versions = value.get("supportedVersions").and_then(Value::as_array);
            let versions = versions.into_iter().flatten().filter_map(Value::as_str);
            let versions = versions.collect::<Vec<_>>().join(", ");
            let parts: [&[&str]; 2] = [&["_meta", server, "name"], &["_meta", server, "version"]];
            let parts = parts.iter().filter_map(|path| member(&value, path));
            let parts = std::iter::once(versions).chain(parts);
            Some(parts.collect::<Vec<_>>().join(" "))
        }
        Some("tools/list") => names("tools", "name"),
        Some("prompts/list") => names("prompts", "name"),
        Some("resources/list") => names("resources", "uri"),
        Some("resources/templates/list") => names("resourceTemplates", "uriTemplate"),
        Some("tools/call") => {
            let failed = value.get("isError") == Some(&Value::Bool(true));
            let texts = value
                .get("content")
                .and_then(Value::as_array)
                .map(|blocks| {
                    let texts = blocks.iter().map(|block| {
                        member(block, &["text"])
                            .or_else(|| member(block, &["type"]).map(|kind| format!("[{kind}]")))
                            .unwrap_or_default()
                    });
                    texts.collect::<Vec<_>>().join(" ")
                });
            texts.map(|texts| match failed {
                true => format!("isError: {texts}"),
                false => texts,
            })
        }
        _ => None,
    };
    summary.unwrap_or_else(|| without_meta(value))
}
