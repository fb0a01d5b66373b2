//! Files as resources: read by URI, completed by path, watched while anyone is subscribed.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compere::prelude::*;
use compere::{CompletionQuery, Session};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::files::list::is_dir;
use crate::files::read::{TEXT_BYTES, media_type};
use crate::files::roots::{Access, View, path_of};

/// The resources of this server.
pub(super) const TEMPLATE: &str = "file://{+path}";
/// The most entries of a directory that a completion looks at.
const ENTRIES: usize = 10_000;
/// The most suggestions that are made; the protocol shows fewer and says how many there are.
const SUGGESTIONS: usize = 1000;
/// What must be encoded in the path of a URI.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The URI of a file.
pub(super) fn file_uri(path: &Path) -> String {
    format!(
        "file://{}",
        utf8_percent_encode(&path.to_string_lossy(), PATH)
    )
}

/// A file below one of the allowed directories. One that is too large to be read at once is read
/// in pages with the tool `read_text_file`.
#[resource("file://{+path}", name = "file", subscribable)]
pub(super) async fn file(
    uri: Uri,
    access: State<Access>,
    context: Context,
    path: String,
) -> Result<ReadResourceResult, ToolError> {
    access
        .with_view(context, move |view, _| {
            let not_found = || ToolError::resource_not_found(&uri.0);
            // The variable of a template comes decoded.
            if !path.starts_with('/') {
                return Err(not_found());
            }
            let place = view.place(&path).map_err(|_| not_found())?;
            let metadata = place
                .root
                .dir()
                .metadata(&place.inside)
                .map_err(|_| not_found())?;
            if metadata.is_dir() {
                return Err(invalid(
                    "The resource is a directory; list it with list_directory",
                ));
            }
            if metadata.len() > TEXT_BYTES {
                return Err(invalid(&format!(
                    "The resource is larger than {TEXT_BYTES} bytes; read it in pages with \
                 read_text_file"
                )));
            }
            let bytes = place.read(TEXT_BYTES)?;
            let mime_type = media_type(&place.inside);
            let contents = match String::from_utf8(bytes) {
                Ok(text) => ResourceContents::text(uri.0.clone(), text),
                Err(bytes) => {
                    ResourceContents::blob(uri.0.clone(), STANDARD.encode(bytes.as_bytes()))
                }
            };
            Ok(contents.mime_type(mime_type).into())
        })
        .await
}

fn invalid(text: &str) -> ToolError {
    ToolError::protocol(compere::model::ErrorObject::invalid_params(text.to_owned()))
}

/// Paths that begin with what was typed. Directories end with a slash.
pub(super) async fn complete(
    access: Access,
    query: CompletionQuery,
) -> Result<Vec<String>, ToolError> {
    let view = access.view_of(&query.session).await;
    Ok(compere::server::blocking(move || suggestions(&view, &query.value)).await)
}

fn suggestions(view: &View, typed: &str) -> Vec<String> {
    let mut found: Vec<String> = view
        .roots()
        .iter()
        .map(|root| format!("{}/", root.path().display()))
        .filter(|path| path.starts_with(typed) && path != typed)
        .collect();
    if let Some((parent, name)) = typed.rsplit_once('/')
        && let Ok(place) = view.place(&format!("{parent}/"))
        && let Ok(dir) = place.root.dir().open_dir(&place.inside)
    {
        let entries = dir.entries().into_iter().flatten().flatten().take(ENTRIES);
        for entry in entries {
            let entry_name = entry.file_name().to_string_lossy().into_owned();
            // Hidden names are offered to who asks for them.
            if !entry_name.starts_with(name) || (name.is_empty() && entry_name.starts_with('.')) {
                continue;
            }
            let slash = match is_dir(&entry) {
                true => "/",
                false => "",
            };
            found.push(format!("{parent}/{entry_name}{slash}"));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(SUGGESTIONS);
    found
}

/// Begins to watch what a client subscribes to.
pub(super) fn subscribe(access: &Access, session: &Session, uri: &str) -> Result<(), ToolError> {
    let not_found = || ToolError::resource_not_found(uri);
    let path = path_of(uri).ok_or_else(not_found)?;
    let view = access.view_now(session);
    let place = view
        .place(&path.to_string_lossy())
        .map_err(|_| not_found())?;
    access
        .watcher()
        .watch(&place, uri, session.server())
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => not_found(),
            _ => ToolError::new(format!("The resource cannot be watched: {error}.")),
        })
}

/// Ends a watch.
pub(super) fn unsubscribe(access: &Access, uri: &str) {
    access.watcher().forget(uri);
}
