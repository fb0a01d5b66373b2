//! The contract of the store of tasks that several instances of a server share. Whoever implements it runs
//! this against two views of the same store, as two instances would have them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compere::server::tasks::{KeptTask, StoreError, TaskStore};

/// How long something may take that is to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(600);
/// Over soon.
const SHORT: Duration = Duration::from_millis(200);

/// Two instances with the same store, in which there is nothing yet.
pub struct TaskInstances {
    /// One of them.
    pub one: Arc<dyn TaskStore>,
    /// The other.
    pub other: Arc<dyn TaskStore>,
}

fn good<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("the store failed: {error}"))
}

impl TaskInstances {
    async fn add(&self, owner: &str, id: &str, expires: Duration, most: usize) -> bool {
        let state = Bytes::from(format!("{id} of {owner}"));
        good(self.one.add(owner, id, state, expires, most).await)
    }

    /// What both know of a task.
    async fn get(&self, owner: &str, id: &str) -> Option<KeptTask> {
        let known = good(self.one.get(owner, id).await);
        assert_eq!(known, good(self.other.get(owner, id).await), "{owner} {id}");
        known
    }

    async fn list(&self, owner: &str, after: Option<&str>, most: usize) -> Option<Vec<String>> {
        let listed = good(self.one.list(owner, after, most).await);
        assert_eq!(listed, good(self.other.list(owner, after, most).await));
        let listed = listed?;
        for task in &listed {
            assert_eq!(self.get(owner, &task.id).await.as_ref(), Some(task));
        }
        Some(listed.into_iter().map(|task| task.id.into()).collect())
    }

    /// Everything at once.
    ///
    /// # Panics
    ///
    /// If the contract is broken; it says where.
    pub async fn keep_the_contract(&self) {
        self.a_task_is_its_owners().await;
        self.only_what_was_read_is_replaced().await;
        self.no_change_is_lost().await;
        self.tasks_are_listed_as_they_were_added().await;
        self.owners_have_so_many_at_most().await;
        self.tasks_are_forgotten_in_time().await;
        self.any_bytes_are_kept().await;
    }

    async fn a_task_is_its_owners(&self) {
        assert_eq!(self.get("ada", "a").await, None);
        assert!(self.add("ada", "a", LONG, 8).await);
        assert!(self.add("bob", "b", LONG, 8).await);
        let known = self.get("ada", "a").await.expect("the task a");
        assert_eq!((&*known.id, &*known.state), ("a", &b"a of ada"[..]));
        for (owner, id) in [("bob", "a"), ("ada", "b"), ("", "a"), ("ada", "")] {
            assert_eq!(self.get(owner, id).await, None, "{owner} {id}");
            let replaced = self.other.replace(owner, id, known.version, Bytes::new());
            assert!(!good(replaced.await), "{owner} {id}");
        }
        // Whatever an owner is called, it is no other one.
        for owner in ["ada:", ":ada", "ada/a", "a da", "äda", "ada*"] {
            assert_eq!(self.get(owner, "a").await, None, "{owner}");
            assert!(self.add(owner, &format!("of {owner}"), LONG, 8).await);
            assert_eq!(self.list(owner, None, 8).await.unwrap().len(), 1, "{owner}");
        }
        assert_eq!(self.list("ada", None, 8).await.unwrap(), ["a"]);
    }

    async fn only_what_was_read_is_replaced(&self) {
        self.add("versions", "v", LONG, 8).await;
        let mut seen = Vec::new();
        for number in 0..4 {
            let known = self.get("versions", "v").await.expect("the task v");
            assert!(!seen.contains(&known.version), "{seen:?} {known:?}");
            let state = Bytes::from(number.to_string());
            let (writes, is_late) = match number % 2 {
                0 => (&self.one, &self.other),
                _ => (&self.other, &self.one),
            };
            let replace = |store: &Arc<dyn TaskStore>, version| {
                store.replace("versions", "v", version, state.clone())
            };
            assert!(good(replace(writes, known.version).await));
            assert!(!good(replace(is_late, known.version).await));
            for old in &seen {
                assert!(!good(replace(writes, *old).await), "version {old}");
            }
            seen.push(known.version);
            let now = self.get("versions", "v").await.expect("the task v");
            assert_eq!(now.state, state);
        }
    }

