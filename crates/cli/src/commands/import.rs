//! `compere import`: the servers that a person has in the files of other apps, and what it would take
//! to have them in ours. Nothing is changed without a yes.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use compere::serde_json::{Value, json};
use compere::text::escape_line;
use compere_host::config::import::{Plan, Planned, plan};
use compere_host::config::places::Folders;
use compere_host::config::read::FILE_BYTES;
use compere_host::config::write::with_servers;
use compere_host::config::{Dialect, Entry, Launch, Place, Read, Scope, places, read};

use compere_host::files::{create, replace};

use crate::args::Import;
use crate::failure::Failure;
use crate::output;
use crate::person::Person;
use crate::progress::ProgressLine;

/// A file that is there, and what it says.
struct Seen {
    place: Place,
    read: Read,
}

pub(crate) async fn run(import: Import) -> Result<ExitCode, Failure> {
    let home = std::env::home_dir();
    let config = settings();
    let claude = folder("CLAUDE_CONFIG_DIR");
    let codex = folder("CODEX_HOME");
    let workspace = import
        .workspace
        .canonicalize()
        .map_err(|error| Failure::usage(format!("{}: {error}", import.workspace.display())))?;
    let own = match import.to {
        Some(own) => own,
        None => own_file().map_err(|failure| failure.hint("Name a file with --to FILE."))?,
    };
    let places = places(&Folders {
        home: home.as_deref(),
        config: config.as_deref(),
        workspace: Some(&workspace),
        claude: claude.as_deref(),
        codex: codex.as_deref(),
    });
    let seen = look(places, &own, &workspace)?;
    let text = text_of(&own)?.unwrap_or_default();
    let place = Place {
        dialect: Dialect::Compere,
        scope: Scope::User,
        path: own.clone(),
    };
    let ours = read(&text, &place, None);
    if let Some(fault) = ours.faults.iter().find(|fault| fault.server.is_none()) {
        return Err(Failure::usage(format!("{}: {fault}", own.display())));
    }
    let found: Vec<(Place, Vec<Entry>)> = seen
        .iter()
        .map(|seen| (seen.place.clone(), seen.read.entries.clone()))
        .collect();
    let beside = own.parent().unwrap_or(Path::new(".")).to_owned();
    let kept = |file: &str| text_of(&beside.join(file)).ok().flatten();
    // Not what the person's own things or settings lie in: it is named too easily.
    let home = std::env::home_dir();
    let is_folder = |text: &str| {
        let path = Path::new(text);
        let holds = |other: &Path| other.starts_with(path);
        path.is_absolute()
            && path.is_dir()
            && !home.as_deref().is_some_and(holds)
            && !holds(&beside)
    };
    let plan = plan(&found, &ours.entries, &kept, &is_folder);
    if import.json {
        output::json(&as_json(&seen, &plan, &own))?;
    } else {
        output::text(&describe(&seen, &plan, &own))?;
    }
    let question = format!("Add {} to {}?", plan.add.len(), own.display());
    if plan.add.is_empty() || !(import.yes || agreed_to(&question, "compere import --yes").await) {
        return Ok(ExitCode::SUCCESS);
    }
    write(&own, &text, &plan.add)?;
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "Written: {}", own.display());
    Ok(ExitCode::SUCCESS)
}

/// Where programs keep their settings.
pub(crate) fn settings() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME").or_else(|| Some(std::env::home_dir()?.join(".config")))
}

/// The file of the person.
pub(crate) fn own_file() -> Result<PathBuf, Failure> {
    let settings = settings().map(|settings| settings.join("compere/compere.json"));
    settings.ok_or_else(|| Failure::usage("there is no home directory to keep settings in"))
}

/// A folder that a variable names, if it is an absolute one.
fn folder(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    path.is_absolute().then_some(path)
}

fn look(places: Vec<Place>, own: &Path, workspace: &Path) -> Result<Vec<Seen>, Failure> {
    let mut seen = Vec::new();
    for place in places {
        if place.path == *own {
            continue;
        }
        if let Some(text) = text_of(&place.path)? {
            let read = read(&text, &place, Some(workspace));
            seen.push(Seen { place, read });
        }
    }
    Ok(seen)
}

/// The text of a file, if it is there. No more is read than a file of servers may hold.
pub(crate) fn text_of(path: &Path) -> Result<Option<String>, Failure> {
    let failed = |error| Failure::usage(format!("{}: {error}", path.display()));
    // A pipe would wait for somebody to write into it.
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Failure::usage(format!("{} is no file", path.display()))),
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let limit = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Failure::usage(format!("{} is not UTF-8", path.display())))?;
    Ok(Some(text))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn describe(seen: &[Seen], plan: &Plan, own: &Path) -> String {
    let mut lines = Vec::new();
    for Seen { place, read } in seen {
        let asks = match place.scope {
            Scope::Workspace => "  (of this folder: it can ask, it is not brought over)",
            Scope::User => "",
        };
        let (app, path) = (place.dialect.app(), place.path.display());
        lines.push(format!("{app}  {path}{asks}"));
        for entry in &read.entries {
            let off = if entry.enabled {
                ""
            } else {
                "  (switched off)"
            };
            let (name, launch) = (escape_line(&entry.name), shown(&entry.launch));
            lines.push(format!("  {name}  {launch}{off}"));
            lines.extend(entry.notes.iter().map(|note| format!("      {note}")));
        }
        lines.extend(read.faults.iter().map(|fault| format!("  wrong: {fault}")));
        if read.entries.is_empty() && read.faults.is_empty() {
            lines.push("  no servers".to_owned());
        }
        lines.push(String::new());
    }
    if seen.is_empty() {
        lines.push("No files of other apps were found.".to_owned());
    }
    for (name, place) in &plan.same {
        let (name, path) = (escape_line(name), place.path.display());
        lines.push(format!("{name} is the same in {path}."));
    }
    if !plan.add.is_empty() {
        lines.push(format!("Would be added to {}:", own.display()));
    }
    for planned in &plan.add {
        let (name, launch) = (escape_line(&planned.name), shown(&planned.launch));
        lines.push(format!("  {name}  {launch}"));
        lines.extend(planned.roots.iter().map(|root| {
            format!(
                "      may read {}, and change what is there once you add \"write\": true",
                escape_line(root)
            )
        }));
        lines.extend(planned.secrets.keys().map(|file| {
            format!("      what looks like a secret goes to {file}, for your eyes only")
        }));
    }
    lines.join("\n")
}

