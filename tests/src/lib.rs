//! What the tests of this workspace share: the hostile peers, the command line as they find it, large
//! counts, and waiting for other processes. The tests stand beside this folder.

use std::path::PathBuf;
use std::time::Duration;

#[path = "../hostile/attacks.rs"]
pub mod attacks;
pub mod balanced;
pub mod carrier;
pub mod cutting;
#[path = "../stateless/doors.rs"]
pub mod doors;
#[path = "../interop/ground.rs"]
pub mod ground;
#[path = "../host/hosting.rs"]
pub mod hosting;
#[path = "../hostile/impostors.rs"]
pub mod impostors;
#[path = "../interop/listening.rs"]
pub mod listening;
#[path = "../hostile/moderns.rs"]
pub mod moderns;
#[path = "../hostile/patients.rs"]
pub mod patients;
#[path = "../host/provider.rs"]
pub mod provider;
#[path = "../hostile/stage.rs"]
pub mod stage;
#[path = "../host/typescript.rs"]
pub mod typescript;

/// The command line, built by `cargo xtask test` into the folder that the tests run from.
pub fn compere() -> PathBuf {
    // The tests themselves stand one folder further down.
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.ancestors().nth(2).unwrap_or(&test);
    let path = folder.join("compere");
    assert!(
        path.exists(),
        "{} is not there: run `cargo build -p compere-cli`",
        path.display()
    );
    path
}

/// A count that a soak raises by an environment variable.
pub fn count(variable: &str, usually: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(usually)
}

/// Waits until something holds that only another process or the file system can tell, which nobody
/// announces.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert!(waited.is_ok(), "{what} never came");
}
