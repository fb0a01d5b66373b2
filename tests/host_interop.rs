//! An app that we did not write, servers that we did not write, and the host between them: the official
//! TypeScript client, and behind one endpoint the reference servers for everything and for files, under
//! node, those for git and for the time, under Python, and our own for files. All of them confined.

use std::path::Path;
use std::time::{Duration, Instant};

use compere_host::consent::Answer;
use compere_host::door::{Order, Reply};
use compere_host::servers::Stage;
use compere_tests::ground::peer;
use compere_tests::hosting::{Hosting, place};
use compere_tests::provider::{KEY, Provider, model};
use compere_tests::typescript::{App, text};
use compere_tests::{compere, until};
use serde_json::{Value, json};

/// The five servers, each with the folder `work` at most.
fn servers(work: &str) -> Value {
    let node = "npm-servers/node_modules/@modelcontextprotocol";
    let everything = peer(&format!("{node}/server-everything/dist/index.js"));
    let filesystem = peer(&format!("{node}/server-filesystem/dist/index.js"));
    json!({
        "everything": {"command": "node", "args": [everything, "stdio"], "sampling": true},
        "filesystem": {"command": "node", "args": [filesystem, work], "roots": [work], "write": true},
        "git": {
            "command": peer("py-new/bin/mcp-server-git"), "args": ["--repository", work],
            "roots": [work], "env": {"GIT_CONFIG_GLOBAL": "/dev/null"},
        },
        "time": {
            "command": peer("py-new/bin/mcp-server-time"), "args": ["--local-timezone", "Europe/Vienna"],
        },
        "files": {"command": compere(), "args": ["serve", "files", work], "roots": [work], "write": true},
    })
}

async fn hosting(more: &Value, arguments: &[&str]) -> Hosting {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    std::fs::write(work.join("note.txt"), "a note").unwrap();
    let git = |arguments: &[&str]| {
        let done = std::process::Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(arguments)
            .current_dir(&work)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "note.txt"]);
    git(&["commit", "--quiet", "-m", "the first one"]);
    let mut file = json!({"servers": servers(work.to_str().unwrap())});
    for (name, value) in more.as_object().unwrap() {
        file[name] = value.clone();
    }
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, arguments);
    host.approve(&["everything", "filesystem", "git", "time", "files"])
        .await;
    host
}

fn connect(host: &Hosting) -> Vec<String> {
    let path = |name: &str| host.path(name).to_str().unwrap().to_owned();
    vec![
        "stdio".to_owned(),
        compere().to_str().unwrap().to_owned(),
        "connect".to_owned(),
        "--app".to_owned(),
        "editor".to_owned(),
        "--state".to_owned(),
        path("state"),
        "--file".to_owned(),
        path("settings/compere.json"),
    ]
}

