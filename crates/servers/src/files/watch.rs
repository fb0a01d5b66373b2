//! Who wants to know when a file changes. What the system tells is in one file per mechanism;
//! where there is none, a subscription is refused.

#[cfg(target_os = "linux")]
mod inotify;

#[cfg(target_os = "linux")]
pub(super) use inotify::Watcher;

#[cfg(not(target_os = "linux"))]
pub(super) use nothing::Watcher;

#[cfg(not(target_os = "linux"))]
mod nothing {
    use std::io;

    use compere::ServerHandle;

    use crate::files::roots::Place;

    /// Watches nothing.
    #[derive(Default)]
    pub(in crate::files) struct Watcher;

    impl Watcher {
        pub(in crate::files) fn watch(
            &self,
            _place: &Place<'_>,
            _uri: &str,
            _server: ServerHandle,
        ) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in crate::files) fn forget(&self, _uri: &str) {}
    }
}
