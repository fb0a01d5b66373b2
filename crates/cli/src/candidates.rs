//! What a shell may complete at the cursor: commands, options, names of tools and of their
//! arguments. No server is started for it but a built-in one in memory; the tools of a command are
//! those that were seen last time.

use std::ffi::OsString;

use clap::CommandFactory;
use compere::Client;

use crate::args::Arguments;
use crate::remembered::{Known, recall};
use crate::target;

/// One thing that may be typed, and what it is.
pub(crate) struct Candidate {
    pub(crate) text: String,
    pub(crate) help: String,
}

impl Candidate {
    fn new(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            help: help.into(),
        }
    }
}

/// What fits at the cursor, which stands behind `cursor` characters of the line.
pub(crate) async fn candidates(line: &str, cursor: usize) -> Vec<Candidate> {
    let before: String = line.chars().take(cursor).collect();
    let (typed, current) = words(&before);
    let all = {
        let (mut all, last) = words(line);
        all.push(last);
        all
    };
    let found = Box::pin(suggest(&typed, &current, &all)).await;
    found
        .into_iter()
        .filter(|candidate| candidate.text.starts_with(&current))
        .collect()
}

async fn suggest(typed: &[String], current: &str, all: &[String]) -> Vec<Candidate> {
    let program = Arguments::command();
    // After `--` stands the command of a server, which the shell knows better.
    if typed.iter().any(|word| word == "--") {
        return Vec::new();
    }
    let rest: Vec<&str> = typed.iter().skip(1).map(String::as_str).collect();
    let named = rest.iter().position(|word| !word.starts_with('-'));
    let Some(named) = named else {
        let commands = program
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        return match current.starts_with('-') {
            true => options(&program),
            false => commands.map(command_candidate).collect(),
        };
    };
    let Some(command) = program.find_subcommand(rest[named]) else {
        return Vec::new();
    };
    let after = &rest[named + 1..];
    if let Some(previous) = after.last()
        && let Some(option) = option_with_value(command, previous)
    {
        return match option.get_id().as_str() {
            "on" => built_in_servers(),
            _ => option
                .get_possible_values()
                .iter()
                .map(|value| Candidate::new(value.get_name(), ""))
                .collect(),
        };
    }
    if current.starts_with('-') {
        return options(command);
    }
    let given = positionals(command, after);
    match command.get_name() {
        "call" => match given.first() {
            None => tool_names(all).await,
            Some(tool) => arguments(tool, &given[1..], current, all).await,
        },
        "prompt" if given.is_empty() => prompt_names(all).await,
        "serve" if given.is_empty() => command.get_subcommands().map(command_candidate).collect(),
        "completions" if given.is_empty() => ["bash", "zsh", "fish"]
            .map(|shell| Candidate::new(shell, ""))
            .into(),
        _ => Vec::new(),
    }
}

fn command_candidate(command: &clap::Command) -> Candidate {
    let help = command.get_about().map(ToString::to_string);
    Candidate::new(command.get_name(), help.unwrap_or_default())
}

fn options(command: &clap::Command) -> Vec<Candidate> {
    command
        .get_arguments()
        .filter_map(|option| {
            let help = option.get_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            let first = help.lines().next().unwrap_or_default();
            Some(Candidate::new(format!("--{}", option.get_long()?), first))
        })
        .chain([Candidate::new("--help", "Print help")])
        .collect()
}

/// The option that a word is, if a value must follow it.
fn option_with_value<'c>(command: &'c clap::Command, word: &str) -> Option<&'c clap::Arg> {
    let name = word.strip_prefix("--")?;
    command
        .get_arguments()
        .find(|option| option.get_long() == Some(name) && option.get_action().takes_values())
}

/// The words that are neither options nor values of options.
fn positionals<'w>(command: &clap::Command, words: &[&'w str]) -> Vec<&'w str> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if option_with_value(command, word).is_some() {
            words.next();
        } else if !word.starts_with('-') {
            found.push(*word);
        }
    }
    found
}

fn built_in_servers() -> Vec<Candidate> {
    vec![
        Candidate::new("everything", "Every feature of the protocol once"),
        Candidate::new("files:.", "Files below this directory"),
    ]
}

/// The server of the line: a built-in one, or a command.
enum Server {
    BuiltIn(String),
    Command(Vec<OsString>),
}

