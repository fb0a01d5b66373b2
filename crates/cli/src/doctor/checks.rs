//! The questions that are put to a server.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compere::model::UriTemplate;
use compere::proto::Revision;
use compere::serde_json::{Value, json};

use crate::doctor::report::{Level, Report};
use crate::doctor::stateless;
use crate::doctor::talk::{Answer, Talk};
use crate::doctor::wire::Wire;
use crate::failure::Failure;

/// The most pages of a list.
const PAGES: usize = 100;
/// How many resources and prompts are tried.
const TRIED: usize = 3;
/// How long a server may take to end once its input has ended.
pub(crate) const EXIT_WAIT: Duration = Duration::from_secs(3);
/// How long is listened for what comes unasked.
const LISTENING: Duration = Duration::from_millis(300);
const INVALID_PARAMS: i64 = -32602;
const METHOD_NOT_FOUND: i64 = -32601;
const RESOURCE_NOT_FOUND: i64 = -32002;

/// Puts all questions. `open` starts the server; it is started several times, since some questions
/// may end it.
pub(crate) async fn examine(
    mut open: impl AsyncFnMut() -> Result<Wire, Failure>,
    patience: Duration,
    mut said: impl FnMut(&str),
) -> Result<Report, Failure> {
    let mut report = Report::default();
    said("requests without a session");
    let mut talk = Talk::new(open().await?, &mut report, patience);
    let modern = stateless::examine(&mut talk).await;
    talk.close().await;
    said("handshake and features");
    let mut talk = Talk::new(open().await?, &mut report, patience);
    if handshake(&mut talk, modern.is_some()).await {
        features(&mut talk).await;
        talk.listen(LISTENING).await;
    }
    let gone = talk.is_gone();
    let took = talk.close().await;
    if !gone {
        let patient = took < EXIT_WAIT;
        let what = "does not end when its input ends; it had to be told with a signal";
        report.check(patient, Level::Should, "A-LIFE-19", what, &[]);
    }
    let has_sessions = !report.protocol_version.is_empty();
    if let Some(server) = modern {
        if has_sessions {
            report.protocol_version.push_str(" and ");
        } else {
            report.server = server;
        }
        report.protocol_version.push_str(stateless::VERSION);
    }
    if !has_sessions {
        return Ok(report);
    }
    said("a version that nobody knows");
    let mut talk = Talk::new(open().await?, &mut report, patience);
    unknown_version(&mut talk).await;
    talk.close().await;
    said("odd messages");
    let mut talk = Talk::new(open().await?, &mut report, patience);
    odd_messages(&mut talk).await;
    talk.close().await;
    Ok(report)
}

fn initialize(version: &str) -> Value {
    json!({
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "compere-doctor", "version": env!("CARGO_PKG_VERSION")},
    })
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn capabilities(answer: &Answer) -> Value {
    let result = answer.result().cloned().unwrap_or_default();
    result["capabilities"].clone()
}

