//! The terminal as a door: shows what waits, one after the other, and takes what the person says.
//!
//! What is typed within half a second after a question came up does not count, and neither does what
//! was typed before: it was meant for something else. Nothing is a yes but a word for it.

use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use compere::serde_json::Value;
use compere::text::{escape, escape_line};
use compere_host::consent::{Answer, Asking, Offered, Question, Reviewed, Reviewing, Topic};
use compere_host::door::{Connection, Order, Reply};
use rustix::termios::{QueueSelector, tcflush};

use crate::args::Keeps;
use crate::failure::Failure;
use crate::hosted;

/// What is typed so soon after a question came up was meant for something else.
const GUARD: Duration = Duration::from_millis(500);
/// Lines of a question on one screen.
const PAGE: usize = 30;

enum Event {
    /// What waits now.
    Questions(Vec<Question>),
    /// A line, and when it was finished.
    Line(Instant, String),
    /// Nothing more is typed.
    Closed,
    /// The host is gone.
    Ended(String),
}

/// Why the desk is left.
pub(crate) enum Left {
    /// The person has typed `quit`, or nothing can be typed any more.
    Person,
    /// The host is gone.
    Host(String),
}

/// Shows and asks until the person or the host leaves; with `once`, until nothing waits.
pub(crate) fn sit(keeps: &Keeps, once: bool) -> Result<Left, Failure> {
    let mut orders = hosted::reach(keeps)?;
    let mut watching = hosted::reach(keeps)?;
    let (events, happens) = channel();
    watching.give(&Order::Watch).map_err(hosted::failure)?;
    watching.be_patient().map_err(hosted::failure)?;
    let told = events.clone();
    std::thread::spawn(move || watch(watching, &told));
    std::thread::spawn(move || listen(&events));
    let mut desk = Desk {
        out: std::io::stderr(),
        questions: Vec::new(),
        shown: None,
        quiet_until: Instant::now(),
        is_quiet: false,
        skipped: Vec::new(),
        rest: Vec::new(),
    };
    desk.run(&mut orders, &happens, once)
}

fn watch(mut watching: Connection, told: &Sender<Event>) {
    loop {
        let event = match watching.next() {
            Ok(Reply::Questions(questions)) => Event::Questions(questions),
            Ok(_) => continue,
            Err(error) => Event::Ended(error.to_string()),
        };
        let ended = matches!(event, Event::Ended(_));
        if told.send(event).is_err() || ended {
            return;
        }
    }
}

fn listen(told: &Sender<Event>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if told.send(Event::Line(Instant::now(), line)).is_err() {
            return;
        }
    }
    let _ = told.send(Event::Closed);
}

struct Desk {
    out: std::io::Stderr,
    questions: Vec<Question>,
    /// The question that is on the screen.
    shown: Option<u64>,
    quiet_until: Instant,
    is_quiet: bool,
    /// Those that the person wants to decide later.
    skipped: Vec<u64>,
    /// Lines of the question that did not fit.
    rest: Vec<String>,
}

impl Desk {
    fn run(
        &mut self,
        orders: &mut Connection,
        happens: &Receiver<Event>,
        once: bool,
    ) -> Result<Left, Failure> {
        loop {
            let event = match self.is_quiet {
                false => happens.recv().map_err(|_| RecvTimeoutError::Disconnected),
                true => {
                    let left = self.quiet_until.saturating_duration_since(Instant::now());
                    happens.recv_timeout(left)
                }
            };
            match event {
                Err(RecvTimeoutError::Timeout) => {
                    // What stands half typed in the line is gone too.
                    let _ = tcflush(std::io::stdin(), QueueSelector::IFlush);
                    self.is_quiet = false;
                    self.quiet_until = Instant::now();
                    self.prompt();
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Left::Person),
                Ok(Event::Closed) => return Ok(Left::Person),
                Ok(Event::Ended(why)) => return Ok(Left::Host(why)),
                Ok(Event::Questions(questions)) => {
                    self.questions = questions;
                    self.turn_to_next(orders)?;
                    if once && self.shown.is_none() {
                        self.say("Nothing waits for you.");
                        return Ok(Left::Person);
                    }
                }
                Ok(Event::Line(at, line)) => {
                    if self.is_quiet || at < self.quiet_until {
                        continue;
                    }
                    if !self.typed(orders, line.trim())? {
                        return Ok(Left::Person);
                    }
                    if once && self.shown.is_none() {
                        return Ok(Left::Person);
                    }
                }
            }
        }
    }

