//! What stands for something else in a value, and what comes in its place: `${…}`, by the rules of the
//! file's own dialect.
//!
//! What comes in is never looked through again. What cannot be resolved is reported, whatever the
//! dialect puts in its place: a server is not started with a hole in its command.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::Dialect;

/// What values can come from.
pub struct Surroundings<'a> {
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// What a person answered to an input of the file.
    pub input: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file that holds a secret, without its last line end.
    pub file: &'a dyn Fn(&str) -> Option<String>,
    /// A secret that the person keeps by this name.
    pub secret: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that the file belongs to.
    pub workspace: Option<&'a Path>,
    /// The home of the person.
    pub home: Option<&'a Path>,
}

/// A value with everything in its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The value.
    pub text: String,
    /// What could not be resolved.
    pub unresolved: Vec<Unresolved>,
}

/// Something that stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unresolved {
    /// A variable of the environment that is not set.
    Variable(String),
    /// An input that nobody answered yet.
    Input(String),
    /// A file that cannot be read, or may be written by others.
    File(String),
    /// A secret that is not kept.
    Secret(String),
    /// It needs a folder that is open.
    Workspace,
    /// It needs a home.
    Home,
    /// The app knows more of these than we do.
    Unknown(String),
}

/// What becomes of one `${…}`.
enum Found {
    /// This comes in its place.
    Text(String),
    /// It is none, and stays.
    Plain,
    /// It stands for nothing: it is reported, and stays.
    Stays(Unresolved),
    /// It stands for nothing: it is reported, and nothing comes in its place.
    Vanishes(Unresolved),
}

/// Strings longer than this are not looked through by Visual Studio's rules.
const LONGEST: usize = 1_000;

