//! The stores over Redis, for tests. They are written to be read, not to be fast.
//!
//! Events are entries of Redis streams, whose ids Redis gives. A session has a counter, a list of its
//! streams, and for each stream the entry and one key that says what is gone.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use compere::server::http::store::{
    EventId, EventReader, EventStore, LetterReader, Mailbox, ReadError, SessionStore, Shared, Soon,
    Start, StoreError,
};
use redis::Client;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;

use crate::redis_server::{Server, failed, script};

/// How long Redis waits for news before it is asked again.
const BLOCK_MILLIS: usize = 500;

/// The stores as one instance has them, with connections of their own.
pub async fn stores(redis: &Server, kept: usize) -> Shared {
    let (client, connection) = redis.connect().await;
    let stores = Arc::new(Stores {
        client,
        connection,
        kept,
    });
    Shared::new(stores.clone(), stores.clone(), stores)
}

struct Stores {
    client: Client,
    connection: MultiplexedConnection,
    kept: usize,
}

fn stream_key(session: &str, stream: &str) -> String {
    format!("events:{session}:{stream}")
}

/// KEYS: the order of the session's events, the stream, what is gone of streams.
/// ARGV: the name of the stream, the event, how many are kept.
const APPEND: &str = r"
local id = redis.call('XADD', KEYS[2], '*', 'event', ARGV[2])
redis.call('RPUSH', KEYS[1], ARGV[1] .. ' ' .. id)
while redis.call('LLEN', KEYS[1]) > tonumber(ARGV[3]) do
  local oldest = redis.call('LPOP', KEYS[1])
  local space = string.find(oldest, ' ')
  local name, gone = string.sub(oldest, 1, space - 1), string.sub(oldest, space + 1)
  redis.call('XDEL', KEYS[4] .. name, gone)
  redis.call('HSET', KEYS[3], name, gone)
end
return id";

/// KEYS: the stream, what is gone of streams, that the session is over. ARGV: the name of the stream,
/// the id.
/// Gives where to read on, or why not.
const FIND: &str = r"
if redis.call('EXISTS', KEYS[3]) == 1 then return 'evicted' end
local gone = redis.call('HGET', KEYS[2], ARGV[1])
if ARGV[2] == '' then return gone and 'evicted' or '0-0' end
if ARGV[2] == 'oldest' then return gone or '0-0' end
if redis.call('EXISTS', KEYS[1]) == 0 then return 'evicted' end
if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 1 or gone == ARGV[2] then return ARGV[2] end
local function parts(id)
  local dash = string.find(id, '-')
  return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
end
local a, b = parts(ARGV[2])
local c, d = 0, 0
if gone then c, d = parts(gone) end
if a < c or (a == c and b < d) then return 'evicted' end
return 'unknown'";

/// KEYS: the value. ARGV: what it must be.
const REMOVE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// KEYS: the order of the events, what is gone, that it is over. ARGV: what the keys of streams begin with.
const FORGET: &str = r"
redis.call('SET', KEYS[3], 1, 'EX', 3600)
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do redis.call('DEL', key) end
redis.call('DEL', KEYS[1], KEYS[2])";

impl EventStore for Stores {
    fn append(
        &self,
        session: &str,
        stream: &str,
        event: Bytes,
    ) -> Soon<Result<EventId, StoreError>> {
        let mut connection = self.connection.clone();
        let call = script(
            APPEND,
            &[
                format!("order:{session}"),
                stream_key(session, stream),
                format!("gone:{session}"),
                stream_key(session, ""),
            ],
            &[stream.as_bytes(), &event, self.kept.to_string().as_bytes()],
        );
        let appending = async move {
            let id: String = call.query_async(&mut connection).await.map_err(failed)?;
            Ok(id.into())
        };
        Soon::later(appending)
    }

    fn read(
        &self,
        session: &str,
        stream: &str,
        start: Start<'_>,
    ) -> Soon<Result<Box<dyn EventReader>, ReadError>> {
        let from = match start {
            Start::Beginning => String::new(),
            Start::Oldest => "oldest".to_owned(),
            Start::After(id) => {
                let number = |part: &str| part.parse::<u64>().is_ok();
                let known = id.split_once('-');
                if !known.is_some_and(|(one, other)| number(one) && number(other)) {
                    return Soon::now(Err(ReadError::Unknown));
                }
                id.to_owned()
            }
        };
        let mut connection = self.connection.clone();
        let client = self.client.clone();
        let key = stream_key(session, stream);
        let gone = format!("gone:{session}");
        let over = format!("over:{session}");
        let stream = stream.to_owned();
        Soon::later(async move {
            let keys = [key.clone(), gone.clone(), over.clone()];
            let call = script(FIND, &keys, &[stream.as_bytes(), from.as_bytes()]);
            let found: redis::RedisResult<String> = call.query_async(&mut connection).await;
            let after = found.map_err(|error| ReadError::Failed(failed(error)))?;
            match &*after {
                "evicted" => return Err(ReadError::Evicted),
                "unknown" => return Err(ReadError::Unknown),
                _ => {}
            }
            // Whoever waits for news blocks its connection: each reader has one of its own.
            let (say, events) = mpsc::channel(1);
            let reading = tokio::spawn(async move {
                let stopped = say.clone();
                let ended = tokio::select! {
                    ended = read_on(client, [key, gone, over], stream, after, say) => ended,
                    () = stopped.closed() => return,
                };
                if let Err(error) = ended {
                    let _ = stopped.send(Err(error)).await;
                }
            });
            Ok(Box::new(Reading {
                events,
                _task: Aborted(reading),
            }) as Box<dyn EventReader>)
        })
    }

