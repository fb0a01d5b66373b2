//! A server of Redis that ends with the test, and what everything over it needs.

use std::process::{Child, Command, Stdio};

use compere::server::tasks::StoreError;
use redis::Client;
use redis::aio::MultiplexedConnection;

/// A Redis of the test's own.
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(folder.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is not there: install it, on Debian as the package redis-server");
        let server = Self { child, folder };
        let socket = server.folder.path().join("socket");
        compere_tests::until("the socket of Redis", || socket.exists()).await;
        server
    }

    /// A connection to it.
    pub async fn connect(&self) -> (Client, MultiplexedConnection) {
        let socket = self.folder.path().join("socket");
        let client = Client::open(format!("redis+unix://{}", socket.display())).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        (client, connection)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn failed(error: redis::RedisError) -> StoreError {
    StoreError::new(error)
}

pub fn script(text: &str, keys: &[String], arguments: &[&[u8]]) -> redis::Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(keys.len()).arg(keys);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}