// A-TS-14
#[tokio::test(flavor = "multi_thread")]
async fn five_servers_behind_one_endpoint_over_stdio() {
    let host = hosting(&json!({}), &[]).await;
    let mut app = App::start(&connect(&host)).await;
    everything_works(&host, &mut app).await;
    asked_edited_and_cancelled(&host, &mut app).await;
    killed_and_reloaded(&host, &mut app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_servers_behind_one_endpoint_over_http() {
    let host = hosting(&json!({}), &["--http", "127.0.0.1:0"]).await;
    let app = "editor".to_owned();
    let Reply::Done(token) = host.order(&Order::Token { app }) else {
        panic!("no token");
    };
    let url = host.ready["http"].as_str().unwrap().to_owned();
    let mut app = App::start(&["http".to_owned(), url, token[0].clone()]).await;
    everything_works(&host, &mut app).await;
    asked_edited_and_cancelled(&host, &mut app).await;
    killed_and_reloaded(&host, &mut app).await;
}

/// What only reads runs at once, whoever's it is.
async fn everything_works(host: &Hosting, app: &mut App) {
    let work = Path::new(&host.work()).canonicalize().unwrap();
    let note = work.join("note.txt");
    let tools = app.names("tools").await;
    for tool in [
        "everything__echo",
        "filesystem__read_text_file",
        "git__git_log",
        "files__read_text_file",
    ] {
        assert!(tools.iter().any(|name| name == tool), "{tool} of {tools:?}");
    }
    assert!(tools.iter().all(|name| name.len() <= 64));
    let mut sorted = tools.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), tools.len());
    // Two that would be one, were it not for their servers.
    assert!(
        app.call("files__read_text_file", json!({"path": "note.txt"}))
            .await
            .contains("a note")
    );
    assert!(
        app.call("everything__echo", json!({"message": "hello"}))
            .await
            .contains("hello")
    );
    let log = app.call("git__git_log", json!({"repo_path": work})).await;
    assert!(log.contains("the first one"), "{log}");
    let time = app
        .call("time__get_current_time", json!({"timezone": "Asia/Tokyo"}))
        .await;
    assert!(time.contains("Asia/Tokyo"), "{time}");
    // Sampling goes through to the app, and back to the server that asked.
    let tool = tools
        .iter()
        .find(|name| name.contains("sampling") || name.contains("sample"));
    let asked = json!({"prompt": "who are you?", "maxTokens": 10});
    let tool = tool.expect("a tool that samples");
    let (sampled, ()) = tokio::join!(app.call(tool, asked), host.pass_samplings(2));
    assert!(sampled.contains("sampled by the app"), "{sampled}");
    // Progress is that of the server.
    let long = tools.iter().find(|name| name.contains("long")).unwrap();
    let done = app
        .act(json!({"call": long, "with": {"duration": 1, "steps": 4}}))
        .await;
    assert!(done["progress"].as_u64().unwrap() >= 3, "{done}");
    // Prompts, resources, templates, completion.
    let prompts = app.names("prompts").await;
    let simple = prompts.iter().find(|name| name.contains("simple")).unwrap();
    let got = app.act(json!({"prompt": simple})).await;
    assert!(
        got["result"]["messages"][0]["content"]["text"].is_string(),
        "{got}"
    );
    let resources = app.act(json!({"list": "resources"})).await;
    let of_everything = resources["result"]["resources"].as_array().unwrap();
    let uri = of_everything[0]["uri"].as_str().unwrap().to_owned();
    let read = app.act(json!({"read": uri})).await;
    assert_eq!(read["result"]["contents"][0]["uri"], uri, "{read}");
    let uri = format!("file://{}", note.display());
    let read = app.act(json!({"read": uri})).await;
    assert_eq!(read["result"]["contents"][0]["text"], "a note", "{read}");
    let completes = prompts
        .iter()
        .find(|name| name.contains("complet"))
        .unwrap();
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": completes},
        "argument": {"name": "department", "value": "E"},
    });
    let completed = app.act(json!({"complete": complete})).await;
    assert!(
        completed["result"]["completion"]["values"].is_array(),
        "{completed}"
    );
    // Each server speaks under its own name.
    let instructions = app.said[0]["instructions"].as_str().unwrap();
    assert!(instructions.contains("files says:\n> "), "{instructions}");
}