/// Puts everything in its place.
pub fn expand(dialect: Dialect, text: &str, surroundings: &Surroundings<'_>) -> Expanded {
    let mut expanded = Expanded::default();
    if matches!(dialect, Dialect::Gemini | Dialect::OpenCode) {
        return expand(Dialect::Compere, &translate(dialect, text), surroundings);
    }
    let untouched = is_untouched(dialect, text);
    let mut rest = text;
    while let Some(start) = rest.find("${").filter(|_| !untouched) {
        let (before, from) = rest.split_at(start);
        // In our own file a dollar before it takes its meaning.
        if dialect == Dialect::Compere
            && let Some(before) = before.strip_suffix('$')
        {
            expanded.text.push_str(before);
            expanded.text.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        expanded.text.push_str(before);
        let inner = from.get(2..).unwrap_or_default();
        let Some(end) = end(dialect, inner) else {
            rest = from;
            break;
        };
        let (inner, after) = inner.split_at(end);
        let whole = from.get(..end + 3).unwrap_or_default();
        rest = after.get(1..).unwrap_or_default();
        match resolve(dialect, inner, surroundings) {
            Found::Text(text) => expanded.text.push_str(&text),
            Found::Plain => expanded.text.push_str(whole),
            Found::Stays(what) => {
                expanded.text.push_str(whole);
                expanded.report(what);
            }
            Found::Vanishes(what) => expanded.report(what),
        }
    }
    expanded.text.push_str(rest);
    expanded
}

impl Expanded {
    fn report(&mut self, what: Unresolved) {
        if !self.unresolved.contains(&what) {
            self.unresolved.push(what);
        }
    }
}

/// Where the closing brace stands. A default may hold braces of its own in Visual Studio's rules.
fn end(dialect: Dialect, inner: &str) -> Option<usize> {
    if dialect != Dialect::VisualStudio {
        return inner.find('}');
    }
    let mut open = 0_usize;
    for (place, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(place),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn resolve(dialect: Dialect, inner: &str, surroundings: &Surroundings<'_>) -> Found {
    match dialect {
        Dialect::ClaudeDesktop
        | Dialect::Codex
        | Dialect::Zed
        | Dialect::Goose
        | Dialect::Gemini
        | Dialect::OpenCode => Found::Plain,
        Dialect::Windsurf => windsurf(inner, surroundings),
        Dialect::ClaudeCode | Dialect::VisualStudio => shell_like(inner, surroundings),
        Dialect::Cursor | Dialect::VsCode => {
            if let Some(name) = inner.strip_prefix("env:") {
                let unset = Unresolved::Variable(name.to_owned());
                return match (surroundings.variable)(name) {
                    Some(value) => Found::Text(value),
                    None if dialect == Dialect::VsCode => Found::Vanishes(unset),
                    None => Found::Stays(unset),
                };
            }
            if let Some(id) = inner.strip_prefix("input:")
                && dialect == Dialect::VsCode
            {
                return match (surroundings.input)(id) {
                    Some(value) => Found::Text(value),
                    None => Found::Stays(Unresolved::Input(id.to_owned())),
                };
            }
            folders(inner, surroundings)
        }
        Dialect::Compere => ours(inner, surroundings),
    }
}

/// `VAR` and `VAR:-default`.
fn shell_like(inner: &str, surroundings: &Surroundings<'_>) -> Found {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Found::Plain;
    }
    match ((surroundings.variable)(name), default) {
        // One that is set to nothing is set.
        (Some(value), _) => Found::Text(value),
        (None, Some(default)) => Found::Text(default.to_owned()),
        (None, None) => Found::Stays(Unresolved::Variable(name.to_owned())),
    }
}

/// The variables of editors.
fn folders(inner: &str, surroundings: &Surroundings<'_>) -> Found {
    let path = |path: Option<&Path>, without: Unresolved| match path {
        Some(path) => Found::Text(path.to_string_lossy().into_owned()),
        None => Found::Stays(without),
    };
    match inner {
        "workspaceFolder" => path(surroundings.workspace, Unresolved::Workspace),
        "workspaceFolderBasename" => {
            let name = surroundings.workspace.and_then(Path::file_name);
            path(name.map(Path::new), Unresolved::Workspace)
        }
        "userHome" => path(surroundings.home, Unresolved::Home),
        "pathSeparator" | "/" => Found::Text(std::path::MAIN_SEPARATOR.to_string()),
        other => Found::Stays(Unresolved::Unknown(other.to_owned())),
    }
}

/// Ours: everything says what it is, and what is not there is never made up.
fn ours(inner: &str, surroundings: &Surroundings<'_>) -> Found {
    if let Some(variable) = inner.strip_prefix("env:") {
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        return match ((surroundings.variable)(name), default) {
            (Some(value), _) => Found::Text(value),
            (None, Some(default)) => Found::Text(unescaped(default)),
            (None, None) => Found::Stays(Unresolved::Variable(name.to_owned())),
        };
    }
    if let Some(id) = inner.strip_prefix("input:") {
        return match (surroundings.input)(id) {
            Some(value) => Found::Text(value),
            None => Found::Stays(Unresolved::Input(id.to_owned())),
        };
    }
    if let Some(file) = inner.strip_prefix("file:") {
        return match (surroundings.file)(file) {
            Some(value) => Found::Text(value),
            None => Found::Stays(Unresolved::File(file.to_owned())),
        };
    }
    if let Some(name) = inner.strip_prefix("secret:") {
        return match (surroundings.secret)(name) {
            Some(value) => Found::Text(value),
            None => Found::Stays(Unresolved::Secret(name.to_owned())),
        };
    }
    match inner {
        // For what would otherwise take the meaning of what follows it.
        "dollar" => Found::Text("$".to_owned()),
        "workspaceName" => folders("workspaceFolderBasename", surroundings),
        "workspace" => folders("workspaceFolder", surroundings),
        "home" => folders("userHome", surroundings),
        other => Found::Stays(Unresolved::Unknown(other.to_owned())),
    }
}

/// The same value in our own rules: it means here what it means there, where it means anything.
pub fn translate(dialect: Dialect, text: &str) -> String {
    if dialect == Dialect::Compere {
        return text.to_owned();
    }
    match dialect {
        Dialect::Gemini => return gemini(text),
        Dialect::OpenCode => return opencode(text),
        _ => {}
    }
    let untouched = is_untouched(dialect, text);
    let mut translated = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        translated.push_str(before);
        let inner = from.get(2..).unwrap_or_default();
        let end = end(dialect, inner).filter(|_| !untouched);
        let Some((end, ours)) = end.and_then(|end| {
            let inner = inner.get(..end)?;
            Some((end, in_ours(dialect, inner)?))
        }) else {
            translated.push_str("$${");
            rest = inner;
            continue;
        };
        // A dollar that stands before it must not take its meaning.
        let plain = before.trim_end_matches('$').len();
        for _ in plain..before.len() {
            translated.pop();
        }
        translated.push_str(&"${dollar}".repeat(before.len() - plain));
        translated.push_str(&ours);
        rest = inner.get(end + 1..).unwrap_or_default();
    }
    translated.push_str(rest);
    translated
}

/// Does an app leave the text as it is?
fn is_untouched(dialect: Dialect, text: &str) -> bool {
    match dialect {
        Dialect::ClaudeDesktop | Dialect::Codex | Dialect::Zed | Dialect::Goose => true,
        Dialect::VisualStudio => text.chars().count() > LONGEST,
        _ => false,
    }
}

/// `env:VAR` and `file:path`.
fn windsurf(inner: &str, surroundings: &Surroundings<'_>) -> Found {
    let (value, missing) = match inner.split_once(':') {
        Some(("env", name)) => (
            (surroundings.variable)(name),
            Unresolved::Variable(name.to_owned()),
        ),
        Some(("file", path)) => ((surroundings.file)(path), Unresolved::File(path.to_owned())),
        _ => (None, Unresolved::Unknown(inner.to_owned())),
    };
    match value {
        Some(value) => Found::Text(value),
        None => Found::Stays(missing),
    }
}

/// A text that means itself, in our own rules.
pub(crate) fn plain(text: &str) -> String {
    translate(Dialect::ClaudeDesktop, text)
}

/// `$VAR`, `${VAR}` and `%VAR%`.
fn gemini(text: &str) -> String {
    let mut translated = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['$', '%']) {
        let (before, from) = rest.split_at(start);
        translated.push_str(&plain(before));
        let inner = from.get(1..).unwrap_or_default();
        let name_of = |text: &str| -> usize {
            let ends = |sign: char| !(sign.is_ascii_alphanumeric() || sign == '_');
            text.find(ends).unwrap_or(text.len())
        };
        let found = if from.starts_with('%') {
            let length = name_of(inner);
            let name = inner.get(..length).filter(|name| is_name(name));
            name.filter(|_| {
                inner
                    .get(length..)
                    .is_some_and(|rest| rest.starts_with('%'))
            })
            .map(|name| (name, length + 2))
        } else if let Some(braced) = inner.strip_prefix('{') {
            let end = braced.find('}');
            let name = end.and_then(|end| braced.get(..end));
            name.filter(|name| is_name(name))
                .map(|name| (name, name.len() + 3))
        } else {
            let name = inner.get(..name_of(inner)).filter(|name| is_name(name));
            name.map(|name| (name, name.len() + 1))
        };
        match found {
            Some((name, length)) => {
                let _ = write!(translated, "${{env:{name}}}");
                rest = from.get(length..).unwrap_or_default();
            }
            None => {
                // It must not take the meaning of what follows it.
                match from.starts_with('$') {
                    true => translated.push_str("${dollar}"),
                    false => translated.push('%'),
                }
                rest = inner;
            }
        }
    }
    translated.push_str(&plain(rest));
    translated
}

