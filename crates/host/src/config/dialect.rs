//! The dialects: which app a file was written for. The same text means different things in them, so
//! it is always read by the rules of its own file and never by all at once.

/// The app that a file of servers was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dialect {
    /// Our own file.
    Compere,
    /// `claude_desktop_config.json`: nothing is ever replaced.
    ClaudeDesktop,
    /// `.mcp.json` with `mcpServers`, and `~/.claude.json`: `${VAR}` and `${VAR:-default}`.
    ClaudeCode,
    /// `mcp.json` of Cursor: `${env:VAR}` and its own variables.
    Cursor,
    /// `mcp.json` of VS Code, with `servers` and `inputs`: `${env:VAR}`, `${input:id}` and its own
    /// variables.
    VsCode,
    /// `.mcp.json` with `servers`, which Visual Studio writes: `${VAR}` and `${VAR:-default}`, by
    /// slightly other rules than Claude Code's.
    VisualStudio,
    /// `mcp_config.json` of Windsurf: `${env:VAR}` and `${file:path}`.
    Windsurf,
    /// `config.toml` of Codex: nothing is ever replaced; variables are named.
    Codex,
    /// `settings.json` of Gemini CLI: `$VAR`, `${VAR}` and `%VAR%`, in variables alone.
    Gemini,
    /// `settings.json` of Zed: nothing is ever replaced.
    Zed,
    /// `opencode.json`: `{env:VAR}` and `{file:path}`.
    OpenCode,
    /// `config.yaml` of goose: nothing is ever replaced; variables are named.
    Goose,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Compere,
        Self::ClaudeDesktop,
        Self::ClaudeCode,
        Self::Cursor,
        Self::VsCode,
        Self::VisualStudio,
        Self::Windsurf,
        Self::Codex,
        Self::Gemini,
        Self::Zed,
        Self::OpenCode,
        Self::Goose,
    ];

    /// Is it brought into our own shape and rules when it is read?
    pub const fn is_brought_over(self) -> bool {
        matches!(
            self,
            Self::Windsurf | Self::Codex | Self::Gemini | Self::Zed | Self::OpenCode | Self::Goose
        )
    }

    /// The name of the app.
    pub const fn app(self) -> &'static str {
        match self {
            Self::Compere => "Compere",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::VisualStudio => "Visual Studio",
            Self::Windsurf => "Windsurf",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini CLI",
            Self::Zed => "Zed",
            Self::OpenCode => "opencode",
            Self::Goose => "goose",
        }
    }

    /// The member of the file that holds the servers.
    pub const fn servers_key(self) -> &'static str {
        match self {
            Self::Compere | Self::VsCode | Self::VisualStudio => "servers",
            Self::ClaudeDesktop
            | Self::ClaudeCode
            | Self::Cursor
            | Self::Windsurf
            | Self::Gemini => "mcpServers",
            Self::Codex => "mcp_servers",
            Self::Zed => "context_servers",
            Self::OpenCode => "mcp",
            Self::Goose => "extensions",
        }
    }
}
