//! Whole files of the person, written anew: as they were or as they are to be, whenever the power goes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes a file in the place of the one that is there. Where a link leads stays where it is, and so do
/// the rights; what is new is for its owner alone, and so are folders that are made for it. It is on the
/// disk when this returns.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = match real.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut beside = real.clone().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = create(&beside, content)
        .and_then(|file| {
            let Ok(there) = std::fs::metadata(&real) else {
                return Ok(());
            };
            file.set_permissions(there.permissions())
        })
        .and_then(|()| std::fs::rename(&beside, &real));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written?;
    // The name too is to be there after a crash.
    File::open(folder)?.sync_all()
}

/// Writes a file that is not there yet, for its owner alone.
pub fn create(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}