    fn say(&mut self, words: &str) {
        let _ = writeln!(self.out, "{}", escape(words));
    }

    fn current(&self) -> Option<&Question> {
        let id = self.shown?;
        self.questions.iter().find(|question| question.id == id)
    }

    /// Shows the next question, unless one is on the screen that still waits.
    fn turn_to_next(&mut self, orders: &mut Connection) -> Result<(), Failure> {
        if self.current().is_some() {
            return Ok(());
        }
        if let Some(id) = self.shown.take() {
            self.rest.clear();
            let order = Order::Ended { id };
            let words = match orders.order(&order).map_err(hosted::failure)? {
                Reply::Ended(Some(how)) => format!("Question {id}: {how}."),
                _ => format!("Question {id} is over."),
            };
            self.say(&words);
        }
        let skipped = &self.skipped;
        let next = self
            .questions
            .iter()
            .find(|question| !skipped.contains(&question.id));
        let Some(next) = next.cloned() else {
            return Ok(());
        };
        self.shown = Some(next.id);
        let mut lines = shown(&next);
        self.rest = lines.split_off(lines.len().min(PAGE));
        // A sound, for whoever looks elsewhere.
        let _ = self.out.write_all(b"\x07\n");
        for line in lines {
            self.say(&line);
        }
        self.quiet_until = Instant::now() + GUARD;
        self.is_quiet = true;
        Ok(())
    }

    fn prompt(&mut self) {
        let Some(question) = self.current().cloned() else {
            return;
        };
        let choices = match (&question.topic, self.rest.is_empty()) {
            (_, false) => "there is more: [more] shows it  [no REASON]  [later]",
            (Topic::Call(_), _) => {
                "[once]  [session]  [exactly] always this  [shape] always like this  [edit JSON]  [no REASON]  [later]"
            }
            (Topic::Sampling(reviewing), _) if !reviewing.others.is_empty() => {
                "[once]  [use MODEL]  [edit JSON]  [no REASON]  [later]"
            }
            (Topic::Sampling(_), _) => "[once]  [edit JSON]  [no REASON]  [later]",
            (Topic::Launch { .. }, _) => "[yes]  [no]  [later]",
            (Topic::Definitions { .. }, _) => {
                "[yes]  [yes except NAME …]  [yes reads NAME …] these only read  [no]  [later]"
            }
        };
        let _ = write!(self.out, "{choices}\n{}> ", question.id);
        let _ = self.out.flush();
    }

    /// Takes a line; `false` if the person leaves.
    fn typed(&mut self, orders: &mut Connection, line: &str) -> Result<bool, Failure> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if matches!(word, "quit" | "q") {
            return Ok(false);
        }
        let Some(question) = self.current().cloned() else {
            return Ok(true);
        };
        if word == "later" {
            self.skipped.push(question.id);
            self.shown = None;
            self.rest.clear();
            self.turn_to_next(orders)?;
            return Ok(true);
        }
        if word == "more" && !self.rest.is_empty() {
            let after = self.rest.split_off(self.rest.len().min(PAGE));
            for line in std::mem::replace(&mut self.rest, after) {
                self.say(&line);
            }
            self.prompt();
            return Ok(true);
        }
        let answer = match answer(&question, word, rest.trim(), self.rest.is_empty()) {
            Ok(answer) => answer,
            Err(why) => {
                self.say(&why);
                self.prompt();
                return Ok(true);
            }
        };
        let fetches = matches!(question.topic, Topic::Launch { fetches: true, .. });
        let is_fetched = fetches && matches!(answer, Answer::Approve { .. });
        let order = Order::Answer {
            id: question.id,
            answer,
            door: "the terminal".to_owned(),
        };
        match orders.order(&order).map_err(hosted::failure)? {
            Reply::Refused(why) => {
                self.say(&format!("That does not count: {why}."));
                self.prompt();
            }
            _ => {
                self.say(match is_fetched {
                    true => "So be it. You are asked again when it is there.",
                    false => "So be it.",
                });
                self.shown = None;
                self.rest.clear();
                self.questions.retain(|other| other.id != question.id);
                self.turn_to_next(orders)?;
            }
        }
        Ok(true)
    }
}

