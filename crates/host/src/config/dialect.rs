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
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Compere,
        Self::ClaudeDesktop,
        Self::ClaudeCode,
        Self::Cursor,
        Self::VsCode,
        Self::VisualStudio,
    ];

    /// The name of the app.
    pub const fn app(self) -> &'static str {
        match self {
            Self::Compere => "Compere",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::VisualStudio => "Visual Studio",
        }
    }

    /// The member of the file that holds the servers.
    pub const fn servers_key(self) -> &'static str {
        match self {
            Self::Compere | Self::VsCode | Self::VisualStudio => "servers",
            Self::ClaudeDesktop | Self::ClaudeCode | Self::Cursor => "mcpServers",
        }
    }
}
