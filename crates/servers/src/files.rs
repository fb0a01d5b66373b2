//! Files below the directories that the person named: a server that takes the place of the
//! reference filesystem server, with resources that can be subscribed to.
//!
//! Every access goes through a directory handle that was opened once. Names are resolved by the
//! kernel inside of it, so neither `..` nor a symbolic link leads out, and nothing is checked
//! first and opened later. A hard link is the file itself: what someone linked into a directory is
//! in that directory. It is never written through: a write puts a new file in its place.

mod edit;
mod glob;
mod list;
mod read;
mod resources;
mod roots;
mod said;
mod search;
mod watch;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use compere::Session;
use compere::prelude::*;

use crate::files::roots::Access;
pub use crate::files::roots::{OpenRoot, Place, View};
use crate::files::said::Said;
use crate::files::search::search;

/// How a server for files is put together.
#[derive(Debug, Clone, Default)]
pub struct Files {
    directories: Vec<PathBuf>,
    home: Option<PathBuf>,
    read_only: bool,
}

/// A server for files below these directories, with everything else at its default.
pub fn files<P: AsRef<Path>>(directories: impl IntoIterator<Item = P>) -> io::Result<Server> {
    Files::new(directories).server()
}

impl Files {
    /// Serves these directories. Without any, the roots that the client tells are served.
    pub fn new<P: AsRef<Path>>(directories: impl IntoIterator<Item = P>) -> Self {
        Self {
            directories: directories
                .into_iter()
                .map(|directory| directory.as_ref().to_path_buf())
                .collect(),
            home: None,
            read_only: false,
        }
    }

    /// What `~` stands for in paths. Without, it is a name like any other.
    #[must_use]
    pub fn home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home;
        self
    }

    /// Leaves out every tool that changes something.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The server. The directories are opened now; what is put in their place later is not served.
    pub fn server(self) -> io::Result<Server> {
        let roots = self
            .directories
            .iter()
            .map(|directory| OpenRoot::open(directory))
            .collect::<io::Result<Vec<_>>>()?;
        let shown: Vec<String> = roots
            .iter()
            .map(|root| root.path().display().to_string())
            .collect();
        let access = Access::new(View::new(roots, self.home.as_deref()));
        let does = match self.read_only {
            true => "Reads files",
            false => "Reads and changes files",
        };
        let instructions = match shown.is_empty() {
            true => format!("{does} below the roots of the client."),
            false => format!(
                "{does} below {}. Relative paths start at the first of them.",
                shown.join(", ")
            ),
        };
        let (completing, subscribing, ending) = (access.clone(), access.clone(), access.clone());
        let hook = |then: fn(&Access, &Session)| {
            let access = access.clone();
            move |session: &Session| then(&access, session)
        };
        let server = Server::new("compere-files", env!("CARGO_PKG_VERSION"))
            .schemas_later()
            .title("Files")
            .instructions(instructions)
            .state(access.clone())
            .tool(read::read_file)
            .tool(read::read_text_file)
            .tool(read::read_media_file)
            .tool(read::read_multiple_files)
            .tool(list::list_directory)
            .tool(list::list_directory_with_sizes)
            .tool(list::directory_tree)
            .tool(search_files)
            .tool(list::get_file_info)
            .tool(list::list_allowed_directories)
            .resource(resources::file)
            .complete_template(resources::TEMPLATE, "path", move |query| {
                resources::complete(completing.clone(), query)
            })
            .on_initialized(hook(roots::ask))
            .on_roots_changed(hook(roots::ask))
            .on_ended(hook(Access::forget))
            .on_subscribe(move |session, uri| resources::subscribe(&subscribing, session, uri))
            .on_unsubscribe(move |_, uri| resources::unsubscribe(&ending, uri));
        if self.read_only {
            return Ok(server);
        }
        Ok(server
            .tool(write::write_file)
            .tool(write::edit_file)
            .tool(write::create_directory)
            .tool(write::move_file))
    }
}

/// Finds files and directories whose path matches a pattern, such as `**/*.md`.
#[tool(title = "Search Files", read_only, open_world = false)]
async fn search_files(
    access: State<Access>,
    context: Context,
    /// Where to start, absolute or relative to the first allowed directory.
    path: String,
    /// A glob over the path below the start; `*` stays within a name, `**` does not. `!` before it
    /// finds what does not match.
    pattern: String,
    /// Globs of what to leave out, directories with all that is in them.
    #[serde(rename = "excludePatterns", default)]
    exclude_patterns: Vec<String>,
) -> Result<Said, ToolError> {
    access
        .with_view(context, move |view, context| {
            let place = view.place(&path)?;
            let hits = search(&place, &pattern, &exclude_patterns, context)?;
            Ok(hits.below(place.root.path()).to_string().into())
        })
        .await
}