/// Whether there is anyone to talk to. A server of the stateless era need not know sessions.
async fn handshake(talk: &mut Talk<'_>, is_modern: bool) -> bool {
    let asked = Revision::V2024_11_05.as_str();
    let answer = talk.ask("initialize", initialize(asked)).await;
    if is_modern && answer.code().is_some() {
        return false;
    }
    let Some(result) = answer.result() else {
        let what = "does not answer initialize with a result";
        talk.report
            .broken(Level::Must, "A-LIFE-03", what, answer.line());
        return false;
    };
    let version = result["protocolVersion"].as_str().unwrap_or_default();
    let info = &result["serverInfo"];
    let (name, number) = (info["name"].as_str(), info["version"].as_str());
    talk.report.protocol_version = version.to_owned();
    talk.report.server = format!("{} {}", name.unwrap_or("?"), number.unwrap_or("?"));
    let complete = !version.is_empty()
        && result["capabilities"].is_object()
        && name.is_some()
        && number.is_some();
    talk.report.check(
        complete,
        Level::Must,
        "A-LIFE-03",
        "answers initialize without protocolVersion, capabilities, or serverInfo with name and \
         version",
        answer.line(),
    );
    let known = version.parse::<Revision>().is_ok();
    let what = format!("answers with the version {version:?}, which does not exist");
    talk.report
        .check(known, Level::Must, "A-LIFE-10", what, answer.line());
    talk.capabilities = capabilities(&answer);
    // What comes before the client is ready.
    talk.listen(LISTENING).await;
    talk.report.held("A-LIFE-06");
    talk.send_line(INITIALIZED.as_bytes()).await;
    talk.initialized = true;
    let ping = talk.ask("ping", Value::Null).await;
    if !matches!(ping, Answer::None) {
        let empty = ping
            .result()
            .and_then(Value::as_object)
            .is_some_and(|result| result.keys().all(|key| key == "_meta"));
        let what = "answers ping with something else than an empty result";
        talk.report
            .check(empty, Level::Must, "A-PING-01", what, ping.line());
    }
    !talk.is_gone()
}

async fn features(talk: &mut Talk<'_>) {
    let tools = list(talk, "tools", "tools/list", "A-TOOL-05").await;
    check_tools(talk, &tools);
    let prompts = list(talk, "prompts", "prompts/list", "A-PROM-01").await;
    let resources = list(talk, "resources", "resources/list", "A-RES-01").await;
    let templates = match declares(talk, "resources") {
        true => list(talk, "resources", "resources/templates/list", "A-RES-01").await,
        false => Vec::new(),
    };
    check_names(talk, "schema Prompt", "prompts", "name", &prompts);
    check_names(talk, "schema Resource", "resources", "uri", &resources);
    check_templates(talk, &templates);
    if declares(talk, "tools") {
        unknown_tool(talk).await;
    }
    if declares(talk, "prompts") {
        try_prompts(talk, &prompts).await;
    }
    if declares(talk, "resources") {
        try_resources(talk, &resources).await;
    }
    logging(talk).await;
    completion(talk, &prompts).await;
}

fn declares(talk: &Talk<'_>, feature: &str) -> bool {
    talk.capabilities.get(feature).is_some_and(Value::is_object)
}

/// All entries of a list. One that is not declared must not be there.
async fn list(
    talk: &mut Talk<'_>,
    feature: &'static str,
    method: &'static str,
    declared_by: &'static str,
) -> Vec<Value> {
    let member = match method {
        "resources/templates/list" => "resourceTemplates",
        _ => feature,
    };
    let declared = declares(talk, feature);
    let mut entries = Vec::new();
    let mut cursors = BTreeSet::new();
    let mut cursor = Value::Null;
    for _ in 0..PAGES {
        let params = match &cursor {
            Value::Null => Value::Null,
            cursor => json!({"cursor": cursor}),
        };
        let answer = talk.ask(method, params).await;
        let Some(result) = answer.result() else {
            if declared && !matches!(answer, Answer::None) {
                let what = format!("declares {feature} and refuses {method}");
                talk.report
                    .broken(Level::Must, "A-ARCH-10", what, answer.line());
            }
            return entries;
        };
        let what = format!("answers {method} without declaring {feature}");
        talk.report
            .check(declared, Level::Must, declared_by, what, answer.line());
        let Some(page) = result[member].as_array() else {
            let what = format!("answers {method} without a list {member:?}");
            talk.report
                .broken(Level::Must, "schema Result", what, answer.line());
            return entries;
        };
        entries.extend(page.iter().cloned());
        match &result["nextCursor"] {
            Value::Null => {
                talk.report.held("A-PAGE-02");
                invalid_cursor(talk, method, declared).await;
                return entries;
            }
            next => {
                if !cursors.insert(next.to_string()) {
                    let what = format!("{method} leads in a circle: a cursor comes again");
                    talk.report
                        .broken(Level::Should, "A-PAGE-03", what, answer.line());
                    return entries;
                }
                cursor = next.clone();
            }
        }
    }
    let what = format!("{method} has more than {PAGES} pages");
    talk.report.broken(Level::Should, "A-PAGE-02", what, &[]);
    entries
}