    fn forget(&self, session: &str) -> Soon<Result<(), StoreError>> {
        let mut connection = self.connection.clone();
        let keys = ["order", "gone", "over"].map(|kind| format!("{kind}:{session}"));
        let call = script(FORGET, &keys, &[stream_key(session, "").as_bytes()]);
        Soon::later(async move { call.query_async(&mut connection).await.map_err(failed) })
    }
}

type Said = Result<(EventId, Bytes), ReadError>;

async fn read_on(
    client: Client,
    [key, gone, over]: [String; 3],
    stream: String,
    mut after: String,
    say: mpsc::Sender<Said>,
) -> Result<(), ReadError> {
    let lost = |error| ReadError::Failed(failed(error));
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .map_err(lost)?;
    connection.set_response_timeout(Duration::from_secs(60));
    loop {
        let reply: redis::streams::StreamReadReply = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(64)
            .arg("BLOCK")
            .arg(BLOCK_MILLIS)
            .arg("STREAMS")
            .arg(&key)
            .arg(&after)
            .query_async(&mut connection)
            .await
            .map_err(lost)?;
        // What went while we were slow is behind us now.
        let newest_gone: Option<String> = redis::cmd("HGET")
            .arg(&gone)
            .arg(&stream)
            .query_async(&mut connection)
            .await
            .map_err(lost)?;
        let is_over: bool = redis::cmd("EXISTS")
            .arg(&over)
            .query_async(&mut connection)
            .await
            .map_err(lost)?;
        if is_over {
            return Err(ReadError::Evicted);
        }
        let entries = reply.keys.into_iter().flat_map(|key| key.ids);
        let entries: Vec<_> = entries.collect();
        let first = entries.first().map(|entry| parts(&entry.id));
        if let (Some(gone), Some(first)) = (newest_gone, first)
            && parts(&gone) > parts(&after)
            && first > parts(&gone)
        {
            return Err(ReadError::Evicted);
        }
        for entry in entries {
            let event: Vec<u8> = entry.get("event").unwrap_or_default();
            after = entry.id.clone();
            if say.send(Ok((entry.id.into(), event.into()))).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn parts(id: &str) -> (u64, u64) {
    let (one, other) = id.split_once('-').unwrap_or((id, "0"));
    (
        one.parse().unwrap_or_default(),
        other.parse().unwrap_or_default(),
    )
}

struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Reading {
    events: mpsc::Receiver<Said>,
    _task: Aborted,
}

impl EventReader for Reading {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Said> {
        self.events.poll_recv(context).map(|said| {
            let gone = || Err(ReadError::Failed(StoreError::new("the reading has ended")));
            said.unwrap_or_else(gone)
        })
    }
}

impl SessionStore for Stores {
    fn put(&self, key: &str, value: Bytes, expires: Duration) -> Soon<Result<(), StoreError>> {
        let mut connection = self.connection.clone();
        let key = format!("value:{key}");
        Soon::later(async move {
            let millis = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
            redis::cmd("SET")
                .arg(key)
                .arg(value.as_ref())
                .arg("PX")
                .arg(millis)
                .query_async(&mut connection)
                .await
                .map_err(failed)
        })
    }

    fn get(&self, key: &str) -> Soon<Result<Option<Bytes>, StoreError>> {
        let mut connection = self.connection.clone();
        let key = format!("value:{key}");
        Soon::later(async move {
            let asked = redis::cmd("GET")
                .arg(key)
                .query_async(&mut connection)
                .await;
            let value: Option<Vec<u8>> = asked.map_err(failed)?;
            Ok(value.map(Bytes::from))
        })
    }

    fn remove(&self, key: &str, value: Bytes) -> Soon<Result<bool, StoreError>> {
        let mut connection = self.connection.clone();
        let call = script(REMOVE, &[format!("value:{key}")], &[&value]);
        Soon::later(async move { call.query_async(&mut connection).await.map_err(failed) })
    }
}

impl Mailbox for Stores {
    fn send(&self, to: &str, letter: Bytes) -> Soon<Result<(), StoreError>> {
        let mut connection = self.connection.clone();
        let key = format!("letters:{to}");
        Soon::later(async move {
            let pushed = redis::cmd("RPUSH")
                .arg(key)
                .arg(letter.as_ref())
                .query_async(&mut connection)
                .await;
            let _: i64 = pushed.map_err(failed)?;
            Ok(())
        })
    }

    fn receive(&self, at: &str) -> Box<dyn LetterReader> {
        let (say, letters) = mpsc::channel(64);
        let client = self.client.clone();
        let key = format!("letters:{at}");
        let receiving = tokio::spawn(async move {
            if let Err(error) = receive(client, key, &say).await {
                let _ = say.send(Err(failed(error))).await;
            }
        });
        Box::new(Receiving {
            letters,
            _task: Aborted(receiving),
        })
    }
}

async fn receive(
    client: Client,
    key: String,
    say: &mpsc::Sender<Result<Bytes, StoreError>>,
) -> redis::RedisResult<()> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    connection.set_response_timeout(Duration::from_secs(60));
    loop {
        let popped: Option<(String, Vec<u8>)> = redis::cmd("BLPOP")
            .arg(&key)
            .arg(2)
            .query_async(&mut connection)
            .await?;
        if let Some((_, letter)) = popped
            && say.send(Ok(letter.into())).await.is_err()
        {
            return Ok(());
        }
    }
}

struct Receiving {
    letters: mpsc::Receiver<Result<Bytes, StoreError>>,
    _task: Aborted,
}

impl LetterReader for Receiving {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, StoreError>> {
        self.letters.poll_recv(context).map(|said| {
            let gone = || Err(StoreError::new("nobody receives any more"));
            said.unwrap_or_else(gone)
        })
    }
}
