//! Used states over Redis, for tests: one value each, which is set only where there is none.

use std::time::Duration;

use compere::server::used_states::{Soon, StoreError, UsedStates};
use redis::aio::MultiplexedConnection;

use crate::redis_server::{Server, failed};

/// Used states over Redis.
#[derive(Clone)]
pub struct Used(MultiplexedConnection);

impl Used {
    /// Those that one instance knows of, with a connection of its own.
    pub async fn of(redis: &Server) -> Self {
        Self(redis.connect().await.1)
    }
}

impl UsedStates for Used {
    fn use_up(&self, state: &str, expires: Duration) -> Soon<Result<bool, StoreError>> {
        let mut connection = self.0.clone();
        let key = format!("used:{state}");
        let millis = u64::try_from(expires.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        Soon::later(async move {
            let set: Option<String> = redis::cmd("SET")
                .arg(key)
                .arg(1)
                .arg("NX")
                .arg("PX")
                .arg(millis)
                .query_async(&mut connection)
                .await
                .map_err(failed)?;
            Ok(set.is_some())
        })
    }
}