/// What may change something waits for a person; what they say is what is done.
async fn asked_edited_and_cancelled(host: &Hosting, app: &mut App) {
    let work = Path::new(&host.work()).canonicalize().unwrap();
    let write = |name: &str, words: &str| {
        let path = work.join(name);
        json!({"call": "filesystem__write_file", "with": {"path": path, "content": words}})
    };
    let waits = app.begin(write("new.txt", "by the app")).await;
    let (id, asked) = host.waiting_call().await;
    assert_eq!(asked.name, "write_file");
    assert!(!work.join("new.txt").exists());
    host.answer(id, Answer::Once);
    let done = app.end(waits).await;
    assert_ne!(done["result"]["isError"], true, "{done}");
    assert_eq!(
        std::fs::read_to_string(work.join("new.txt")).unwrap(),
        "by the app"
    );
    // Edited: the person's words are written.
    let waits = app.begin(write("new.txt", "again")).await;
    let (id, asked) = host.waiting_call().await;
    assert!(
        asked
            .changes
            .iter()
            .any(|change| change.place == "/content"),
        "{:?}",
        asked.changes
    );
    let arguments = json!({"path": work.join("new.txt"), "content": "by the person"});
    host.answer(id, Answer::Edit { arguments });
    app.end(waits).await;
    assert_eq!(
        std::fs::read_to_string(work.join("new.txt")).unwrap(),
        "by the person"
    );
    // Edited into what the server does not take: its own words come back.
    let waits = app.begin(write("new.txt", "again")).await;
    let (id, _) = host.waiting_call().await;
    let arguments = json!({"path": 7});
    host.answer(id, Answer::Edit { arguments });
    let done = app.end(waits).await;
    assert!(
        done["error"].is_string() || done["result"]["isError"] == true,
        "{done}"
    );
    // Denied.
    let waits = app.begin(write("other.txt", "no")).await;
    let (id, _) = host.waiting_call().await;
    let reason = "write it elsewhere".to_owned();
    host.answer(id, Answer::Deny { reason });
    let done = app.end(waits).await;
    assert!(text(&done).contains("write it elsewhere"), "{done}");
    assert!(!work.join("other.txt").exists());
    // The app gives up: the question stays, and a yes is for the next try.
    let waits = app.begin(write("late.txt", "late")).await;
    let (id, _) = host.waiting_call().await;
    app.act(json!({"cancel": waits})).await;
    app.end(waits).await;
    until("the app to leave", || {
        host.questions()
            .iter()
            .all(|question| question.waiting == 0)
    })
    .await;
    host.answer(id, Answer::Once);
    assert!(!work.join("late.txt").exists());
    app.act(write("late.txt", "late")).await;
    assert_eq!(
        std::fs::read_to_string(work.join("late.txt")).unwrap(),
        "late"
    );
    // From now on for exactly this, for a while: then a person is asked again.
    let brief = write("brief.txt", "brief");
    let waits = app.begin(brief.clone()).await;
    let (id, _) = host.waiting_call().await;
    let granted = Instant::now();
    host.answer(id, Answer::Exactly { lasts: Some(3) });
    app.end(waits).await;
    std::fs::remove_file(work.join("brief.txt")).unwrap();
    app.act(brief.clone()).await;
    assert!(work.join("brief.txt").exists());
    std::fs::remove_file(work.join("brief.txt")).unwrap();
    until("its end", || granted.elapsed() > Duration::from_secs(4)).await;
    let waits = app.begin(brief).await;
    let (id, _) = host.waiting_call().await;
    assert!(!work.join("brief.txt").exists());
    let reason = String::new();
    host.answer(id, Answer::Deny { reason });
    app.end(waits).await;
    assert!(!work.join("brief.txt").exists());
    // Our own server: the tools that write ask, those that read do not.
    let path = work.join("ours.txt");
    let waits = app
        .begin(json!({"call": "files__write_file", "with": {"path": path, "content": "ours"}}))
        .await;
    let (id, asked) = host.waiting_call().await;
    assert_eq!((&*asked.server, &*asked.name), ("files", "write_file"));
    host.answer(id, Answer::Once);
    app.end(waits).await;
    assert_eq!(std::fs::read_to_string(path).unwrap(), "ours");
}

