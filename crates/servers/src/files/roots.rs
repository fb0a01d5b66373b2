//! Which directories a client may reach, and where in them a path leads.
//!
//! Here only names are compared. Whether a path stays inside of its directory is decided by the
//! kernel when it is opened through the directory's handle, never by this comparison.

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use compere::model::Root;
use compere::proto::Era;
use compere::{Context, Session, ToolError};
use percent_encoding::percent_decode_str;
use rustix::fs::OFlags;

use crate::files::read::TEXT_BYTES;
use crate::files::watch::Watcher;

/// A client that declared roots but does not tell them is not waited for longer.
const ROOTS_TIMEOUT: Duration = Duration::from_secs(10);

/// A directory that is served, as an open handle. What is put in its place later is not served.
pub struct OpenRoot {
    /// Where it is, absolute and without links.
    path: PathBuf,
    /// The same as the person named it, if that differs.
    named: Option<PathBuf>,
    dir: Dir,
}

impl OpenRoot {
    /// Opens a directory by its name, once.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.canonicalize()?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
        let named = std::path::absolute(directory)?;
        Ok(Self {
            named: (named != path).then_some(named),
            path,
            dir,
        })
    }

    fn names(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path.as_path()).chain(self.named.as_deref())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }
}

/// What one client may reach.
#[derive(Clone)]
pub struct View {
    roots: Arc<[OpenRoot]>,
    home: Option<Arc<Path>>,
}

/// A path inside of one of the roots.
pub struct Place<'v> {
    pub(super) root: &'v OpenRoot,
    /// Relative to the root; `.` is the root itself.
    pub(super) inside: PathBuf,
}

impl View {
    /// A view of these roots. `home` is what `~` stands for.
    pub fn new(roots: Vec<OpenRoot>, home: Option<&Path>) -> Self {
        Self {
            roots: roots.into(),
            home: home.map(Into::into),
        }
    }

    pub(super) fn roots(&self) -> &[OpenRoot] {
        &self.roots
    }

    /// Finds the root that a path belongs to; the innermost if several do. Relative paths belong
    /// to the first one. `.` and `..` are resolved by name, as people mean them.
    pub fn place(&self, path: &str) -> Result<Place<'_>, ToolError> {
        if path.contains('\0') {
            return Err(ToolError::new("A path cannot hold a NUL character."));
        }
        let asked = self.expand_home(path);
        let outside = || self.outside(path);
        let (root, rest) = if asked.is_absolute() {
            let asked = normalized(&asked).ok_or_else(outside)?;
            self.roots
                .iter()
                .flat_map(|root| root.names().map(move |name| (root, name)))
                .filter_map(|(root, name)| Some((root, name, asked.strip_prefix(name).ok()?)))
                .max_by_key(|(_, name, _)| name.components().count())
                .map(|(root, _, rest)| (root, rest.to_path_buf()))
                .ok_or_else(outside)?
        } else {
            let rest = normalized(&asked).ok_or_else(outside)?;
            (self.roots.first().ok_or_else(outside)?, rest)
        };
        let inside = if rest.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            rest
        };
        Ok(Place { root, inside })
    }

    fn expand_home(&self, path: &str) -> PathBuf {
        match (&self.home, path.strip_prefix('~')) {
            (Some(home), Some("")) => home.to_path_buf(),
            (Some(home), Some(rest)) if rest.starts_with('/') => {
                home.join(rest.trim_start_matches('/'))
            }
            _ => PathBuf::from(path),
        }
    }

    fn outside(&self, path: &str) -> ToolError {
        let allowed: Vec<String> = self
            .roots
            .iter()
            .map(|root| root.path.display().to_string())
            .collect();
        let allowed = match allowed.is_empty() {
            true => "none".to_owned(),
            false => allowed.join(", "),
        };
        ToolError::new(format!(
            "{path} lies outside of the allowed directories; allowed: {allowed}."
        ))
    }

    /// The part of this view that the client's own roots leave. A root of the client that reaches
    /// further than what the person granted adds nothing; without any grant the client's roots are
    /// the grant.
    fn narrowed(&self, wanted: &[Root]) -> Self {
        let mut roots: Vec<OpenRoot> = Vec::new();
        for root in wanted {
            let Some(path) = path_of(&root.uri) else {
                tracing::warn!(uri = root.uri, "a root of the client is no file URI");
                continue;
            };
            if self.roots.is_empty() {
                match OpenRoot::open(&path) {
                    Ok(opened) => roots.push(opened),
                    Err(error) => tracing::warn!(%error, "a root of the client cannot be opened"),
                }
                continue;
            }
            let before = roots.len();
            roots.extend(self.roots.iter().filter_map(|granted| part(granted, &path)));
            if roots.len() == before {
                tracing::warn!(
                    uri = root.uri,
                    "a root of the client lies outside of what was granted"
                );
            }
        }
        roots.dedup_by(|one, other| one.path == other.path);
        Self {
            roots: roots.into(),
            home: self.home.clone(),
        }
    }
}

