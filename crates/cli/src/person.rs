//! The person at the terminal, who can be asked one thing at a time.

use std::io::IsTerminal;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::progress::ProgressLine;

/// Somebody who reads standard error and types on standard input.
#[derive(Clone)]
pub(crate) struct Person {
    line: ProgressLine,
    turn: Arc<Mutex<()>>,
}

impl Person {
    /// The person, if there is a terminal on both sides.
    pub(crate) fn present(line: &ProgressLine) -> Option<Self> {
        let present = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        present.then(|| Self {
            line: line.clone(),
            turn: Arc::default(),
        })
    }

    /// Asks, after whatever was asked before. What is to be said meanwhile waits. `None` if the
    /// question broke off.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _turn = self.turn.lock().await;
        self.line.pause(true);
        let answer = tokio::task::spawn_blocking(question).await;
        self.line.pause(false);
        answer.ok()
    }
}