async fn invalid_cursor(talk: &mut Talk<'_>, method: &str, declared: bool) {
    if !declared {
        return;
    }
    let params = json!({"cursor": "compere-doctor-made-this-up"});
    let answer = talk.ask(method, params).await;
    if matches!(answer, Answer::None) {
        return;
    }
    let refused = answer.code() == Some(INVALID_PARAMS);
    let what = format!("does not refuse a made-up cursor of {method} with -32602");
    talk.report
        .check(refused, Level::Should, "A-PAGE-10", what, answer.line());
}

fn check_tools(talk: &mut Talk<'_>, tools: &[Value]) {
    check_names(talk, "schema Tool", "tools", "name", tools);
    for tool in tools {
        let object = tool["inputSchema"]["type"] == "object";
        let what = format!(
            "has a tool {} whose inputSchema is no schema of an object",
            tool["name"]
        );
        let shown = tool.to_string();
        talk.report
            .check(object, Level::Must, "schema Tool", what, shown.as_bytes());
    }
}

/// Each entry has a name, and none has the name of another.
fn check_names(
    talk: &mut Talk<'_>,
    requirement: &'static str,
    what: &str,
    member: &str,
    entries: &[Value],
) {
    let mut names = BTreeSet::new();
    for entry in entries {
        let shown = entry.to_string();
        let name = entry[member].as_str().unwrap_or_default();
        if name.is_empty() {
            let what = format!("lists {what} without {member:?}");
            talk.report
                .broken(Level::Must, requirement, what, shown.as_bytes());
        } else if !names.insert(name.to_owned()) {
            let what = format!("lists {what} of which two have the {member} {name:?}");
            talk.report
                .broken(Level::Should, "A-PAGE-02", what, shown.as_bytes());
        } else {
            talk.report.held(requirement);
        }
        if member == "uri" && !name.is_empty() {
            let scheme = name.split_once(':').is_some_and(|(scheme, _)| {
                scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            });
            let what = format!("lists a resource whose URI {name:?} is none");
            talk.report
                .check(scheme, Level::Must, "A-RES-14", what, shown.as_bytes());
        }
    }
}

fn check_templates(talk: &mut Talk<'_>, templates: &[Value]) {
    for template in templates {
        let text = template["uriTemplate"].as_str().unwrap_or_default();
        let good = !text.is_empty() && UriTemplate::parse(text).is_ok();
        let what = format!("lists a template {text:?} that RFC 6570 does not know");
        let shown = template.to_string();
        talk.report.check(
            good,
            Level::Must,
            "schema ResourceTemplate",
            what,
            shown.as_bytes(),
        );
    }
}

async fn unknown_tool(talk: &mut Talk<'_>) {
    let params = json!({"name": "compere-doctor-made-this-up", "arguments": {}});
    let answer = talk.ask("tools/call", params).await;
    let what = match &answer {
        Answer::None => return,
        Answer::Error { .. } => return talk.report.held("A-TOOL-09"),
        Answer::Result(result, _) if result["isError"] == true => {
            "reports an unknown tool in a result instead of an error"
        }
        Answer::Result(..) => "answers the call of a tool that does not exist as if it had worked",
    };
    talk.report
        .broken(Level::Should, "A-TOOL-09", what, answer.line());
}

