//! Where the apps keep their files, and whose word each file is.

use std::path::{Path, PathBuf};

use crate::config::Dialect;

/// Whose word a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// It lies in a folder that a person opened, and may come from somebody else. It can ask for
    /// servers; what it asks for needs a yes each time it changes.
    Workspace,
    /// It lies in the person's home.
    User,
}

/// A file that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The app that it is for. For `.mcp.json` the member that is there decides.
    pub dialect: Dialect,
    /// Whose word it is.
    pub scope: Scope,
    /// Where it is.
    pub path: PathBuf,
}

/// What the places depend on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Folders<'a> {
    /// The home of the person.
    pub home: Option<&'a Path>,
    /// Where programs keep settings: `$XDG_CONFIG_HOME`, or `.config` in the home.
    pub config: Option<&'a Path>,
    /// The folder that is open.
    pub workspace: Option<&'a Path>,
    /// `$CLAUDE_CONFIG_DIR`, if it is set.
    pub claude: Option<&'a Path>,
    /// `$CODEX_HOME`, if it is set.
    pub codex: Option<&'a Path>,
}

/// Every file that the known apps may have, those of the workspace first.
pub fn places(folders: &Folders<'_>) -> Vec<Place> {
    let mut found = Vec::new();
    let mut add = |folder: Option<&Path>, file: &str, dialect, scope| {
        if let Some(folder) = folder {
            found.push(Place {
                dialect,
                scope,
                path: folder.join(file),
            });
        }
    };
    let workspace = folders.workspace;
    add(
        workspace,
        "compere.json",
        Dialect::Compere,
        Scope::Workspace,
    );
    add(
        workspace,
        ".mcp.json",
        Dialect::ClaudeCode,
        Scope::Workspace,
    );
    add(
        workspace,
        ".cursor/mcp.json",
        Dialect::Cursor,
        Scope::Workspace,
    );
    add(
        workspace,
        ".vscode/mcp.json",
        Dialect::VsCode,
        Scope::Workspace,
    );
    let (home, config) = (folders.home, folders.config);
    add(
        config,
        "compere/compere.json",
        Dialect::Compere,
        Scope::User,
    );
    let claude = folders.claude.or(home);
    add(claude, ".claude.json", Dialect::ClaudeCode, Scope::User);
    add(home, ".cursor/mcp.json", Dialect::Cursor, Scope::User);
    let (desktop, code) = match cfg!(target_os = "macos") {
        true => (
            home.map(|home| home.join("Library/Application Support/Claude")),
            home.map(|home| home.join("Library/Application Support/Code/User")),
        ),
        false => (
            config.map(|config| config.join("Claude")),
            config.map(|config| config.join("Code/User")),
        ),
    };
    let codex = folders.codex.map(Path::to_owned);
    let codex = codex.or_else(|| home.map(|home| home.join(".codex")));
    for (folder, file, dialect) in [
        (home, ".codeium/windsurf/mcp_config.json", Dialect::Windsurf),
        (codex.as_deref(), "config.toml", Dialect::Codex),
        (home, ".gemini/settings.json", Dialect::Gemini),
        (config, "zed/settings.json", Dialect::Zed),
        (config, "opencode/opencode.json", Dialect::OpenCode),
        (config, "opencode/opencode.jsonc", Dialect::OpenCode),
        (config, "goose/config.yaml", Dialect::Goose),
    ] {
        add(folder, file, dialect, Scope::User);
    }
    let file = "claude_desktop_config.json";
    add(
        desktop.as_deref(),
        file,
        Dialect::ClaudeDesktop,
        Scope::User,
    );
    add(code.as_deref(), "mcp.json", Dialect::VsCode, Scope::User);
    found
}
