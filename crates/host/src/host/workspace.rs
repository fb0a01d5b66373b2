//! What the files of a folder ask for. They may come from anybody: what they ask for waits for a person
//! like everything else, knows nothing of the person's variables and files, and gets no leave from what
//! they say of leave.

use std::path::Path;

use crate::config::{Entry, Fault, Folders, Launch, Place, Scope, Settings, places, read};

/// The files that a folder may have.
pub(super) fn files(workspace: &Path) -> impl Iterator<Item = Place> {
    let folders = Folders {
        workspace: Some(workspace),
        ..Folders::default()
    };
    let places = places(&folders).into_iter();
    places.filter(|place| place.scope == Scope::Workspace)
}

/// The servers that the files of a folder ask for, each name once, and what is wrong with the files.
/// `own` is the person's own file, which may lie there too.
pub(super) fn asked_for(workspace: &Path, own: &Path) -> (Vec<Entry>, Vec<Fault>) {
    let (mut entries, mut faults) = (Vec::<Entry>::new(), Vec::new());
    let own = own.canonicalize().ok();
    for place in files(workspace) {
        if own.is_some() && place.path.canonicalize().ok() == own {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&place.path) else {
            continue;
        };
        let found = read(&text, &place, Some(workspace));
        faults.extend(found.faults.into_iter().map(|fault| Fault {
            server: None,
            why: format!("{}: {fault}", place.path.display()),
        }));
        for mut entry in found.entries {
            if entries.iter().any(|known| known.name == entry.name) {
                continue;
            }
            entry.settings = Settings {
                roots: vec![workspace.display().to_string()],
                write: entry.settings.write,
                network: entry.settings.network,
                hosts: entry.settings.hosts,
                ..Settings::default()
            };
            if let Launch::Command { folder, .. } = &mut entry.launch {
                let inside = folder.take().map(|folder| workspace.join(folder));
                let inside = inside.unwrap_or_else(|| workspace.to_owned());
                *folder = Some(inside.display().to_string());
            }
            entries.push(entry);
        }
    }
    (entries, faults)
}
