//! Any text as a path of the files server: what is resolved has no way up in it, and no text reads
//! what lies outside.
#![no_main]

use std::path::{Component, Path};
use std::sync::OnceLock;

use compere_servers::files::{OpenRoot, View};
use libfuzzer_sys::fuzz_target;

/// A directory with a link out and a file, and a secret beside it.
fn view() -> &'static View {
    static VIEW: OnceLock<View> = OnceLock::new();
    VIEW.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("compere-fuzz-path-{}", std::process::id()));
        let inside = folder.join("inside");
        std::fs::create_dir_all(inside.join("a/b")).expect("a folder for the fuzzer");
        std::fs::write(folder.join("secret"), "secret").expect("a secret");
        std::fs::write(inside.join("a/f"), "fine").expect("a file");
        for (to, from) in [("../secret", "out"), ("..", "up"), ("a", "link")] {
            let _ = std::os::unix::fs::symlink(to, inside.join(from));
        }
        let root = OpenRoot::open(&inside).expect("the folder opens");
        View::new(vec![root], Some(Path::new("/home/ada")))
    })
}

fuzz_target!(|path: &str| {
    let Ok(place) = view().place(path) else { return };
    assert!(
        place
            .inside()
            .components()
            .all(|component| matches!(component, Component::Normal(_) | Component::CurDir)),
        "{path:?} became {:?}",
        place.inside()
    );
    if let Ok(text) = place.read_text() {
        assert!(!text.contains("secret"), "{path:?} leads out");
    }
});