/// A launch on one line. Values of variables and headers may be secrets and are not shown.
fn shown(launch: &Launch) -> String {
    let names = |names: Vec<&String>, what: &str| match names.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<String> = names.iter().map(|name| escape_line(name)).collect();
            format!("  [{what}: {}]", names.join(", "))
        }
    };
    match launch {
        Launch::Command {
            program,
            arguments,
            environment,
            ..
        } => {
            let words = std::iter::once(program).chain(arguments);
            let words: Vec<String> = words.map(|word| quoted(word)).collect();
            let variables = environment.keys().collect();
            format!("{}{}", words.join(" "), names(variables, "variables"))
        }
        Launch::Remote { url, headers } => {
            let headers = headers.keys().collect();
            format!("{}{}", escape_line(url), names(headers, "headers"))
        }
    }
}

/// A word so that its borders are seen.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:@=,+%{}$~".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => escape_line(word),
        false => format!("'{}'", escape_line(word).replace('\'', r"'\''")),
    }
}

fn as_json(seen: &[Seen], plan: &Plan, own: &Path) -> Value {
    let place = |place: &Place| json!({"app": place.dialect.app(), "path": place.path});
    let launch = |launch: &Launch| match launch {
        Launch::Command {
            program,
            arguments,
            environment,
            ..
        } => json!({
            "command": program,
            "args": arguments,
            "env": environment.keys().collect::<Vec<_>>(),
        }),
        Launch::Remote { url, headers } => json!({
            "url": url,
            "headers": headers.keys().collect::<Vec<_>>(),
        }),
    };
    let files: Vec<Value> = seen
        .iter()
        .map(|seen| {
            let servers = seen.read.entries.iter().map(|entry| {
                let notes: Vec<String> = entry.notes.iter().map(ToString::to_string).collect();
                json!({
                    "name": entry.name,
                    "launch": launch(&entry.launch),
                    "enabled": entry.enabled,
                    "notes": notes,
                })
            });
            let faults = seen.read.faults.iter().map(ToString::to_string);
            json!({
                "file": place(&seen.place),
                "servers": servers.collect::<Vec<_>>(),
                "faults": faults.collect::<Vec<_>>(),
            })
        })
        .collect();
    let add: Vec<Value> = plan
        .add
        .iter()
        .map(|planned| {
            json!({
                "name": planned.name,
                "from": place(&planned.from),
                "launch": launch(&planned.launch),
                "roots": planned.roots,
                "secrets": planned.secrets.keys().collect::<Vec<_>>(),
            })
        })
        .collect();
    let same: Vec<Value> = plan
        .same
        .iter()
        .map(|(name, found)| json!({"name": name, "in": place(found)}))
        .collect();
    json!({"files": files, "to": own, "add": add, "same": same})
}

/// A person says yes, in full; anything else is no. `how` does it without asking.
pub(crate) async fn agreed_to(question: &str, how: &str) -> bool {
    let Some(person) = Person::present(&ProgressLine::on_stderr()) else {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "Nothing was changed. To do it: {how}");
        return false;
    };
    let question = format!("{question} Type yes or no: ");
    let answer = person.ask(move || {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question}");
        let _ = stderr.flush();
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer);
        answer.trim() == "yes"
    });
    if answer.await == Some(true) {
        return true;
    }
    let _ = writeln!(std::io::stderr().lock(), "Nothing was changed.");
    false
}

/// Writes the secrets, then the file that refers to them, whole or not at all.
fn write(own: &Path, text: &str, add: &[Planned]) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::usage(format!("{path}: {error}"))
    };
    let folder = own.parent().unwrap_or(Path::new("."));
    let text = with_servers(text, add)
        .map_err(|why| Failure::usage(format!("{}: {why}", own.display())))?;
    let mut folders = DirBuilder::new();
    folders.recursive(true).mode(0o700);
    folders.create(folder).map_err(failed(folder))?;
    for (file, secret) in add.iter().flat_map(|planned| &planned.secrets) {
        let path = folder.join(file);
        if let Some(folder) = path.parent() {
            folders.create(folder).map_err(failed(folder))?;
        }
        create(&path, secret.reveal().as_bytes()).map_err(failed(&path))?;
    }
    // Which servers somebody has is nobody else's business, and somebody may write secrets into it.
    if own.exists() {
        let own_alone = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(own, own_alone).map_err(failed(own))?;
    }
    replace(own, text.as_bytes()).map_err(failed(own))
}
