//! The terminal as a person has it: `compere up` and `compere approve` in a terminal of their own, with
//! keys typed too early, half lines, and text that wants to be more than text.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use compere::model::{CreateMessageResult, Role};
use compere_host::consent::Answer;
use compere_tests::hosting::{Hosting, place, probe, text};
use compere_tests::{compere, until};
use serde_json::json;

/// A program in a terminal.
struct Terminal {
    process: Child,
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Terminal {
    fn start(mut program: Program) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let open = || {
            let path = std::path::Path::new(name.to_str().unwrap());
            File::options().read(true).write(true).open(path).unwrap()
        };
        let process = program
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .unwrap();
        let keys = File::from(ours.as_fd().try_clone_to_owned().unwrap());
        let mut reading = File::from(ours);
        let screen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let seen = screen.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count) = reading.read(&mut piece) {
                if count == 0 {
                    return;
                }
                seen.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self {
            process,
            keys,
            screen,
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    async fn shows(&self, words: &str) {
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            while !self.text().contains(words) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if waited.await.is_err() {
            panic!("{words:?} is not to be seen on\n{}", self.text());
        }
    }

    /// What is shown from now on.
    fn clear(&self) {
        self.screen.lock().unwrap().clear();
    }
}

async fn probing() -> Hosting {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let server = probe(
        work.to_str().unwrap(),
        &json!({"network": true, "write": true}),
    );
    let file = json!({"servers": {"probe": server}});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, &[]);
    host.approve(&["probe"]).await;
    host
}

fn approve(host: &Hosting) -> Terminal {
    let mut program = Program::new(compere());
    program
        .args(["approve", "--stay", "--state"])
        .arg(host.path("state"));
    Terminal::start(program)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_too_early_is_no_yes() {
    let host = probing().await;
    let app = host.app("editor").await;
    let mut terminal = approve(&host);
    // Before there is a question at all: a whole line, and half of one.
    terminal.type_in("once\nonc");
    let calling = app.clone();
    let waits = tokio::spawn(async move {
        let arguments = json!({"do": "count", "mark": "typed \u{1b}[2J\u{202e}early"});
        text(
            &calling
                .call("probe__probe", arguments)
                .await
                .unwrap()
                .into_inner(),
        )
    });
    terminal.shows("wants probe of probe").await;
    let shown = Instant::now();
    // As soon as it is there: keys, a line, a paste.
    terminal.type_in("e\nonce\n\u{1b}[200~once\u{1b}[201~\n");
    while shown.elapsed() < Duration::from_millis(400) {
        terminal.type_in("once\n");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    terminal.shows("[once]").await;
    assert!(
        !waits.is_finished(),
        "a key that was typed too early counted"
    );
    assert_eq!(host.questions().len(), 1);
    // The text of the app is shown, and does nothing.
    let screen = terminal.text();
    assert!(
        !screen.contains("\u{1b}[2J") && !screen.contains('\u{202e}'),
        "{screen}"
    );
    assert!(screen.contains("the server says of it"), "{screen}");
    // Nothing is a yes but a word for one.
    terminal.clear();
    terminal.type_in("\n");
    terminal.shows("none of the answers").await;
    terminal.type_in("y\n");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waits.is_finished());
    terminal.type_in("once\n");
    terminal.shows("So be it.").await;
    assert!(waits.await.unwrap().starts_with("OPEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_door_wins_and_the_other_says_so() {
    let host = probing().await;
    let app = host.app("editor").await;
    let mut terminal = approve(&host);
    let call = |mark: &'static str| {
        let app = app.clone();
        tokio::spawn(async move {
            let arguments = json!({"do": "count", "mark": mark});
            text(
                &app.call("probe__probe", arguments)
                    .await
                    .unwrap()
                    .into_inner(),
            )
        })
    };
    let waits = call("one");
    terminal.shows("[once]").await;
    let (id, _) = host.waiting_call().await;
    host.answer(id, Answer::Once);
    terminal.shows("allowed once (local, by a test)").await;
    assert!(waits.await.unwrap().starts_with("OPEN"));
    // The next one comes by itself; a no has its reason.
    terminal.clear();
    let waits = call("two");
    terminal.shows("[once]").await;
    assert!(
        terminal.text().contains("Since the last one"),
        "{}",
        terminal.text()
    );
    terminal.type_in("no that is enough\n");
    assert!(waits.await.unwrap().contains("that is enough"));
    terminal.type_in("quit\n");
    until("the end", || terminal.process.try_wait().unwrap().is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_minute_of_a_new_user() {
    let folder = place(&json!({}));
    let home = folder.path().join("home");
    std::fs::create_dir_all(home.join(".cursor")).unwrap();
    std::fs::write(folder.path().join("work/hello.txt"), "hello").unwrap();
    let cursor = json!({"mcpServers": {"weather": {"command": "weather-server"}}});
    std::fs::write(home.join(".cursor/mcp.json"), cursor.to_string()).unwrap();
    let mut program = Program::new(compere());
    program
        .arg("up")
        .current_dir(folder.path().join("work"))
        .env("HOME", &home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME");
    let mut terminal = Terminal::start(program);
    if rustix::process::geteuid().is_root() {
        terminal.shows("You are root").await;
        terminal.type_in("yes\n");
    }
    terminal.shows("May apps read").await;
    terminal.type_in("yes\n");
    terminal.shows("quit ends the host").await;
    let screen = terminal.text();
    for words in [
        "can change no file",
        "Found 1 server in Cursor",
        "compere import",
        "claude_desktop_config.json",
        "claude mcp add compere",
        "code --add-mcp",
        ".cursor/mcp.json",
    ] {
        assert!(screen.contains(words), "{words:?} is not on\n{screen}");
    }
    // What it says to paste works.
    let connect = compere::Command::new(compere())
        .args(["connect", "--app", "cursor"])
        .env("HOME", &home);
    let app = compere::Client::connect(connect).await.unwrap();
    let read = app.call("files__read_text_file", json!({"path": "hello.txt"}));
    assert_eq!(text(&read.await.unwrap().into_inner()), "hello");
    terminal.type_in("quit\n");
    until("the end", || terminal.process.try_wait().unwrap().is_some()).await;
    assert!(terminal.process.wait().unwrap().success());
}

/// Sampling at the terminal: what is asked and what is answered are changed, and then a no.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_is_asked_is_changed_at_the_terminal() {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let server = probe(work.to_str().unwrap(), &json!({"sampling": true}));
    let file = json!({"servers": {"probe": server}, "policy": [{"allow": "tool"}]});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, &[]);
    host.approve(&["probe"]).await;
    let asked = Arc::<Mutex<Vec<serde_json::Value>>>::default();
    let heard = asked.clone();
    let builder = compere::Client::builder("editor", "1").on_sample(move |params| {
        let params = serde_json::to_value(&params).unwrap();
        heard.lock().unwrap().push(params);
        async {
            Ok(CreateMessageResult::new(
                Role::Assistant,
                "from \u{1b}[2Jthe model",
                "abacus",
            ))
        }
    });
    let app = host.app_with("editor", builder).await;
    let sampling = || {
        let app = app.clone();
        let arguments = json!({"do": "ask", "method": "sampling/createMessage", "params": {
            "maxTokens": 100,
            "messages": [{"role": "user", "content": {"type": "text", "text": "who are \u{202e}you?"}}],
        }});
        tokio::spawn(async move {
            text(
                &app.call("probe__probe", arguments)
                    .await
                    .unwrap()
                    .into_inner(),
            )
        })
    };
    let mut terminal = approve(&host);
    let waits = sampling();
    terminal.shows("wants to ask a model").await;
    terminal.shows("who are \\u{202e}you?").await;
    terminal.shows("[once]").await;
    let edited = json!({"maxTokens": 50, "messages": [{"role": "user", "content": {"type": "text", "text": "who am I?"}}]});
    terminal.clear();
    terminal.type_in(&format!("edit {edited}\n"));
    terminal.shows("May it see this?").await;
    terminal.shows("from \\u{1b}[2Jthe model").await;
    terminal.shows("[once]").await;
    let edited = json!({"role": "assistant", "model": "abacus", "content": {"type": "text", "text": "what I let it see"}});
    terminal.clear();
    terminal.type_in(&format!("edit {edited}\n"));
    let said = waits.await.unwrap();
    assert!(said.contains("what I let it see"), "{said}");
    assert_eq!(
        asked.lock().unwrap()[0]["messages"][0]["content"]["text"],
        "who am I?"
    );
    assert_eq!(asked.lock().unwrap()[0]["maxTokens"], 50);
    terminal.clear();
    let waits = sampling();
    terminal.shows("[once]").await;
    terminal.type_in("no not again\n");
    let said = waits.await.unwrap();
    assert!(said.contains("not again"), "{said}");
    assert_eq!(asked.lock().unwrap().len(), 1);
}