/// A server that is killed comes back; one that the file does not name any more is gone.
async fn killed_and_reloaded(host: &Hosting, app: &mut App) {
    let process = "/server-everything/dist/index.js\0stdio";
    let of_this = host.status();
    let everything = of_this
        .servers
        .iter()
        .find(|server| server.name == "everything")
        .unwrap();
    assert_eq!(everything.stage, Stage::Running(1));
    assert!(everything.memory > 1_000, "{everything:?}");
    // The host is the parent of all of them.
    let parent = of_this.process;
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after = stat
            .rsplit_once(')')
            .map(|(_, after)| after.to_owned())
            .unwrap_or_default();
        let of: Option<u32> = after
            .split_whitespace()
            .nth(1)
            .and_then(|of| of.parse().ok());
        if String::from_utf8_lossy(&line).contains(process) && of == Some(parent) {
            let process: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            let process = rustix::process::Pid::from_raw(process).unwrap();
            rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 1);
    until("the end", || {
        let status = host.status();
        status
            .servers
            .iter()
            .any(|of| of.name == "everything" && of.stage == Stage::Ready)
    })
    .await;
    assert!(
        app.call("everything__echo", json!({"message": "again"}))
            .await
            .contains("again")
    );
    let work = Path::new(&host.work()).canonicalize().unwrap();
    let mut file = json!({"servers": servers(work.to_str().unwrap())});
    file["servers"].as_object_mut().unwrap().remove("git");
    app.said.clear();
    host.write(&file);
    let tools = app.names("tools").await;
    assert!(
        !tools.iter().any(|name| name.starts_with("git__")),
        "{tools:?}"
    );
    assert!(
        app.said.iter().any(|said| said["changed"] == "tools"),
        "{:?}",
        app.said
    );
    let gone = app.call("git__git_log", json!({"repo_path": work})).await;
    assert!(gone.contains("Unknown tool"), "{gone}");
}

/// The app has no model: the person's own is asked, and both halves are looked at.
#[tokio::test(flavor = "multi_thread")]
async fn sampling_where_the_app_has_no_model() {
    let provider = Provider::start().await;
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let mut everything = servers(work.to_str().unwrap())["everything"].take();
    everything["sampling"] = json!({"requests": 2});
    let file =
        json!({"servers": {"everything": everything}, "models": [model(&provider, "openai")]});
    let settings = folder.path().join("settings");
    std::fs::write(settings.join("compere.json"), file.to_string()).unwrap();
    let key = settings.join("key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let host = Hosting::start_in(folder, &[]);
    host.approve(&["everything"]).await;
    let mut app = App::start_with(&connect(&host), false).await;
    let tools = app.names("tools").await;
    let tool = tools.iter().find(|name| name.contains("sampling")).unwrap();
    let asked = json!({"call": tool, "with": {"prompt": "who are you?", "maxTokens": 10}});
    // Edited before the model sees it, and before the server does.
    let waits = app.begin(asked.clone()).await;
    let (id, half) = host.waiting_sampling().await;
    let mut content = half.content;
    let text_of = "/messages/0/content/text";
    assert!(
        content
            .pointer(text_of)
            .unwrap()
            .as_str()
            .unwrap()
            .contains("who are you?")
    );
    *content.pointer_mut(text_of).unwrap() = "who am I?".into();
    host.answer(id, Answer::Edit { arguments: content });
    let (id, half) = host.waiting_sampling().await;
    let mut content = half.content;
    assert_eq!(content["content"]["text"], "from openai");
    content["content"]["text"] = "what I let it see".into();
    host.answer(id, Answer::Edit { arguments: content });
    let done = app.end(waits).await;
    assert!(text(&done).contains("what I let it see"), "{done}");
    let got = provider.got.lock().unwrap()[0].2.to_string();
    assert!(
        got.contains("who am I?") && !got.contains("who are you?"),
        "{got}"
    );
    // Refused: the model is not asked, and the tool says that it failed.
    let waits = app.begin(asked.clone()).await;
    let (id, _) = host.waiting_sampling().await;
    let reason = "no models today".to_owned();
    host.answer(id, Answer::Deny { reason });
    let done = app.end(waits).await;
    assert!(done.to_string().contains("no models today"), "{done}");
    assert_eq!(provider.got.lock().unwrap().len(), 1);
    // What is left of the budget, and then nothing.
    let waits = app.begin(asked.clone()).await;
    host.pass_samplings(2).await;
    let done = app.end(waits).await;
    assert!(text(&done).contains("from openai"), "{done}");
    let done = app.act(asked).await;
    assert!(done.to_string().contains("requests of today"), "{done}");
    assert_eq!(provider.got.lock().unwrap().len(), 2);
}
