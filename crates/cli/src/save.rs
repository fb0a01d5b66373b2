//! Data that is no text: kept in files of its own, or only named.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::failure::Failure;

/// The most files of one name.
const TRIES: usize = 10_000;

/// Writes data into a new file of a directory, which is made if need be. What is there is never
/// overwritten. `stem` is the server's word and becomes a plain name.
pub(crate) fn save(
    directory: &Path,
    stem: &str,
    mime_type: &str,
    base64: &str,
) -> Result<PathBuf, Failure> {
    let bytes = STANDARD.decode(base64).map_err(|error| {
        Failure::protocol(format!("the data of {stem:?} is no base64: {error}"))
    })?;
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::usage(format!("--save {}: {error}", directory.display())))?;
    let (stem, extension) = plain_name(stem, mime_type);
    for number in 1..TRIES {
        let name = match number {
            1 => format!("{stem}.{extension}"),
            _ => format!("{stem}-{number}.{extension}"),
        };
        let path = directory.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(&bytes)?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Failure::usage(format!(
                    "--save {}: {error}",
                    path.display()
                )));
            }
        }
    }
    Err(Failure::usage(format!(
        "--save {}: there are {TRIES} files of the name {stem} already",
        directory.display()
    )))
}

/// A name that is no path and no option, and the extension of its type.
fn plain_name(stem: &str, mime_type: &str) -> (String, String) {
    let last = stem.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |text: &str| -> String {
        text.chars()
            .map(|letter| match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' => letter,
                _ => '_',
            })
            .take(64)
            .collect::<String>()
            .trim_start_matches(['.', '-'])
            .to_owned()
    };
    let (name, own) = match last.rsplit_once('.') {
        Some((name, extension)) if !name.is_empty() => (plain(name), Some(plain(extension))),
        _ => (plain(last), None),
    };
    let by_type = match mime_type {
        "image/png" => Some("png"),
        "image/jpeg" => Some("jpg"),
        "image/gif" => Some("gif"),
        "image/webp" => Some("webp"),
        "image/svg+xml" => Some("svg"),
        "audio/mpeg" => Some("mp3"),
        "audio/wav" | "audio/x-wav" => Some("wav"),
        "audio/ogg" => Some("ogg"),
        "audio/flac" => Some("flac"),
        "application/pdf" => Some("pdf"),
        _ => None,
    };
    let name = match name.is_empty() {
        true => "data".to_owned(),
        false => name,
    };
    let extension = by_type
        .map(str::to_owned)
        .or(own.filter(|extension| !extension.is_empty()))
        .unwrap_or_else(|| "bin".to_owned());
    (name, extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_word_is_no_path() {
        for (stem, mime_type, expected) in [
            ("image", "image/png", ("image", "png")),
            ("file:///a/b/../photo.jpeg", "image/jpeg", ("photo", "jpg")),
            ("../../etc/passwd", "text/x", ("passwd", "bin")),
            (".bashrc", "", ("bashrc", "bin")),
            ("--rf", "", ("rf", "bin")),
            ("a b\u{202e}c.tar.gz", "", ("a_b_c.tar", "gz")),
            ("/", "", ("data", "bin")),
            ("x..", "", ("x.", "bin")),
        ] {
            let (name, extension) = plain_name(stem, mime_type);
            assert_eq!((name.as_str(), extension.as_str()), expected, "{stem}");
        }
    }
}
