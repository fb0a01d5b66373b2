//! One line at the bottom of the terminal that says how far a request is, and the words that go
//! above it. It knows neither clients nor requests; without a terminal it draws nothing and the
//! words still go to standard error.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use compere::model::ProgressParams;

use compere::text::escape_line;

/// A server may report progress far more often than a person can read.
const REDRAW_AFTER: Duration = Duration::from_millis(80);
const BAR_WIDTH: usize = 30;
const WIDTH_WITHOUT_TERMINAL: usize = 80;
/// The most lines that wait while a person types; what comes then is not shown.
const HELD_LINES: usize = 1000;

/// The line, shared between whoever reports and whoever says something.
#[derive(Clone)]
pub(crate) struct ProgressLine(Arc<Mutex<State>>);

struct State {
    terminal: bool,
    drawn: bool,
    last_drawn: Option<Instant>,
    /// While a person types: what is to be said meanwhile.
    held: Option<Vec<String>>,
}

impl ProgressLine {
    /// The line of standard error.
    pub(crate) fn on_stderr() -> Self {
        Self(Arc::new(Mutex::new(State {
            terminal: std::io::stderr().is_terminal(),
            drawn: false,
            last_drawn: None,
            held: None,
        })))
    }

    /// Shows how far a request is.
    pub(crate) fn show(&self, progress: &ProgressParams) {
        let mut state = self.lock();
        let soon = |last: Instant| last.elapsed() < REDRAW_AFTER;
        let finished = progress
            .total
            .is_some_and(|total| progress.progress >= total);
        if !state.terminal
            || state.held.is_some()
            || (state.last_drawn.is_some_and(soon) && !finished)
        {
            return;
        }
        state.draw(&describe(progress));
    }

    /// Shows what is being done.
    pub(crate) fn doing(&self, what: &str) {
        let mut state = self.lock();
        if state.terminal && state.held.is_none() {
            state.draw(&format!("… {what}"));
        }
    }

    /// Says something on a line of its own; what is drawn makes room. The text must be escaped.
    pub(crate) fn say(&self, line: &str) {
        let mut state = self.lock();
        if let Some(held) = &mut state.held {
            if held.len() < HELD_LINES {
                held.push(line.to_owned());
            }
            return;
        }
        state.clear();
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Holds everything back while a person types, and says it afterwards.
    pub(crate) fn pause(&self, pause: bool) {
        let mut state = self.lock();
        if pause {
            state.clear();
            state.held = Some(Vec::new());
            return;
        }
        for line in state.held.take().unwrap_or_default() {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn draw(&mut self, text: &str) {
        let text = cut(text, width().saturating_sub(1));
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[2K{text}");
        let _ = stderr.flush();
        self.drawn = true;
        self.last_drawn = Some(Instant::now());
    }

    fn clear(&mut self) {
        if self.drawn {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K");
            let _ = stderr.flush();
            self.drawn = false;
        }
    }
}

fn describe(progress: &ProgressParams) -> String {
    let message = progress.message.as_deref().map(escape_line);
    match progress.total.filter(|total| *total > 0.0) {
        Some(total) => {
            let share = (progress.progress / total).clamp(0.0, 1.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let percent = (share * 100.0) as usize;
            let filled = percent * BAR_WIDTH / 100;
            format!(
                "{}{} {percent:3}% {}",
                "█".repeat(filled),
                "░".repeat(BAR_WIDTH - filled),
                message.unwrap_or_default()
            )
        }
        None => format!(
            "… {}",
            message.unwrap_or_else(|| progress.progress.to_string())
        ),
    }
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(WIDTH_WITHOUT_TERMINAL)
}

/// Cuts a line to a width. What is neither Latin nor of our own bar counts as wide, so that the
/// line never breaks.
fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|character| {
            let wide = !matches!(character, '\0'..='\u{24f}' | '…' | '█' | '░');
            used += 1 + usize::from(wide);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use compere::model::RequestId;

    use super::*;

    fn at(progress: f64, total: Option<f64>) -> ProgressParams {
        let mut params = ProgressParams::new(RequestId::from(1), progress);
        params.total = total;
        params
    }

    #[test]
    fn a_share_is_a_bar_and_a_number_is_a_number() {
        let half = describe(&at(1.0, Some(2.0)));
        assert!(half.contains(" 50%"), "{half}");
        assert_eq!(half.matches('█').count(), 15);
        assert!(describe(&at(3.0, Some(2.0))).contains("100%"));
        assert_eq!(describe(&at(7.0, None)), "… 7");
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("世界世界", 5), "世界");
    }
}