/// `{env:VAR}` and `{file:path}`.
fn opencode(text: &str) -> String {
    let mut translated = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        let inner = from.get(1..).unwrap_or_default();
        let known = inner.starts_with("env:") || inner.starts_with("file:");
        let end = inner.find('}').filter(|_| known);
        let named = end.and_then(|end| inner.get(..end));
        match named.filter(|named| !named.contains(":-") && !named.contains('$')) {
            Some(named) => {
                // A dollar before it is one.
                let bare = before.trim_end_matches('$');
                translated.push_str(&plain(bare));
                translated.push_str(&"${dollar}".repeat(before.len() - bare.len()));
                let _ = write!(translated, "${{{named}}}");
                rest = inner.get(named.len() + 1..).unwrap_or_default();
            }
            None => {
                let until = from.get(..1).unwrap_or_default();
                translated.push_str(&plain(&format!("{before}{until}")));
                rest = inner;
            }
        }
    }
    translated.push_str(&plain(rest));
    translated
}

/// What stands for the same in our own file; `None` if it stands for itself.
fn in_ours(dialect: Dialect, inner: &str) -> Option<String> {
    match dialect {
        Dialect::Compere
        | Dialect::ClaudeDesktop
        | Dialect::Codex
        | Dialect::Zed
        | Dialect::Goose
        | Dialect::Gemini
        | Dialect::OpenCode => None,
        Dialect::Windsurf => Some(match inner {
            known if known.starts_with("env:") && !known.contains(":-") => format!("${{{known}}}"),
            known if known.starts_with("file:") => format!("${{{known}}}"),
            other => format!("${{unknown:{other}}}"),
        }),
        Dialect::ClaudeCode | Dialect::VisualStudio => {
            let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
            is_name(name).then(|| match inner.split_once(":-") {
                Some((_, default)) => format!("${{env:{name}:-{}}}", escaped(default)),
                None => format!("${{env:{name}}}"),
            })
        }
        Dialect::Cursor | Dialect::VsCode => Some(match inner {
            "workspaceFolder" => "${workspace}".to_owned(),
            "workspaceFolderBasename" => "${workspaceName}".to_owned(),
            "userHome" => "${home}".to_owned(),
            "pathSeparator" | "/" => std::path::MAIN_SEPARATOR.to_string(),
            other => {
                let inputs = dialect == Dialect::VsCode && other.starts_with("input:");
                match inputs || other.starts_with("env:") {
                    // In our rules a variable may have a default.
                    true if other.contains(":-") => format!("${{unknown:{other}}}"),
                    true => format!("${{{other}}}"),
                    // What means nothing there must not come to mean something here.
                    false => format!("${{unknown:{other}}}"),
                }
            }
        }),
    }
}

/// A default, with what would end it made plain.
fn escaped(default: &str) -> String {
    default.replace('%', "%25").replace('}', "%7D")
}

fn unescaped(default: &str) -> String {
    default.replace("%7D", "}").replace("%25", "%")
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name} is not set"),
            Self::Input(id) => write!(f, "the input {id} has no answer yet"),
            Self::File(path) => write!(f, "the file {path} cannot be read, or is not yours alone"),
            Self::Secret(name) => write!(f, "there is no secret {name}"),
            Self::Workspace => f.write_str("no folder is open"),
            Self::Home => f.write_str("there is no home directory"),
            Self::Unknown(name) => write!(f, "${{{name}}} is not known here"),
        }
    }
}