fn server(all: &[String]) -> Option<Server> {
    let named = all.iter().enumerate().find_map(|(index, word)| {
        word.strip_prefix("--on=")
            .or_else(|| (word == "--on").then(|| all.get(index + 1).map(String::as_str))?)
    });
    if let Some(name) = named {
        return Some(Server::BuiltIn(name.to_owned()));
    }
    let dashes = all.iter().position(|word| word == "--")?;
    let command: Vec<OsString> = all[dashes + 1..]
        .iter()
        .filter(|word| !word.is_empty())
        .map(OsString::from)
        .collect();
    Some(Server::Command(command))
}

async fn built_in(name: &str) -> Option<Client> {
    let server = target::parse_built_in(name).ok()?;
    Client::connect(target::built_in(&server).ok()?).await.ok()
}

async fn known(all: &[String]) -> Option<Known> {
    match server(all)? {
        Server::Command(command) => recall(&command),
        Server::BuiltIn(name) => {
            let client = built_in(&name).await?;
            Some(Known::of(&client.tools().collect().await.ok()?))
        }
    }
}

async fn tool_names(all: &[String]) -> Vec<Candidate> {
    let known = known(all).await.unwrap_or_default();
    known
        .tools
        .into_keys()
        .map(|name| Candidate::new(name, ""))
        .collect()
}

/// Names of arguments that are not given yet, or the values of the one that is being typed.
async fn arguments(tool: &str, given: &[&str], current: &str, all: &[String]) -> Vec<Candidate> {
    let known = known(all).await.unwrap_or_default();
    let Some(arguments) = known.tools.get(tool) else {
        return Vec::new();
    };
    if let Some((name, _)) = current.split_once('=') {
        let values = arguments.get(name).into_iter().flatten();
        return values
            .map(|value| Candidate::new(format!("{name}={value}"), ""))
            .collect();
    }
    let is_given = |name: &str| {
        given.iter().any(|word| {
            word.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['=', ':']))
        })
    };
    arguments
        .keys()
        .filter(|name| !is_given(name))
        .map(|name| Candidate::new(format!("{name}="), ""))
        .collect()
}

async fn prompt_names(all: &[String]) -> Vec<Candidate> {
    let Some(Server::BuiltIn(name)) = server(all) else {
        return Vec::new();
    };
    let Some(client) = built_in(&name).await else {
        return Vec::new();
    };
    let prompts = client.prompts().collect().await.unwrap_or_default();
    prompts
        .into_iter()
        .map(|prompt| Candidate::new(prompt.name, prompt.description.unwrap_or_default()))
        .collect()
}

/// The words of a line as a shell takes them apart, and the one that is still being typed.
fn words(line: &str) -> (Vec<String>, String) {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None | Some('"'), '\\') => word.extend(letters.next()),
            (None, letter) if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, letter) => word.push(letter),
        }
    }
    (words, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at(line: &str) -> Vec<String> {
        let cursor = line.find('|').unwrap();
        let line = line.replacen('|', "", 1);
        let found = candidates(&line, cursor).await;
        found.into_iter().map(|candidate| candidate.text).collect()
    }

    #[tokio::test]
    async fn commands_options_tools_and_arguments() {
        assert_eq!(at("compere to|").await, ["tools", "token"]);
        assert!(!at("compere |").await.contains(&"__complete".to_owned()));
        assert_eq!(at("compere call --sam|").await, ["--sampling"]);
        assert_eq!(at("compere call --sampling |").await, ["ask", "deny"]);
        assert_eq!(at("compere call --on ev|").await, ["everything"]);
        assert_eq!(at("compere -v serve f|").await, ["files"]);
        // The server may stand behind the cursor.
        assert_eq!(
            at("compere call read_m| --on files:.").await,
            ["read_media_file", "read_multiple_files"]
        );
        assert_eq!(
            at("compere call --on=files:. list_directory_with_sizes path=. s|").await,
            ["sortBy="]
        );
        assert_eq!(
            at("compere call edit_file --on files:. dryRun=|").await,
            ["dryRun=true", "dryRun=false"]
        );
        // What a command offers is not found out by starting it.
        assert!(at("compere call | -- touch /tmp/never").await.is_empty());
        assert!(at("compere call x -- ec|").await.is_empty());
    }

    #[test]
    fn words_as_a_shell_takes_them() {
        let (words, last) = words(r#"compere call 'a b' c\ d "e\"f" g"#);
        assert_eq!(words, ["compere", "call", "a b", "c d", "e\"f"]);
        assert_eq!(last, "g");
    }
}