/// What a line means as an answer. Whoever has not seen all of a question cannot say yes to it.
fn answer(question: &Question, word: &str, rest: &str, seen: bool) -> Result<Answer, String> {
    if matches!(word, "no" | "n" | "deny") {
        let reason = rest.to_owned();
        return Ok(Answer::Deny { reason });
    }
    if !seen {
        return Err("There is more to see first: type more.".to_owned());
    }
    let wrong = || "That is none of the answers.".to_owned();
    match &question.topic {
        Topic::Call(asking) => match word {
            "once" => Ok(Answer::Once),
            "session" => Ok(Answer::Session {
                shape: shape(asking, rest),
            }),
            "exactly" => Ok(Answer::Exactly {
                lasts: lasts(rest)?,
            }),
            "shape" => Ok(Answer::Shape {
                shape: shape(asking, rest),
                lasts: None,
            }),
            "edit" => edited(rest),
            _ => Err(wrong()),
        },
        Topic::Sampling(_) => match word {
            "once" if rest.is_empty() => Ok(Answer::Once),
            "edit" => edited(rest),
            "use" => Ok(Answer::Use {
                model: rest.to_owned(),
                arguments: None,
            }),
            _ => Err(wrong()),
        },
        Topic::Launch { digest, .. } => match (word, rest) {
            ("yes", "") => Ok(Answer::Approve {
                digest: digest.clone(),
                except: Vec::new(),
                reads: Vec::new(),
            }),
            _ => Err(wrong()),
        },
        Topic::Definitions { digest, items, .. } => {
            let (what, names) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
            let unknown = names
                .iter()
                .find(|name| !items.iter().any(|item| item.name == **name));
            if let Some(name) = unknown {
                return Err(format!("{name} is not among them."));
            }
            let (except, reads) = match (word, what) {
                ("yes", "") => (Vec::new(), Vec::new()),
                ("yes", "except") if !names.is_empty() => (names, Vec::new()),
                ("yes", "reads") if !names.is_empty() => (Vec::new(), names),
                _ => return Err(wrong()),
            };
            Ok(Answer::Approve {
                digest: digest.clone(),
                except,
                reads,
            })
        }
    }
}

fn edited(rest: &str) -> Result<Answer, String> {
    let arguments: Value = compere::serde_json::from_str(rest)
        .map_err(|error| format!("edit is followed by all of it as JSON: {error}"))?;
    Ok(Answer::Edit { arguments })
}

/// The shape that was shown, or the one that was typed.
fn shape(asking: &Asking, typed: &str) -> String {
    match typed {
        "" => asking.shape.clone(),
        typed => typed.to_owned(),
    }
}

fn lasts(typed: &str) -> Result<Option<u64>, String> {
    match typed {
        "" => Ok(None),
        typed => humantime::parse_duration(typed)
            .map(|lasts| Some(lasts.as_secs()))
            .map_err(|error| format!("exactly may be followed by a time, such as 30days: {error}")),
    }
}

/// A question, line by line. What is ours stands at the margin; what a server or an app said is
/// indented behind a bar, escaped.
fn shown(question: &Question) -> Vec<String> {
    let mut lines = Vec::new();
    match &question.topic {
        Topic::Call(asking) => call(&mut lines, question, asking),
        Topic::Launch {
            server,
            facts,
            warnings,
            changes,
            fetches,
            ..
        } => {
            let what = match fetches {
                true => "fetched",
                false => "started like this",
            };
            lines.push(format!(
                "── {} ── May the server {} be {what}?",
                question.id,
                escape_line(server)
            ));
            lines.extend(facts.iter().map(|fact| format!("   {}", escape_line(fact))));
            lines.extend(warnings.iter().map(|of| format!(" ! {}", escape_line(of))));
            if !changes.is_empty() {
                lines.push("   It is not what you approved before:".to_owned());
                for change in changes {
                    wrapped(&mut lines, &change.to_string());
                }
            }
        }
        Topic::Sampling(reviewing) => sampling(&mut lines, question, reviewing),
        Topic::Definitions { server, items, .. } => {
            lines.push(format!(
                "── {} ── The server {} offers what you have not approved. May apps and their models see it?",
                question.id,
                escape_line(server)
            ));
            for item in items {
                offered(&mut lines, item);
            }
        }
    }
    lines
}

