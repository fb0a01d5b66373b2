//! Digests of what is run: of one file, and of a folder with all that is in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::hex;

/// More files than this no server has.
const FILES: usize = 200_000;

/// Digests of files, remembered for as long as the file is the same by its number, size and times.
#[derive(Debug, Default)]
pub struct Digests {
    known: Mutex<HashMap<PathBuf, (Same, String)>>,
}

type Same = (u64, u64, u64, i64, i64, i64, i64);

impl Digests {
    /// The SHA-256 of a file, in hex.
    pub fn of(&self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        let data = file.metadata()?;
        let same = (
            data.dev(),
            data.ino(),
            data.size(),
            data.mtime(),
            data.mtime_nsec(),
            data.ctime(),
            data.ctime_nsec(),
        );
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, digest)) = known().get(path)
            && *of == same
        {
            return Ok(digest.clone());
        }
        let mut hash = Sha256::new();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut piece)?;
            let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
                break;
            };
            hash.update(read);
        }
        let digest = hex::text(&hash.finalize());
        known().insert(path.to_owned(), (same, digest.clone()));
        Ok(digest)
    }

    /// The digest of a folder: of the names of all that is in it, of what its files hold and whether they
    /// can be run, and of where its links lead. Links are not followed.
    pub fn of_folder(&self, folder: &Path) -> io::Result<String> {
        let mut hash = Sha256::new();
        let mut files = 0;
        self.add(&mut hash, folder, folder, &mut files)?;
        Ok(hex::text(&hash.finalize()))
    }

    fn add(
        &self,
        hash: &mut Sha256,
        top: &Path,
        folder: &Path,
        files: &mut usize,
    ) -> io::Result<()> {
        let entries = std::fs::read_dir(folder)?;
        let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            *files += 1;
            if *files > FILES {
                return Err(io::Error::other("it holds too many files"));
            }
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add(hash, top, &path, files)?;
                continue;
            }
            let said = if kind.is_symlink() {
                let target = std::fs::read_link(&path)?;
                format!("link {}", hex::text(target.as_os_str().as_bytes()))
            } else if kind.is_file() {
                let can_run = entry.metadata()?.permissions().mode() & 0o111 != 0;
                format!("file {can_run} {}", self.of(&path)?)
            } else {
                return Err(io::Error::other(format!("{} is no file", path.display())));
            };
            let name = path.strip_prefix(top).unwrap_or(&path);
            hash.update(hex::text(name.as_os_str().as_bytes()));
            hash.update(b" ");
            hash.update(said);
            hash.update(b"\n");
        }
        Ok(())
    }
}