    async fn no_change_is_lost(&self) {
        const EACH: u32 = 25;
        self.add("racing", "r", LONG, 8).await;
        let task = self.get("racing", "r").await.expect("the task r");
        let zero = Bytes::from_static(b"0");
        let begun = self.one.replace("racing", "r", task.version, zero);
        assert!(good(begun.await));
        let racers = [&self.one, &self.other, &self.one, &self.other].map(|store| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    loop {
                        let known = good(store.get("racing", "r").await).expect("the task r");
                        let text = std::str::from_utf8(&known.state).expect("a number");
                        let next = text.parse::<u32>().expect("a number") + 1;
                        tokio::task::yield_now().await;
                        let next = Bytes::from(next.to_string());
                        if good(store.replace("racing", "r", known.version, next).await) {
                            break;
                        }
                    }
                }
            })
        });
        for racer in racers {
            racer.await.expect("a racer");
        }
        let after = self.get("racing", "r").await.expect("the task r");
        assert_eq!(after.state, (4 * EACH).to_string());
    }

    async fn tasks_are_listed_as_they_were_added(&self) {
        // In no order that anything else has.
        let added = ["m", "c", "x", "a", "z", "b"];
        assert_eq!(self.list("listed", None, 4).await.unwrap(), [""; 0]);
        for id in added {
            assert!(self.add("listed", id, LONG, 8).await);
        }
        let second = self.get("listed", "c").await.expect("the task c");
        let changed = Bytes::from_static(b"changed");
        let replaced = self.other.replace("listed", "c", second.version, changed);
        assert!(good(replaced.await));
        assert_eq!(self.list("listed", None, 100).await.unwrap(), added);
        assert_eq!(self.list("listed", None, 2).await.unwrap(), added[..2]);
        for (place, id) in added.iter().enumerate() {
            let behind = self.list("listed", Some(id), 3).await.unwrap();
            let end = (place + 4).min(added.len());
            assert_eq!(behind, added[place + 1..end], "behind {id}");
        }
        assert_eq!(self.list("listed", Some("nothing"), 3).await, None);
        assert_eq!(self.list("versions", Some("c"), 3).await, None);
    }

    async fn owners_have_so_many_at_most(&self) {
        for id in ["1", "2", "3"] {
            assert!(self.add("bounded", id, LONG, 3).await);
        }
        assert!(!self.add("bounded", "4", LONG, 3).await);
        assert_eq!(self.get("bounded", "4").await, None);
        assert_eq!(self.list("bounded", None, 9).await.unwrap().len(), 3);
        assert!(self.add("bounded too", "5", LONG, 3).await);
        assert!(!self.add("nothing", "6", LONG, 0).await);
        // Whoever adds at the same time adds no more.
        let adding = (0..12).map(|number| {
            let store = [&self.one, &self.other][number % 2].clone();
            let id = format!("at once {number}");
            tokio::spawn(
                async move { good(store.add("at once", &id, Bytes::new(), LONG, 5).await) },
            )
        });
        let mut added = 0;
        for adding in adding.collect::<Vec<_>>() {
            added += usize::from(adding.await.expect("one that adds"));
        }
        assert_eq!(added, 5);
    }

    async fn tasks_are_forgotten_in_time(&self) {
        assert!(self.add("forgotten", "stays", LONG, 2).await);
        assert!(self.add("forgotten", "goes", SHORT, 2).await);
        assert!(!self.add("forgotten", "third", LONG, 2).await);
        let known = self.get("forgotten", "goes").await.expect("the task goes");
        // A change gives no more time.
        let replaced = self
            .one
            .replace("forgotten", "goes", known.version, known.state);
        assert!(good(replaced.await));
        let known = good(self.one.get("forgotten", "goes").await).expect("the task goes");
        let gone = async {
            while good(self.other.get("forgotten", "goes").await).is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, gone).await;
        assert!(in_time.is_ok(), "the task is not forgotten");
        assert_eq!(self.get("forgotten", "goes").await, None);
        let replaced = self
            .one
            .replace("forgotten", "goes", known.version, Bytes::new());
        assert!(!good(replaced.await));
        assert_eq!(self.list("forgotten", None, 9).await.unwrap(), ["stays"]);
        assert_eq!(self.list("forgotten", Some("goes"), 9).await, None);
        assert!(self.add("forgotten", "third", LONG, 2).await);
        assert_eq!(
            self.list("forgotten", None, 9).await.unwrap(),
            ["stays", "third"]
        );
    }

    async fn any_bytes_are_kept(&self) {
        let every: Vec<u8> = (0..=u8::MAX).cycle().take(1024 * 1024).collect();
        for (id, state) in [("every", Bytes::from(every)), ("none", Bytes::new())] {
            let added = self.one.add("bytes", id, state.clone(), LONG, 9);
            assert!(good(added.await));
            assert_eq!(self.get("bytes", id).await.expect(id).state, state);
        }
    }
}