/// One half of sampling: who says what, and then all of it as it would be sent.
fn sampling(lines: &mut Vec<String>, question: &Question, reviewing: &Reviewing) {
    let (app, server) = (escape_line(&reviewing.app), escape_line(&reviewing.server));
    let model = escape_line(&reviewing.model);
    lines.push(match reviewing.what {
        Reviewed::Prompt => format!(
            "── {} ── {server} wants to ask a model, {model}, while it works for {app}",
            question.id
        ),
        Reviewed::Answer => format!(
            "── {} ── The model {model} has answered {server}. May it see this?",
            question.id
        ),
    });
    let content = &reviewing.content;
    let text = |value: &Value| match value.get("text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => compere::serde_json::to_string_pretty(value).unwrap_or_default(),
    };
    if let Some(system) = content.get("systemPrompt").and_then(Value::as_str) {
        quoted(lines, "it tells the model first", system);
    }
    let messages = content.get("messages").and_then(Value::as_array);
    for message in messages.into_iter().flatten() {
        let role = message.get("role").and_then(Value::as_str);
        let said = text(message.get("content").unwrap_or(&Value::Null));
        quoted(lines, &escape_line(role.unwrap_or("?")), &said);
    }
    if reviewing.what == Reviewed::Answer {
        quoted(
            lines,
            "the answer",
            &text(content.get("content").unwrap_or(&Value::Null)),
        );
    }
    lines.extend(
        reviewing
            .facts
            .iter()
            .map(|fact| format!(" → {}", escape_line(fact))),
    );
    if !reviewing.others.is_empty() {
        let others: Vec<String> = reviewing.others.iter().map(|of| escape_line(of)).collect();
        lines.push(format!(" → other models of yours: {}", others.join(", ")));
    }
    lines.push("   All of it:".to_owned());
    let all = compere::serde_json::to_string_pretty(content).unwrap_or_default();
    for line in all.lines() {
        wrapped(lines, line);
    }
}

fn call(lines: &mut Vec<String>, question: &Question, asking: &Asking) {
    let waiting = match question.waiting {
        0 => ", and does not wait for it any more".to_owned(),
        1 => String::new(),
        count => format!(" ({count} times)"),
    };
    lines.push(format!(
        "── {} ── {} wants {} of {}{waiting}",
        question.id,
        escape_line(&asking.app),
        escape_line(&asking.name),
        escape_line(&asking.server),
    ));
    quoted(lines, "the server says of it", &asking.description);
    lines.push(format!("   {} with these arguments:", asking.method));
    let arguments = compere::serde_json::to_string_pretty(&asking.arguments);
    for line in arguments.unwrap_or_default().lines() {
        wrapped(lines, line);
    }
    lines.extend(
        asking
            .facts
            .iter()
            .map(|fact| format!(" → {}", escape_line(fact))),
    );
    if !asking.changes.is_empty() {
        lines.push("   Since the last one that you let through:".to_owned());
        for change in &asking.changes {
            wrapped(lines, &change.to_string());
        }
    }
    lines.push(format!(
        "   You are asked because {}.",
        escape_line(&asking.rule)
    ));
    lines.push(format!("   Its shape: {}", escape_line(&asking.shape)));
}

fn offered(lines: &mut Vec<String>, item: &Offered) {
    let state = match item.changes.is_empty() {
        true => "new",
        false => "changed",
    };
    lines.push(format!(
        "   {} {} ({state})",
        item.kind,
        escape_line(&item.name)
    ));
    for line in item.description.lines() {
        wrapped(lines, line);
    }
    lines.extend(
        item.warnings
            .iter()
            .map(|of| format!(" ! {}", escape_line(of))),
    );
    for change in &item.changes {
        wrapped(lines, &format!("was changed: {change}"));
    }
}

fn quoted(lines: &mut Vec<String>, who: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    lines.push(format!("   {who}:"));
    for line in text.lines() {
        wrapped(lines, line);
    }
}

/// A long line in several: nothing is cut.
fn wrapped(lines: &mut Vec<String>, line: &str) {
    const WIDTH: usize = 100;
    let letters: Vec<char> = escape_line(line).chars().collect();
    for piece in letters.chunks(WIDTH) {
        lines.push(format!("   │ {}", piece.iter().collect::<String>()));
    }
    if letters.is_empty() {
        lines.push("   │".to_owned());
    }
}
