//! The contract of the stores that several instances of a server share. Whoever implements them runs
//! this against two views of the same stores, as two instances would have them.

use std::time::Duration;

use bytes::Bytes;
use compere::server::http::store::{EventReader, LetterReader, ReadError, Shared, Start};

/// How long something may take that is to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two instances with the same stores, which keep at least `kept` events of a session, and not more
/// than twice as many.
pub struct Instances {
    /// The one that writes.
    pub one: Shared,
    /// The one that reads.
    pub other: Shared,
    /// How many events of a session are kept.
    pub kept: usize,
}

async fn in_time<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, coming).await;
    came.unwrap_or_else(|_| panic!("{what} never came"))
}

async fn next(reader: &mut Box<dyn EventReader>) -> Result<(Box<str>, Bytes), ReadError> {
    let next = std::future::poll_fn(|context| reader.poll_next(context));
    in_time("an event", next).await
}

async fn letter(reader: &mut Box<dyn LetterReader>) -> Bytes {
    let next = std::future::poll_fn(|context| reader.poll_next(context));
    in_time("a letter", next).await.expect("a letter")
}

fn numbered(number: usize) -> Bytes {
    format!("event {number}").into()
}

impl Instances {
    async fn append(&self, session: &str, stream: &str, event: Bytes) -> Box<str> {
        let appended = self.one.events().append(session, stream, event).await;
        let id = appended.expect("an append");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        assert!(
            !id.is_empty() && id.len() <= 64 && id.bytes().all(plain),
            "the id {id:?}"
        );
        id
    }

    async fn read(&self, session: &str, stream: &str, start: Start<'_>) -> Box<dyn EventReader> {
        let reader = self.other.events().read(session, stream, start).await;
        reader.unwrap_or_else(|error| panic!("{session} {stream} {start:?}: {error:?}"))
    }

    async fn refused(&self, session: &str, stream: &str, start: Start<'_>) -> ReadError {
        match self.other.events().read(session, stream, start).await {
            Err(error) => error,
            // A store may see it only when it reads.
            Ok(mut reader) => next(&mut reader).await.expect_err("an event"),
        }
    }

    /// Everything at once.
    ///
    /// # Panics
    ///
    /// If the contract is broken; it says where.
    pub async fn keep_the_contract(&self) {
        self.events_come_in_order_and_from_anywhere().await;
        self.what_comes_is_read_as_it_comes().await;
        self.streams_and_sessions_are_apart().await;
        self.only_the_oldest_events_go().await;
        self.many_events_are_each_read_once().await;
        self.sessions_are_forgotten().await;
        self.any_bytes_are_kept().await;
        self.values_are_replaced_removed_and_expire().await;
        self.letters_arrive_once_and_in_order().await;
    }

