//! `compere secret`: keeps secrets for servers, by name.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use compere::text::escape_line;
use compere_host::secrets::{Kept, SECRET_BYTES, Secrets};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::args::{OneSecret, SecretCommand};
use crate::failure::Failure;
use crate::{hosted, output};

pub(crate) fn run(command: &SecretCommand) -> Result<ExitCode, Failure> {
    match command {
        SecretCommand::Set(of) => set(of),
        SecretCommand::Forget(of) => {
            let forgotten = secrets(of)?.forget(&of.name);
            match forgotten.map_err(|error| Failure::usage(error.to_string()))? {
                true => Ok(ExitCode::SUCCESS),
                false => Err(Failure::usage(format!(
                    "there is no secret {}",
                    escape_line(&of.name)
                ))),
            }
        }
    }
}

fn secrets(of: &OneSecret) -> Result<Secrets, Failure> {
    let file = hosted::options(&of.keeps)?.file;
    let folder = file.parent().unwrap_or(Path::new("."));
    let path = std::env::var_os("PATH");
    Ok(Secrets::new(folder, path.as_deref()))
}

fn set(of: &OneSecret) -> Result<ExitCode, Failure> {
    if !Secrets::is_name(&of.name) {
        return Err(Failure::usage(format!(
            "{} cannot be the name of a secret",
            escape_line(&of.name)
        ))
        .hint("Use letters, digits, '.', '_', ':' and '-'."));
    }
    let secret = read(&of.name)?;
    if secret.is_empty() {
        return Err(Failure::usage("nothing was given, and nothing was changed"));
    }
    let kept = secrets(of)?.set(&of.name, &secret);
    let kept = kept.map_err(|error| Failure::usage(error.to_string()))?;
    let place = match kept {
        Kept::Keyring => "in the keyring".to_owned(),
        Kept::File(path) => format!("in {}, for your eyes only", path.display()),
    };
    output::text(&format!(
        "{} is kept {place}. Where it belongs, your file says ${{secret:{}}}.",
        of.name, of.name
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A line of the terminal, which does not show it, or all of standard input.
fn read(name: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let mut secret = String::new();
    if !stdin.is_terminal() {
        stdin
            .lock()
            .take(SECRET_BYTES + 1)
            .read_to_string(&mut secret)?;
        return Ok(secret.trim_end_matches(['\r', '\n']).to_owned());
    }
    let before = tcgetattr(&stdin).map_err(std::io::Error::from)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(std::io::Error::from)?;
    let _ = write!(std::io::stderr(), "{name} (not shown): ");
    let read = stdin.read_line(&mut secret);
    let _ = tcsetattr(&stdin, OptionalActions::Now, &before);
    let _ = writeln!(std::io::stderr());
    read?;
    Ok(secret.trim_end_matches(['\r', '\n']).to_owned())
}
