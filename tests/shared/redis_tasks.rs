//! The store of tasks over Redis, for tests. It is written to be read, not to be fast.
//!
//! A task is a hash with its version and state; an owner has a list of the names of its tasks.

use std::time::Duration;

use bytes::Bytes;
use compere::server::tasks::{KeptTask, Soon, StoreError, TaskStore};
use redis::aio::MultiplexedConnection;

use crate::redis_server::{Server, failed, script};

/// Tasks over Redis.
#[derive(Clone)]
pub struct Tasks(MultiplexedConnection);

impl Tasks {
    /// The tasks as one instance has them, with a connection of its own.
    pub async fn of(redis: &Server) -> Self {
        Self(redis.connect().await.1)
    }
}

/// KEYS: the names of the owner's tasks, the task. ARGV: what the keys of its tasks begin with, the name,
/// the state, the milliseconds that it is kept, how many there may be.
const ADD_TASK: &str = r"
local alive = 0
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if redis.call('EXISTS', ARGV[1] .. id) == 1 then
    alive = alive + 1
  else
    redis.call('LREM', KEYS[1], 1, id)
  end
end
if alive >= tonumber(ARGV[5]) then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], 'version', 0, 'state', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1";

/// KEYS: the task. ARGV: the version that it must have, the state.
const REPLACE_TASK: &str = r"
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'version', 1)
return 1";

/// KEYS: the names of the owner's tasks. ARGV: what the keys of its tasks begin with, the name behind
/// which to begin, how many are wanted.
/// Gives whether it can tell, and three entries for each task.
const LIST_TASKS: &str = r"
local found, first = {'1'}, 0
if ARGV[2] ~= '' then
  local place = redis.call('LPOS', KEYS[1], ARGV[2])
  if not place or redis.call('EXISTS', ARGV[1] .. ARGV[2]) == 0 then return {'0'} end
  first = place + 1
end
for _, id in ipairs(redis.call('LRANGE', KEYS[1], first, -1)) do
  if (#found - 1) / 3 >= tonumber(ARGV[3]) then break end
  local task = redis.call('HMGET', ARGV[1] .. id, 'version', 'state')
  if task[1] then
    table.insert(found, id)
    table.insert(found, task[1])
    table.insert(found, task[2])
  end
end
return found";

/// What the keys of an owner's tasks begin with. The length keeps owners apart, whatever their names.
fn tasks_of(owner: &str) -> String {
    format!("task:{}:{owner}:", owner.len())
}

fn names_of(owner: &str) -> String {
    format!("tasks:{owner}")
}

impl TaskStore for Tasks {
    fn add(
        &self,
        owner: &str,
        id: &str,
        state: Bytes,
        expires: Duration,
        most: usize,
    ) -> Soon<Result<bool, StoreError>> {
        let mut connection = self.0.clone();
        let tasks = tasks_of(owner);
        let call = script(
            ADD_TASK,
            &[names_of(owner), format!("{tasks}{id}")],
            &[
                tasks.as_bytes(),
                id.as_bytes(),
                &state,
                expires.as_millis().to_string().as_bytes(),
                most.to_string().as_bytes(),
            ],
        );
        Soon::later(async move { call.query_async(&mut connection).await.map_err(failed) })
    }

    fn get(&self, owner: &str, id: &str) -> Soon<Result<Option<KeptTask>, StoreError>> {
        let mut connection = self.0.clone();
        let key = format!("{}{id}", tasks_of(owner));
        let id = id.into();
        Soon::later(async move {
            let asked = redis::cmd("HMGET")
                .arg(key)
                .arg(&["version", "state"])
                .query_async(&mut connection)
                .await;
            let (version, state): (Option<u64>, Option<Vec<u8>>) = asked.map_err(failed)?;
            Ok(version.zip(state).map(|(version, state)| KeptTask {
                id,
                version,
                state: state.into(),
            }))
        })
    }

    fn replace(
        &self,
        owner: &str,
        id: &str,
        version: u64,
        state: Bytes,
    ) -> Soon<Result<bool, StoreError>> {
        let mut connection = self.0.clone();
        let key = format!("{}{id}", tasks_of(owner));
        let version = version.to_string();
        let call = script(REPLACE_TASK, &[key], &[version.as_bytes(), &state]);
        Soon::later(async move { call.query_async(&mut connection).await.map_err(failed) })
    }

    fn list(
        &self,
        owner: &str,
        after: Option<&str>,
        most: usize,
    ) -> Soon<Result<Option<Vec<KeptTask>>, StoreError>> {
        let mut connection = self.0.clone();
        let call = script(
            LIST_TASKS,
            &[names_of(owner)],
            &[
                tasks_of(owner).as_bytes(),
                after.unwrap_or_default().as_bytes(),
                most.to_string().as_bytes(),
            ],
        );
        Soon::later(async move {
            let asked = call.query_async(&mut connection).await;
            let found: Vec<Vec<u8>> = asked.map_err(failed)?;
            let Some((known, tasks)) = found.split_first() else {
                return Err(StoreError::new("Redis answered nothing"));
            };
            if known != b"1" {
                return Ok(None);
            }
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(StoreError::new);
            let task = |task: &[Vec<u8>]| {
                Ok(KeptTask {
                    id: text(&task[0])?.into(),
                    version: text(&task[1])?.parse().map_err(StoreError::new)?,
                    state: task[2].clone().into(),
                })
            };
            tasks
                .chunks_exact(3)
                .map(task)
                .collect::<Result<_, _>>()
                .map(Some)
        })
    }
}
