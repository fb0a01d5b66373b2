//! `compere install APP`: points an app at this host, after a yes, and takes that back exactly.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use compere::serde_json::{self, Value, json};
use compere_host::config::install::{with_host, without_host};
use compere_host::config::read::FILE_BYTES;
use compere_host::config::{Dialect, Folders, Scope, places};
use compere_host::files::replace;

use crate::args::Install;
use crate::commands::import::{agreed_to, settings, text_of};
use crate::failure::Failure;
use crate::{hosted, output};

/// The apps, by the names that people type.
const APPS: [(&str, Dialect); 10] = [
    ("claude-desktop", Dialect::ClaudeDesktop),
    ("claude-code", Dialect::ClaudeCode),
    ("cursor", Dialect::Cursor),
    ("vscode", Dialect::VsCode),
    ("windsurf", Dialect::Windsurf),
    ("codex", Dialect::Codex),
    ("gemini", Dialect::Gemini),
    ("zed", Dialect::Zed),
    ("opencode", Dialect::OpenCode),
    ("goose", Dialect::Goose),
];

/// What was done to the file of an app.
struct Done {
    path: PathBuf,
    /// What was there before; `None` if there was no file.
    before: Option<String>,
    after: String,
}

pub(crate) async fn run(install: Install) -> Result<ExitCode, Failure> {
    let known = APPS.iter().find(|(name, _)| *name == install.app);
    let Some((app, dialect)) = known else {
        let names: Vec<&str> = APPS.iter().map(|(name, _)| *name).collect();
        return Err(Failure::usage(format!(
            "{} is none of {}",
            install.app,
            names.join(", ")
        )));
    };
    let kept = hosted::state(&install.keeps)?.join("installed").join(app);
    match install.undo {
        true => undo(*dialect, &kept),
        false => add(&install, app, *dialect, &kept).await,
    }
}

/// The file of an app: the first that is there, or the first that would be.
fn file_of(dialect: Dialect) -> Result<PathBuf, Failure> {
    let home = std::env::home_dir();
    let config = settings();
    let codex = std::env::var_os("CODEX_HOME").map(PathBuf::from);
    let claude = std::env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from);
    let places = places(&Folders {
        home: home.as_deref(),
        config: config.as_deref(),
        workspace: None,
        claude: claude.as_deref(),
        codex: codex.as_deref(),
    });
    let own = places
        .into_iter()
        .filter(|place| place.dialect == dialect && place.scope == Scope::User);
    let own: Vec<PathBuf> = own.map(|place| place.path).collect();
    let there = own.iter().find(|path| path.exists()).or(own.first());
    there
        .cloned()
        .ok_or_else(|| Failure::usage("there is no home directory in which its file could be"))
}

impl Done {
    fn text(&self) -> String {
        json!({"path": self.path, "before": self.before, "after": self.after}).to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            path: text("path")?.into(),
            before: text("before"),
            after: text("after")?,
        })
    }
}

async fn add(
    install: &Install,
    app: &str,
    dialect: Dialect,
    kept: &Path,
) -> Result<ExitCode, Failure> {
    let path = file_of(dialect)?;
    let before = text_of(&path)?;
    if before.as_ref().is_some_and(|text| text.len() > FILE_BYTES) {
        return Err(Failure::usage(format!(
            "{} is larger than {FILE_BYTES} bytes, and is not changed here",
            path.display()
        )));
    }
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let mut arguments = vec!["connect".to_owned(), "--app".to_owned(), app.to_owned()];
    arguments.extend(install.keeps.arguments()?);
    let text = before.clone().unwrap_or_default();
    let after = with_host(dialect, &text, &program, &arguments).map_err(|why| {
        Failure::usage(format!("{}: {why}", path.display())).hint(format!(
            "To do it by hand, let it start: {program} {}",
            arguments.join(" ")
        ))
    })?;
    output::text(&format!(
        "{} would get this host as a server of the name compere, in\n  {}\nstarted by\n  {program} {}\nIts own servers stay: compere import brings them over.",
        dialect.app(),
        path.display(),
        arguments.join(" ")
    ))?;
    if !install.yes && !agreed_to("Do so?", &format!("compere install {app} --yes")).await {
        return Ok(ExitCode::SUCCESS);
    }
    let done = Done {
        path: path.clone(),
        before,
        after: after.clone(),
    };
    // What it was is safe before it is another one.
    let folder = kept.parent().unwrap_or(Path::new("."));
    let mut making = DirBuilder::new();
    making.recursive(true).mode(0o700).create(folder)?;
    replace(kept, done.text().as_bytes())?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    replace(&path, after.as_bytes())?;
    output::text(&format!(
        "Done. Start {} anew. To take it back: compere install {app} --undo",
        dialect.app()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn undo(dialect: Dialect, kept: &Path) -> Result<ExitCode, Failure> {
    let record = text_of(kept)?.ok_or_else(|| Failure::usage("it was not installed by this"))?;
    let damaged = || Failure::usage(format!("{} cannot be read", kept.display()));
    let done = Done::read(&record).ok_or_else(damaged)?;
    let now = text_of(&done.path)?;
    let words = match (&now, &done.before) {
        (None, _) => "Its file is gone: there is nothing to take back.".to_owned(),
        (Some(now), Some(before)) if *now == done.after => {
            replace(&done.path, before.as_bytes())?;
            format!("{} is what it was.", done.path.display())
        }
        (Some(now), None) if *now == done.after => {
            std::fs::remove_file(&done.path)?;
            format!("{} was not there before, and is gone.", done.path.display())
        }
        (Some(now), _) => {
            let without = without_host(dialect, now);
            let without =
                without.map_err(|why| Failure::usage(format!("{}: {why}", done.path.display())))?;
            if let Some(without) = without {
                replace(&done.path, without.as_bytes())?;
            }
            format!(
                "{} was changed since; the server compere is taken out, and the rest stays.",
                done.path.display()
            )
        }
    };
    std::fs::remove_file(kept)?;
    output::text(&words)?;
    Ok(ExitCode::SUCCESS)
}