async fn try_prompts(talk: &mut Talk<'_>, prompts: &[Value]) {
    let params = json!({"name": "compere-doctor-made-this-up"});
    let answer = talk.ask("prompts/get", params).await;
    if !matches!(answer, Answer::None) {
        let refused = answer.code() == Some(INVALID_PARAMS);
        let what = "does not refuse an unknown prompt with -32602";
        talk.report
            .check(refused, Level::Should, "A-PROM-09", what, answer.line());
    }
    for prompt in prompts.iter().take(TRIED) {
        let arguments = prompt["arguments"].as_array().into_iter().flatten();
        let needs = arguments
            .clone()
            .any(|argument| argument["required"] == true);
        let answer = talk
            .ask("prompts/get", json!({"name": prompt["name"]}))
            .await;
        let name = &prompt["name"];
        match (&answer, needs) {
            (Answer::None, _) => {}
            (_, true) => {
                let refused = answer.code() == Some(INVALID_PARAMS);
                let what =
                    format!("does not refuse the prompt {name} without its arguments with -32602");
                talk.report
                    .check(refused, Level::Should, "A-PROM-10", what, answer.line());
            }
            (Answer::Result(result, line), false) => {
                let messages = result["messages"].as_array();
                let good = messages.is_some_and(|messages| {
                    messages.iter().all(|message| {
                        let role = message["role"].as_str().unwrap_or_default();
                        matches!(role, "user" | "assistant") && message["content"].is_object()
                    })
                });
                let what =
                    format!("gives the prompt {name} without messages of a role and a content");
                talk.report
                    .check(good, Level::Must, "schema PromptMessage", what, line);
            }
            (Answer::Error { .. }, false) => {}
        }
    }
}

async fn try_resources(talk: &mut Talk<'_>, resources: &[Value]) {
    let made_up = "compere-doctor://made/this/up";
    let answer = talk.ask("resources/read", json!({"uri": made_up})).await;
    if !matches!(answer, Answer::None) {
        let refused = answer.code() == Some(RESOURCE_NOT_FOUND);
        let what = "does not refuse an unknown resource with -32002";
        talk.report
            .check(refused, Level::Should, "A-RES-12", what, answer.line());
    }
    for resource in resources.iter().take(TRIED) {
        let uri = &resource["uri"];
        let answer = talk.ask("resources/read", json!({"uri": uri})).await;
        let Answer::Result(result, line) = answer else {
            continue;
        };
        let contents = result["contents"].as_array();
        let good = contents.is_some_and(|contents| {
            contents.iter().all(|contents| {
                contents["uri"].is_string()
                    && (contents["text"].is_string() != contents["blob"].is_string())
            })
        });
        let what = format!("gives the resource {uri} without contents of a URI and text or blob");
        talk.report
            .check(good, Level::Must, "schema ResourceContents", what, &line);
        let blobs = contents.into_iter().flatten();
        for blob in blobs.filter_map(|contents| contents["blob"].as_str()) {
            let good = STANDARD.decode(blob).is_ok();
            let what = format!("gives the resource {uri} with a blob that is no base64");
            talk.report
                .check(good, Level::Must, "A-RES-16", what, &line);
        }
    }
    let subscribes = talk.capabilities["resources"]["subscribe"] == true;
    if let (true, Some(resource)) = (subscribes, resources.first()) {
        let uri = resource["uri"].as_str().unwrap_or_default().to_owned();
        talk.subscribed.insert(uri.clone());
        for method in ["resources/subscribe", "resources/unsubscribe"] {
            let answer = talk.ask(method, json!({"uri": uri})).await;
            if !matches!(answer, Answer::None) {
                let what = format!("declares subscriptions and refuses {method}");
                let done = answer.result().is_some();
                talk.report
                    .check(done, Level::Must, "A-ARCH-10", what, answer.line());
            }
        }
        talk.subscribed.remove(&uri);
    }
}

