//! Secrets of the person, by name: in the keyring of the system where there is one, else in a file that
//! only they read. They are put in place of `${secret:NAME}` when a server is started, and stand nowhere
//! else.
//!
//! The keyring is that of the Secret Service, through `secret-tool`: a secret goes through pipes, never
//! through arguments.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The longest secret, in bytes.
pub const SECRET_BYTES: u64 = 64 * 1024;
/// How long the keyring may take: it may ask the person to unlock it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest name, in bytes.
const NAME_BYTES: usize = 128;
/// What talks to the keyring.
const TOOL: &str = "secret-tool";

/// Where secrets are.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
    tool: Option<PathBuf>,
}

/// Where a secret was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In the keyring of the system.
    Keyring,
    /// In this file.
    File(PathBuf),
}

impl Secrets {
    /// Those beside our file, which lies in `folder`; `path` is where programs are.
    pub fn new(folder: &Path, path: Option<&std::ffi::OsStr>) -> Self {
        let folders = path.map(|path| std::env::split_paths(path).collect::<Vec<_>>());
        let tool = folders
            .unwrap_or_default()
            .into_iter()
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(TOOL))
            .find(|tool| tool.is_file());
        Self {
            folder: folder.join(crate::config::import::SECRETS),
            tool,
        }
    }

    /// May a secret be called so? Letters, digits, `.`, `_`, `:` and `-`, and no `-` or `.` at the
    /// beginning.
    pub fn is_name(name: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        !name.is_empty()
            && name.len() <= NAME_BYTES
            && !name.starts_with(['-', '.'])
            && name.bytes().all(plain)
    }

    /// The secret of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<String> {
        if !Self::is_name(name) {
            return None;
        }
        let of_keyring = self.tool.as_deref().and_then(|tool| {
            let (found, said) =
                run(tool, &["lookup", "service", "compere", "name", name], None).ok()?;
            // There is no empty secret in a keyring.
            (found && !said.is_empty()).then_some(said)
        });
        of_keyring.or_else(|| of_file(&self.folder.join(name)))
    }

    /// Keeps a secret under this name, in place of the one that there is.
    pub fn set(&self, name: &str, secret: &str) -> io::Result<Kept> {
        check(name)?;
        if secret.len() as u64 > SECRET_BYTES {
            return Err(io::Error::other("a secret is at most 64 KiB long"));
        }
        if let Some(tool) = &self.tool {
            let label = format!("Compere: {name}");
            let order = [
                "store", "--label", &label, "service", "compere", "name", name,
            ];
            if let Ok((true, _)) = run(tool, &order, Some(secret)) {
                // It is not to stand in two places.
                let _ = std::fs::remove_file(self.folder.join(name));
                return Ok(Kept::Keyring);
            }
        }
        let path = self.folder.join(name);
        crate::files::replace(&path, secret.as_bytes())?;
        Ok(Kept::File(path))
    }

    /// Forgets a secret, wherever it is; whether there was one.
    pub fn forget(&self, name: &str) -> io::Result<bool> {
        check(name)?;
        let was_there = self.get(name).is_some();
        if let Some(tool) = &self.tool {
            let _ = run(tool, &["clear", "service", "compere", "name", name], None);
        }
        match std::fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(was_there),
        }
    }
}

/// What a file holds, without its last line end, if nobody but its owner can read it.
pub fn of_file(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let data = file.metadata().ok()?;
    let own = data.uid() == rustix::process::getuid().as_raw();
    if !data.is_file() || !own || data.mode() & 0o077 != 0 || data.size() > SECRET_BYTES {
        return None;
    }
    let text = io::read_to_string(file).ok()?;
    Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn check(name: &str) -> io::Result<()> {
    match Secrets::is_name(name) {
        true => Ok(()),
        false => Err(io::Error::other(
            "the name of a secret has letters, digits, '.', '_', ':' and '-' in it, and no more than 128 of them",
        )),
    }
}

/// Runs it; whether it succeeded, and what it said. One that takes too long is ended.
fn run(tool: &Path, arguments: &[&str], given: Option<&str>) -> io::Result<(bool, String)> {
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(match given {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (done, ended) = mpsc::channel();
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let given = given.map(str::to_owned);
    std::thread::spawn(move || {
        if let (Some(mut input), Some(given)) = (input, given) {
            let _ = input.write_all(given.as_bytes());
        }
        let mut said = String::new();
        let read = output.map(|output| output.take(SECRET_BYTES).read_to_string(&mut said));
        let _ = done.send(read.is_some_and(|read| read.is_ok()).then_some(said));
    });
    let Ok(said) = ended.recv_timeout(PATIENCE) else {
        end(&mut child);
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the keyring does not answer",
        ));
    };
    // It has said all: it ends now, or is ended.
    let status = child.wait()?;
    Ok((status.success(), said.unwrap_or_default()))
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Is what was given what is known? Every letter is compared, wherever they differ.
pub fn is_same(given: &str, known: &str) -> bool {
    given.len() == known.len()
        && given
            .bytes()
            .zip(known.bytes())
            .fold(0, |differs, (one, other)| differs | (one ^ other))
            == 0
}
