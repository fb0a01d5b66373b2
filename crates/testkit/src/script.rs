//! A peer that a test plays itself: messages in, messages out, nothing checked.

use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};

/// The other end of a connection, played line by line.
pub struct Script {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    writer: WriteHalf<DuplexStream>,
    asked: i64,
}

impl Script {
    /// A script, and the stream that the connection under test gets.
    pub fn new() -> (Self, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(theirs);
        let script = Self {
            lines: BufReader::new(reader).lines(),
            writer,
            asked: 0,
        };
        (script, ours)
    }

    /// The next message of the other side.
    ///
    /// # Panics
    ///
    /// If it has left, or wrote no JSON.
    pub async fn next(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap();
        serde_json::from_str(&line.expect("the other side has left")).unwrap()
    }

    /// Has the other side left, instead of saying more?
    ///
    /// # Panics
    ///
    /// If the stream broke.
    pub async fn is_left(&mut self) -> bool {
        self.lines.next_line().await.unwrap().is_none()
    }

    /// Sends a message as it is.
    ///
    /// # Panics
    ///
    /// If the other side has left.
    pub async fn say(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.writer.write_all(line.as_bytes()).await.unwrap();
    }

    /// Answers a request.
    pub async fn answer(&mut self, request: &Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
            .await;
    }

    /// Asks, and gives the next message, which the caller expects to be the answer.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        self.next().await
    }

    /// Plays a server of the newest revision that is asked who it is.
    ///
    /// # Panics
    ///
    /// If the other side asks something else.
    pub async fn serve_discover(&mut self, capabilities: Value) {
        let discover = self.next().await;
        assert_eq!(discover["method"], "server/discover");
        let found = json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "odd", "version": "1"}},
        });
        self.answer(&discover, found).await;
    }

    /// Plays a server through the handshake, in this revision and with these capabilities.
    pub async fn serve_handshake(&mut self, revision: &str, capabilities: Value) {
        let mut initialize = self.next().await;
        if initialize["method"] == "server/discover" {
            // It knows no other era.
            let error = json!({"code": -32601, "message": "Method not found"});
            let id = &initialize["id"];
            self.say(json!({"jsonrpc": "2.0", "id": id, "error": error}))
                .await;
            initialize = self.next().await;
        }
        let result = json!({
            "protocolVersion": revision,
            "capabilities": capabilities,
            "serverInfo": {"name": "script", "version": "1"},
        });
        self.answer(&initialize, result).await;
        assert_eq!(self.next().await["method"], "notifications/initialized");
    }

    /// Plays a client through the handshake; the answer of the server.
    pub async fn shake_hands(&mut self, revision: &str, capabilities: Value) -> Value {
        let params = json!({
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "script", "version": "1"},
        });
        let answer = self.ask("initialize", params).await;
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        answer
    }
}