async fn logging(talk: &mut Talk<'_>) {
    let declared = declares(talk, "logging");
    let level = match declared {
        true => "compere-doctor",
        false => "error",
    };
    let answer = talk.ask("logging/setLevel", json!({"level": level})).await;
    if matches!(answer, Answer::None) {
        return;
    }
    if declared {
        let refused = answer.code() == Some(INVALID_PARAMS);
        let what = "does not refuse a made-up log level with -32602";
        talk.report
            .check(refused, Level::Should, "A-LOG-05", what, answer.line());
        let answer = talk
            .ask("logging/setLevel", json!({"level": "error"}))
            .await;
        let done = answer.result().is_some();
        let what = "declares logging and refuses a log level";
        talk.report
            .check(done, Level::Must, "A-ARCH-10", what, answer.line());
    } else {
        let hidden = answer.result().is_none();
        let what = "takes a log level without declaring logging";
        talk.report
            .check(hidden, Level::Must, "A-ARCH-10", what, answer.line());
    }
}

async fn completion(talk: &mut Talk<'_>, prompts: &[Value]) {
    let argument = prompts.iter().find_map(|prompt| {
        let argument = prompt["arguments"].as_array()?.first()?;
        Some((prompt["name"].clone(), argument["name"].clone()))
    });
    let Some((prompt, argument)) = argument else {
        return;
    };
    let params = json!({
        "ref": {"type": "ref/prompt", "name": prompt},
        "argument": {"name": argument, "value": ""},
    });
    let answer = talk.ask("completion/complete", params).await;
    if let Some(result) = answer.result() {
        let values = result["completion"]["values"].as_array();
        let good =
            values.is_some_and(|values| values.len() <= 100 && values.iter().all(Value::is_string));
        let what = "suggests more than 100 values, or what is no text";
        talk.report
            .check(good, Level::Must, "A-COMP-01", what, answer.line());
    }
}

async fn unknown_version(talk: &mut Talk<'_>) {
    let answer = talk.ask("initialize", initialize("2099-12-31")).await;
    if matches!(answer, Answer::None) {
        return;
    }
    talk.capabilities = capabilities(&answer);
    let version = answer.result().map(|result| &result["protocolVersion"]);
    let known = version
        .and_then(Value::as_str)
        .is_some_and(|version| version.parse::<Revision>().is_ok());
    let what = "does not answer a version that it cannot know with one of its own";
    talk.report
        .check(known, Level::Must, "A-LIFE-10", what, answer.line());
}

async fn odd_messages(talk: &mut Talk<'_>) {
    let answer = talk
        .ask("initialize", initialize(Revision::V2024_11_05.as_str()))
        .await;
    talk.capabilities = capabilities(&answer);
    talk.send_line(INITIALIZED.as_bytes()).await;
    talk.initialized = true;
    let answer = talk.ask("compere/made-this-up", Value::Null).await;
    if !matches!(answer, Answer::None) {
        let refused = answer.code() == Some(METHOD_NOT_FOUND);
        let what = "does not refuse an unknown method with -32601";
        talk.report
            .check(refused, Level::Must, "A-BASE-01", what, answer.line());
    }
    for id in [json!("α-1"), json!(0), json!(9_007_199_254_740_991_i64)] {
        talk.ask_as(id, "ping", Value::Null).await;
    }
    // None of these may be answered, and none may hurt.
    for notification in [
        json!({"jsonrpc": "2.0", "method": "notifications/compere-made-this-up"}),
        json!({
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": "nobody", "reason": "a test"},
        }),
    ] {
        talk.send(&notification).await;
    }
    talk.listen(LISTENING).await;
    let alive = talk.ask("ping", Value::Null).await;
    let fine = !matches!(alive, Answer::None);
    let what = "does not live on after a notification that it does not know";
    talk.report
        .check(fine, Level::Should, "A-CANC-15", what, &[]);
    talk.sent_garbage = true;
    talk.send_line(b"{\"jsonrpc\": \"2.0\", this is no JSON")
        .await;
    let alive = talk.ask("ping", Value::Null).await;
    let fine = !matches!(alive, Answer::None);
    let what = "does not live on after a line that is no JSON";
    talk.report
        .check(fine, Level::Should, "A-BASE-05", what, &[]);
}
