//! Changes of files as Linux tells them.
//!
//! A file is watched itself and by its name in its directory, so that one that is replaced is
//! noticed too. The kernel is given handles that were opened inside of a root, never paths. What
//! happens within a moment is one announcement.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use compere::ServerHandle;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::files::roots::{Place, without_waiting};

/// What follows within this time belongs to the same announcement.
const TOGETHER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

fn wanted() -> WatchFlags {
    WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
}

/// The files that clients of one server are subscribed to. Its thread starts with the first of
/// them and ends with the watcher.
#[derive(Default)]
pub(in crate::files) struct Watcher(Mutex<Option<Arc<Active>>>);

struct Active {
    events: OwnedFd,
    /// Readable when the watcher is gone.
    gone: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    subscriptions: HashMap<String, Subscription>,
    /// Which subscriptions a watch is for; with a name, only events of that name.
    interests: HashMap<i32, Vec<Interest>>,
}

struct Subscription {
    clients: usize,
    server: ServerHandle,
    /// The directory and the name in it, to find the file again when it was replaced.
    parent: Option<(Dir, PathBuf)>,
}

struct Interest {
    uri: String,
    name: Option<OsString>,
}

impl Watcher {
    /// Begins to announce changes of a file or directory as changes of `uri`.
    pub(in crate::files) fn watch(
        &self,
        place: &Place<'_>,
        uri: &str,
        server: ServerHandle,
    ) -> io::Result<()> {
        let active = self.active()?;
        let mut state = active.lock();
        if let Some(subscription) = state.subscriptions.get_mut(uri) {
            subscription.clients += 1;
            return Ok(());
        }
        let parent = place.parent().transpose()?;
        active.add_itself(&mut state, place.root.dir(), &place.inside, uri)?;
        if let Some((dir, name)) = &parent {
            active.add(&mut state, dir.as_fd(), uri, Some(name.as_os_str().into()))?;
        }
        let subscription = Subscription {
            clients: 1,
            server,
            parent,
        };
        state.subscriptions.insert(uri.to_owned(), subscription);
        Ok(())
    }

    /// One client less wants to know.
    pub(in crate::files) fn forget(&self, uri: &str) {
        let active = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = active.as_ref() {
            active.forget(uri);
        }
    }

    fn active(&self) -> io::Result<Arc<Active>> {
        let mut active = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = active.as_ref() {
            return Ok(active.clone());
        }
        let started = Arc::new(Active {
            events: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            gone: eventfd(0, EventfdFlags::CLOEXEC)?,
            state: Mutex::default(),
        });
        let watching = started.clone();
        std::thread::Builder::new()
            .name("compere-files-watch".to_owned())
            .spawn(move || watching.run())?;
        *active = Some(started.clone());
        Ok(started)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let active = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = active {
            let _ = rustix::io::write(&active.gone, &1_u64.to_ne_bytes());
        }
    }
}

impl Active {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the file itself, wherever its name may go.
    fn add_itself(&self, state: &mut State, dir: &Dir, name: &Path, uri: &str) -> io::Result<()> {
        let file = dir.open_with(name, &without_waiting())?;
        self.add(state, file.as_fd(), uri, None)
    }

    fn add(
        &self,
        state: &mut State,
        handle: BorrowedFd<'_>,
        uri: &str,
        name: Option<OsString>,
    ) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let watch = inotify::add_watch(&self.events, path, wanted())?;
        let interests = state.interests.entry(watch).or_default();
        let known = |interest: &Interest| interest.uri == uri && interest.name == name;
        if !interests.iter().any(known) {
            interests.push(Interest {
                uri: uri.to_owned(),
                name,
            });
        }
        Ok(())
    }

    fn forget(&self, uri: &str) {
        let mut state = self.lock();
        let Some(subscription) = state.subscriptions.get_mut(uri) else {
            return;
        };
        subscription.clients -= 1;
        if subscription.clients > 0 {
            return;
        }
        state.subscriptions.remove(uri);
        state.interests.retain(|watch, interests| {
            interests.retain(|interest| interest.uri != uri);
            if interests.is_empty() {
                // It may be gone already, with the file.
                let _ = inotify::remove_watch(&self.events, *watch);
            }
            !interests.is_empty()
        });
    }

    fn run(&self) {
        while self.wait_for_events() {
            let changed = self.changed();
            for (server, uri) in changed {
                server.resource_updated(&uri);
            }
        }
    }

    /// Waits until something happened and a moment longer. False when the watcher is gone.
    fn wait_for_events(&self) -> bool {
        let is_gone = |timeout: Option<&Timespec>, with_events: bool| {
            let mut waited = vec![PollFd::new(&self.gone, PollFlags::IN)];
            if with_events {
                waited.push(PollFd::new(&self.events, PollFlags::IN));
            }
            match poll(&mut waited, timeout) {
                Ok(_) => waited.iter().take(1).any(|gone| !gone.revents().is_empty()),
                Err(rustix::io::Errno::INTR) => false,
                Err(_) => true,
            }
        };
        !is_gone(None, true) && !is_gone(Some(&TOGETHER), false)
    }

    /// What is to be announced, and to whom.
    fn changed(&self) -> Vec<(ServerHandle, String)> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.events, &mut buffer);
        let mut state = self.lock();
        let mut uris = HashSet::new();
        let mut replaced = HashSet::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                uris.extend(state.subscriptions.keys().cloned());
            }
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            for interest in state.interests.get(&event.wd()).into_iter().flatten() {
                match &interest.name {
                    None => {
                        uris.insert(interest.uri.clone());
                    }
                    Some(wanted) if Some(wanted.as_bytes()) == name => {
                        uris.insert(interest.uri.clone());
                        replaced.insert(interest.uri.clone());
                    }
                    Some(_) => {}
                }
            }
            if event.events().contains(ReadFlags::IGNORED) {
                state.interests.remove(&event.wd());
            }
        }
        for uri in replaced {
            self.watch_again(&mut state, &uri);
        }
        uris.into_iter()
            .filter_map(|uri| Some((state.subscriptions.get(&uri)?.server.clone(), uri)))
            .collect()
    }

    /// Another file stands under the name now.
    fn watch_again(&self, state: &mut State, uri: &str) {
        let Some(subscription) = state.subscriptions.get_mut(uri) else {
            return;
        };
        let Some((dir, name)) = subscription.parent.take() else {
            return;
        };
        // Not there now; its return will be seen in the directory.
        let _ = self.add_itself(state, &dir, &name, uri);
        if let Some(subscription) = state.subscriptions.get_mut(uri) {
            subscription.parent = Some((dir, name));
        }
    }
}
