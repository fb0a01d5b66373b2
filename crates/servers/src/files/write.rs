//! Changing: write, edit, make directories, move.
//!
//! A file is written beside its old content and put in its place in one step, inside of the
//! directory handle: a reader sees the old or the new, and a link or hard link that someone puts
//! there meanwhile is replaced, never written through.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions};
use compere::prelude::*;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::files::edit;
use crate::files::roots::{Access, Place, parent_in};
use crate::files::said::Said;

/// The largest file that can be edited.
const EDIT_BYTES: u64 = 16 * 1024 * 1024;

/// A name in an open directory.
struct Named {
    dir: Dir,
    name: PathBuf,
}

impl Place<'_> {
    /// The name in its directory.
    fn named(&self, inside: &Path) -> Result<Named, ToolError> {
        match parent_in(self.root.dir(), inside) {
            Some(Ok((dir, name))) => Ok(Named { dir, name }),
            Some(Err(error)) => Err(self.explain(&error)),
            None => Err(ToolError::new(format!(
                "{} is an allowed directory itself.",
                self.shown()
            ))),
        }
    }

    /// Where a write to this path goes: through links that stay inside, to the file they mean.
    fn target(&self) -> Result<Named, ToolError> {
        let inside = match self.root.dir().canonicalize(&self.inside) {
            Ok(inside) => inside,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.root.dir().symlink_metadata(&self.inside).is_ok() {
                    return Err(ToolError::new(format!(
                        "{} is a link that leads nowhere.",
                        self.shown()
                    )));
                }
                self.inside.clone()
            }
            Err(error) => return Err(self.explain(&error)),
        };
        self.named(&inside)
    }
}