    async fn events_come_in_order_and_from_anywhere(&self) {
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(self.append("order", "1", numbered(number)).await);
        }
        for from in 0..=5 {
            let start = match from {
                0 => Start::Beginning,
                from => Start::After(&ids[from - 1]),
            };
            let mut reader = self.read("order", "1", start).await;
            for (number, expected) in ids.iter().enumerate().skip(from) {
                let (id, event) = next(&mut reader).await.unwrap();
                assert_eq!((&id, event), (expected, numbered(number)));
            }
        }
        let mut all = ids.clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 5, "ids that are the same: {ids:?}");
        for unknown in ["nonsense", "-", "99999999999999-99", "x-1"] {
            let error = self.refused("order", "1", Start::After(unknown)).await;
            assert_eq!(error, ReadError::Unknown, "{unknown:?}");
        }
    }

    async fn what_comes_is_read_as_it_comes(&self) {
        // Two readers, begun before there is anything.
        let mut early = self.read("live", "7", Start::Beginning).await;
        let mut oldest = self.read("live", "7", Start::Oldest).await;
        for number in 0..4 {
            let reading = async {
                let read = next(&mut early).await.unwrap();
                assert_eq!(next(&mut oldest).await.unwrap(), read);
                read
            };
            let (id, read) = tokio::join!(self.append("live", "7", numbered(number)), reading);
            assert_eq!(read, (id, numbered(number)));
        }
    }

    async fn streams_and_sessions_are_apart(&self) {
        for (session, stream) in [
            ("apart", "1"),
            ("apart", "2"),
            ("apart2", "1"),
            ("apart", "12"),
        ] {
            let event = format!("{session}/{stream}");
            self.append(session, stream, event.into()).await;
        }
        for (session, stream) in [
            ("apart", "1"),
            ("apart", "2"),
            ("apart2", "1"),
            ("apart", "12"),
        ] {
            let mut reader = self.read(session, stream, Start::Beginning).await;
            let (id, event) = next(&mut reader).await.unwrap();
            assert_eq!(event, format!("{session}/{stream}"));
            // And nothing behind it.
            let last = self.append(session, stream, "last".into()).await;
            let (second, event) = next(&mut reader).await.unwrap();
            assert_eq!((&second, event), (&last, "last".into()));
            assert_ne!(id, second);
        }
    }

    async fn only_the_oldest_events_go(&self) {
        let many = self.kept * 3;
        let mut ids = Vec::new();
        for number in 0..many {
            ids.push(self.append("bound", "1", numbered(number)).await);
        }
        let newest = many - self.kept;
        let mut reader = self.read("bound", "1", Start::After(&ids[newest])).await;
        for number in newest + 1..many {
            assert_eq!(next(&mut reader).await.unwrap().1, numbered(number));
        }
        let gone = self.refused("bound", "1", Start::Beginning).await;
        assert_eq!(gone, ReadError::Evicted, "from the beginning");
        let gone = self.refused("bound", "1", Start::After(&ids[0])).await;
        assert_eq!(gone, ReadError::Evicted, "from the first");
        let mut oldest = self.read("bound", "1", Start::Oldest).await;
        let (first, _) = next(&mut oldest).await.unwrap();
        let at = ids.iter().position(|id| *id == first).unwrap();
        assert!(
            at > 0 && at <= newest,
            "the oldest that is kept is {at} of {many}"
        );
        for number in at + 1..many {
            assert_eq!(next(&mut oldest).await.unwrap().1, numbered(number));
        }
    }

    async fn many_events_are_each_read_once(&self) {
        const MANY: usize = 300;
        let mut reader = self.read("many", "1", Start::Beginning).await;
        let (read, mut was_read) = tokio::sync::mpsc::channel(self.kept / 2);
        let reading = async move {
            for number in 0..MANY {
                let (_, event) = next(&mut reader).await.unwrap();
                assert_eq!(event, numbered(number));
                read.send(()).await.unwrap();
            }
        };
        let writing = async {
            for number in 0..MANY {
                self.append("many", "1", numbered(number)).await;
                // Never further ahead than what is kept.
                if number >= self.kept / 2 {
                    was_read.recv().await;
                }
            }
            while was_read.recv().await.is_some() {}
        };
        tokio::join!(reading, writing);
    }

    async fn sessions_are_forgotten(&self) {
        let before = self.append("forgotten", "1", numbered(1)).await;
        self.append("remembered", "1", numbered(1)).await;
        let mut reading = self.read("forgotten", "1", Start::After(&before)).await;
        let mut waiting = self.read("forgotten", "2", Start::Beginning).await;
        self.one.events().forget("forgotten").await.expect("forget");
        assert!(next(&mut reading).await.is_err(), "it is read on");
        assert!(next(&mut waiting).await.is_err(), "it is waited for");
        self.refused("forgotten", "1", Start::After(&before)).await;
        let mut reader = self.read("remembered", "1", Start::Beginning).await;
        assert_eq!(next(&mut reader).await.unwrap().1, numbered(1));
    }

    async fn any_bytes_are_kept(&self) {
        let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        self.append("bytes", "1", bytes.clone().into()).await;
        self.append("bytes", "1", Bytes::new()).await;
        let mut reader = self.read("bytes", "1", Start::Beginning).await;
        assert_eq!(next(&mut reader).await.unwrap().1, bytes);
        assert_eq!(next(&mut reader).await.unwrap().1, Bytes::new());
        let (long, short) = (Duration::from_secs(60), bytes.clone());
        let put = self.one.sessions().put("k/1 é", bytes.into(), long).await;
        put.expect("a value");
        let value = self.other.sessions().get("k/1 é").await.unwrap();
        assert_eq!(value.unwrap(), short);
    }

    async fn values_are_replaced_removed_and_expire(&self) {
        let long = Duration::from_secs(60);
        let (one, other) = (self.one.sessions(), self.other.sessions());
        assert_eq!(other.get("value").await.unwrap(), None);
        one.put("value", "1".into(), long).await.unwrap();
        other.put("value", "2".into(), long).await.unwrap();
        assert_eq!(one.get("value").await.unwrap(), Some("2".into()));
        assert!(!one.remove("value", "1".into()).await.unwrap());
        assert_eq!(one.get("value").await.unwrap(), Some("2".into()));
        assert!(one.remove("value", "2".into()).await.unwrap());
        assert!(!other.remove("value", "2".into()).await.unwrap());
        assert_eq!(other.get("value").await.unwrap(), None);
        let short = Duration::from_millis(40);
        one.put("short", "1".into(), long).await.unwrap();
        one.put("short", "2".into(), short).await.unwrap();
        in_time("the end of a value", async {
            while other.get("short").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert!(!one.remove("short", "2".into()).await.unwrap());
    }

    async fn letters_arrive_once_and_in_order(&self) {
        let (one, other) = (self.one.mailbox(), self.other.mailbox());
        // Before anybody reads.
        one.send("here", "first".into()).await.unwrap();
        let mut here = other.receive("here");
        assert_eq!(letter(&mut here).await, "first");
        let mut there = one.receive("there");
        let sending = async {
            for number in 0..50 {
                one.send("here", format!("a {number}").into())
                    .await
                    .unwrap();
                other
                    .send("here", format!("b {number}").into())
                    .await
                    .unwrap();
                one.send("there", format!("c {number}").into())
                    .await
                    .unwrap();
            }
        };
        let reading = async {
            let (mut a, mut b) = (0, 0);
            while a + b < 100 {
                let letter = letter(&mut here).await;
                let letter = std::str::from_utf8(&letter).unwrap();
                let (from, number) = letter.split_once(' ').unwrap();
                let expected = match from {
                    "a" => &mut a,
                    "b" => &mut b,
                    _ => panic!("{letter:?} is not for here"),
                };
                assert_eq!(number, expected.to_string());
                *expected += 1;
            }
        };
        let elsewhere = async {
            for number in 0..50 {
                assert_eq!(letter(&mut there).await, format!("c {number}"));
            }
        };
        tokio::join!(sending, reading, elsewhere);
    }
}