impl Place<'_> {
    /// Where it is inside of its root: plain names only, `.` for the root itself.
    pub fn inside(&self) -> &Path {
        &self.inside
    }

    /// The text of the file, if it is one that may be read.
    pub fn read_text(&self) -> Result<String, ToolError> {
        let bytes = self.read(TEXT_BYTES)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The directory that holds the last name of the path, and that name. `None` for the root, which
    /// has neither here.
    pub(super) fn parent(&self) -> Option<io::Result<(Dir, PathBuf)>> {
        parent_in(self.root.dir(), &self.inside)
    }

    /// The absolute path, for names.
    pub(super) fn path(&self) -> PathBuf {
        if self.inside == Path::new(".") {
            self.root.path.clone()
        } else {
            self.root.path.join(&self.inside)
        }
    }

    pub(super) fn shown(&self) -> String {
        self.path().display().to_string()
    }

    /// What a model can do something with.
    pub(super) fn explain(&self, error: &io::Error) -> ToolError {
        let shown = self.shown();
        ToolError::new(match error.kind() {
            io::ErrorKind::NotFound => format!("There is no {shown}."),
            io::ErrorKind::PermissionDenied => {
                format!("{shown} may not be used, or leads out of the allowed directories.")
            }
            io::ErrorKind::IsADirectory => format!("{shown} is a directory."),
            io::ErrorKind::NotADirectory => format!("{shown} is no directory."),
            io::ErrorKind::AlreadyExists => format!("{shown} exists already."),
            io::ErrorKind::StorageFull => format!("There is no space left for {shown}."),
            kind => format!("{shown}: {kind}."),
        })
    }
}

/// The directory that holds the last name of a path in `root`, and that name.
pub(super) fn parent_in(root: &Dir, inside: &Path) -> Option<io::Result<(Dir, PathBuf)>> {
    let (parent, name) = (inside.parent()?, inside.file_name()?);
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    Some(root.open_dir(parent).map(|dir| (dir, name.into())))
}

/// For opening to read without waiting: a pipe without a writer, a terminal.
pub(super) fn without_waiting() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    options
}

/// Resolves `.` and `..` by name; `None` if it climbs above its start.
fn normalized(path: &Path) -> Option<PathBuf> {
    let mut normalized = PathBuf::new();
    let mut depth = 0_usize;
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                normalized.push(name);
                depth += 1;
            }
            Component::CurDir => {}
            Component::ParentDir => {
                depth = depth.checked_sub(1)?;
                normalized.pop();
            }
            Component::RootDir => normalized.push("/"),
            Component::Prefix(_) => return None,
        }
    }
    Some(normalized)
}

/// The part of a granted directory that lies in `wanted`, as a handle of its own.
fn part(granted: &OpenRoot, wanted: &Path) -> Option<OpenRoot> {
    for name in granted.names() {
        if name.starts_with(wanted) {
            return Some(OpenRoot {
                path: granted.path.clone(),
                named: granted.named.clone(),
                dir: granted.dir.try_clone().ok()?,
            });
        }
        if let Ok(inside) = wanted.strip_prefix(name) {
            let path = granted.path.join(inside);
            return Some(OpenRoot {
                dir: granted.dir.open_dir(inside).ok()?,
                named: (path != wanted).then(|| wanted.to_path_buf()),
                path,
            });
        }
    }
    None
}

/// The path of a `file:` URI.
pub(super) fn path_of(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("file://")?;
    let rest = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = percent_decode_str(rest).decode_utf8().ok()?;
    let path = normalized(Path::new(&*path))?;
    path.is_absolute().then_some(path)
}