impl Named {
    /// Puts new content in place, with the permissions of what was there. `unchanged` is what must
    /// still be there.
    fn replace(&self, content: &[u8], unchanged: Option<&Metadata>) -> io::Result<()> {
        let mode = match self.dir.symlink_metadata(&self.name) {
            Ok(there) if there.is_dir() => return Err(Errno::ISDIR.into()),
            Ok(there) if there.is_file() => Some(there.mode() & 0o777),
            // A link that someone put there meanwhile: its permissions mean nothing.
            Ok(there) if there.is_symlink() => None,
            Ok(_) => return Err(io::ErrorKind::InvalidInput.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let temporary = self.write_beside(content, mode)?;
        let replaced = self
            .check_unchanged(unchanged)
            .and_then(|()| self.dir.rename(&temporary, &self.dir, &self.name));
        if replaced.is_err() {
            let _ = self.dir.remove_file(&temporary);
        }
        replaced
    }

    /// Writes to a new file in the same directory and gives back its name.
    fn write_beside(&self, content: &[u8], mode: Option<u32>) -> io::Result<PathBuf> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if mode.is_some() {
            // Nobody else reads it before it has its permissions.
            options.mode(0o600);
        }
        let (temporary, mut file) = loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = PathBuf::from(format!(".compere-{}-{number}.tmp", std::process::id()));
            match self.dir.open_with(&name, &options) {
                Ok(file) => break (name, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        let written = file.write_all(content).and_then(|()| {
            if let Some(mode) = mode {
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
                file.set_permissions(Permissions::from_std(permissions))?;
            }
            // A crash leaves the old content or the new one.
            file.sync_all()
        });
        if let Err(error) = written {
            let _ = self.dir.remove_file(&temporary);
            return Err(error);
        }
        Ok(temporary)
    }

    fn check_unchanged(&self, before: Option<&Metadata>) -> io::Result<()> {
        let Some(before) = before else { return Ok(()) };
        let now = self.dir.symlink_metadata(&self.name)?;
        let of = |metadata: &Metadata| {
            (
                metadata.ino(),
                metadata.size(),
                metadata.mtime(),
                metadata.mtime_nsec(),
            )
        };
        if of(before) == of(&now) {
            return Ok(());
        }
        Err(Errno::BUSY.into())
    }
}

/// Creates a file or replaces the content of one.
#[tool(title = "Write File", destructive, idempotent, open_world = false)]
pub(super) async fn write_file(
    access: State<Access>,
    context: Context,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
    /// All of its new content.
    content: String,
) -> Result<Said, ToolError> {
    access
        .change(context, move |view| {
            let place = view.place(&path)?;
            place
                .target()?
                .replace(content.as_bytes(), None)
                .map_err(|error| place.explain(&error))?;
            Ok(format!("Successfully wrote to {path}").into())
        })
        .await
}

/// One replacement.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
pub(super) struct Edit {
    /// Text to search for; its first occurrence is replaced.
    #[serde(rename = "oldText")]
    old_text: String,
    /// Text to put in its place.
    #[serde(rename = "newText")]
    new_text: String,
}

/// Replaces parts of a text file and shows the difference. Lines match without regard to the space
/// around them; the file's indentation and line breaks are kept.
#[tool(title = "Edit File", destructive, open_world = false)]
pub(super) async fn edit_file(
    access: State<Access>,
    context: Context,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
    /// The replacements, done one after the other; all of them or none.
    edits: Vec<Edit>,
    /// Only show what would change.
    #[serde(rename = "dryRun", default)]
    dry_run: bool,
) -> Result<Said, ToolError> {
    access
        .change(context, move |view| {
            let place = view.place(&path)?;
            let (before, metadata) = text_of(&place)?;
            let mut after = before.clone();
            for edit in &edits {
                after = edit::replace(&after, &edit.old_text, &edit.new_text).ok_or_else(|| {
                    ToolError::new(format!(
                        "Could not find exact match for edit:\n{}",
                        edit.old_text
                    ))
                })?;
            }
            if !dry_run && after != before {
                place
                    .target()?
                    .replace(after.as_bytes(), Some(&metadata))
                    .map_err(|error| match Errno::from_io_error(&error) {
                        Some(Errno::BUSY) => ToolError::new(format!(
                            "{} was changed by someone else meanwhile; read it again.",
                            place.shown()
                        )),
                        _ => place.explain(&error),
                    })?;
            }
            Ok(edit::diff(&path, &before, &after).into())
        })
        .await
}

fn text_of(place: &Place<'_>) -> Result<(String, Metadata), ToolError> {
    let file = place.open()?;
    let metadata = file.metadata().map_err(|error| place.explain(&error))?;
    let mut bytes = Vec::new();
    file.take(EDIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| place.explain(&error))?;
    if bytes.len() as u64 > EDIT_BYTES {
        return Err(ToolError::new(format!(
            "{} is larger than {EDIT_BYTES} bytes and cannot be edited.",
            place.shown()
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        ToolError::new(format!(
            "{} is no UTF-8 text; an edit would damage it.",
            place.shown()
        ))
    })?;
    Ok((text, metadata))
}

/// Creates a directory with the directories above it; one that is there already is fine.
#[tool(
    title = "Create Directory",
    destructive = false,
    idempotent,
    open_world = false
)]
pub(super) async fn create_directory(
    access: State<Access>,
    context: Context,
    /// The directory, absolute or relative to the first allowed one.
    path: String,
) -> Result<Said, ToolError> {
    access
        .change(context, move |view| {
            let place = view.place(&path)?;
            if place.inside != Path::new(".") {
                place
                    .root
                    .dir()
                    .create_dir_all(&place.inside)
                    .map_err(|error| place.explain(&error))?;
            }
            Ok(format!("Successfully created directory {path}").into())
        })
        .await
}

/// Moves or renames a file, a directory or a link. What is at the destination is never replaced.
#[tool(title = "Move File", destructive, open_world = false)]
pub(super) async fn move_file(
    access: State<Access>,
    context: Context,
    /// What to move.
    source: String,
    /// Where it goes, with its new name.
    destination: String,
) -> Result<Said, ToolError> {
    access
        .change(context, move |view| {
            let (from_place, to_place) = (view.place(&source)?, view.place(&destination)?);
            let from = from_place.named(&from_place.inside)?;
            let to = to_place.named(&to_place.inside)?;
            // One step: that nothing is there and the move are not two questions.
            rustix::fs::renameat_with(
                &from.dir,
                &from.name,
                &to.dir,
                &to.name,
                RenameFlags::NOREPLACE,
            )
            .map_err(|error| match error {
                Errno::EXIST => {
                    ToolError::new(format!("Destination already exists: {destination}"))
                }
                Errno::INVAL => ToolError::new(format!("{source} cannot be moved into itself.")),
                Errno::XDEV => ToolError::new(format!(
                    "{source} and {destination} are on different file systems; copy it instead."
                )),
                error => from_place.explain(&error.into()),
            })?;
            Ok(format!("Successfully moved {source} to {destination}").into())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_since_it_was_read_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        let file = Named {
            dir,
            name: "f".into(),
        };
        std::fs::write(folder.path().join("f"), "read").unwrap();
        let read = file.dir.metadata("f").unwrap();
        file.replace(b"ours", Some(&read)).unwrap();
        // Somebody else was here since: the file is another one now.
        let error = file.replace(b"too late", Some(&read)).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::BUSY));
        assert_eq!(std::fs::read(folder.path().join("f")).unwrap(), b"ours");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