/// What the tools of one server share.
#[derive(Clone)]
pub(super) struct Access(Arc<Shared>);

/// By the number of the client: the roots it told, and what they leave.
type Views = HashMap<u64, (Arc<[Root]>, View)>;

struct Shared {
    granted: View,
    /// What is left of the grant for each client that told its roots.
    views: Mutex<Views>,
    /// One change at a time.
    writing: Mutex<()>,
    watcher: Watcher,
}

impl Access {
    pub(super) fn new(granted: View) -> Self {
        Self(Arc::new(Shared {
            granted,
            views: Mutex::default(),
            writing: Mutex::default(),
            watcher: Watcher::default(),
        }))
    }

    /// Works with what the client of this call may reach, where blocking hurts nobody.
    pub(super) async fn with_view<T: Send + 'static>(
        &self,
        context: Context,
        work: impl FnOnce(&View, &Context) -> T + Send + 'static,
    ) -> T {
        let view = self.view(&context).await;
        compere::server::blocking(move || work(&view, &context)).await
    }

    /// What the client of this call may reach.
    pub(super) async fn view(&self, context: &Context) -> View {
        match context.revision().era() {
            Era::Handshake => self.view_of(&context.session()).await,
            Era::Stateless => self.view_for(context).await,
        }
    }

    /// The same for work that changes something: one at a time.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        context: Context,
        work: impl FnOnce(&View) -> T + Send + 'static,
    ) -> T {
        let shared = self.0.clone();
        self.with_view(context, move |view, _| {
            let _one_at_a_time = shared
                .writing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            work(view)
        })
        .await
    }

    /// What a client may reach. One that declares roots is asked for them, once until they change.
    pub(super) async fn view_of(&self, session: &Session) -> View {
        let tells = session
            .client_capabilities()
            .is_some_and(|capabilities| capabilities.roots.is_some());
        if !tells {
            return self.0.granted.clone();
        }
        let roots = match tokio::time::timeout(ROOTS_TIMEOUT, session.roots()).await {
            Ok(Ok(roots)) => roots,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the client does not tell its roots");
                return self.0.granted.clone();
            }
            Err(_) => {
                tracing::warn!("the client does not tell its roots in time");
                return self.0.granted.clone();
            }
        };
        if let Some(view) = self.known(session, &roots) {
            return view;
        }
        let access = self.clone();
        let session = session.clone();
        compere::server::blocking(move || {
            let view = access.0.granted.narrowed(&roots);
            access.views().insert(session.id(), (roots, view.clone()));
            view
        })
        .await
    }

    /// What a client without a session may reach: one that declares roots is asked within its request.
    async fn view_for(&self, context: &Context) -> View {
        let tells = context
            .client_capabilities()
            .is_some_and(|capabilities| capabilities.roots.is_some());
        if !tells {
            return self.0.granted.clone();
        }
        match context.roots("roots").await {
            Ok(roots) => {
                let access = self.clone();
                compere::server::blocking(move || access.0.granted.narrowed(&roots)).await
            }
            Err(error) => {
                tracing::warn!(%error, "the client does not tell its roots");
                self.0.granted.clone()
            }
        }
    }

    /// What a client may reach as far as is known without asking it.
    pub(super) fn view_now(&self, session: &Session) -> View {
        session
            .known_roots()
            .and_then(|roots| self.known(session, &roots))
            .unwrap_or_else(|| self.0.granted.clone())
    }

    fn known(&self, session: &Session, roots: &Arc<[Root]>) -> Option<View> {
        let views = self.views();
        let (of, view) = views.get(&session.id())?;
        Arc::ptr_eq(of, roots).then(|| view.clone())
    }

    /// The client is gone.
    pub(super) fn forget(&self, session: &Session) {
        self.views().remove(&session.id());
    }

    fn views(&self) -> std::sync::MutexGuard<'_, Views> {
        self.0.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watcher(&self) -> &Watcher {
        &self.0.watcher
    }
}

/// Asks a client for its roots, so that they are known when it comes with its first request.
pub(super) fn ask(access: &Access, session: &Session) {
    let (access, session) = (access.clone(), session.clone());
    tokio::spawn(async move {
        access.view_of(&session).await;
    });
}
