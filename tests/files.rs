//! The files server: what it reads, and that nothing leads out of the directories it was given.

use std::os::unix::fs::symlink;
use std::path::Path;

use compere::Client;
use compere::model::{CompletionReference, Root};
use compere_servers::files::{Files, files};
use serde_json::json;

#[tokio::test]
async fn resources_are_read_by_their_uri_and_never_outside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::write(path.join("100%41 ü.txt"), "odd name").unwrap();
    std::fs::write(path.join("bytes.bin"), [0, 159, 146, 150]).unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    symlink("bytes.bin", path.join("inside")).unwrap();
    let client = Client::connect(files([&path]).unwrap()).await.unwrap();
    let uri = |name: &str| format!("file://{}/{name}", path.display());
    let read = client.read(uri("100%2541%20%C3%BC.txt")).await.unwrap();
    assert_eq!(read.contents[0].as_text(), Some("odd name"));
    assert_eq!(read.contents[0].mime_type.as_deref(), Some("text/plain"));
    let read = client.read(uri("inside")).await.unwrap();
    assert!(read.contents[0].as_text().is_none());
    for outside in ["link", "../x", "%2e%2e/x", "nothing", ""] {
        assert!(client.read(uri(outside)).await.is_err(), "{outside}");
    }
    assert!(client.read("file:///etc/passwd").await.is_err());
    client.close().await.unwrap();
}

#[tokio::test]
async fn searches_and_reads_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1100 {
        std::fs::write(folder.path().join(format!("{number}.txt")), "").unwrap();
    }
    std::fs::write(folder.path().join("big.log"), vec![b'x'; 5 * 1024 * 1024]).unwrap();
    let client = Client::connect(files([folder.path()]).unwrap())
        .await
        .unwrap();
    let search = json!({"path": ".", "pattern": "*.txt"});
    let found = client
        .call("search_files", search)
        .await
        .unwrap()
        .joined_text();
    assert_eq!(found.lines().count(), 1001);
    assert!(found.ends_with("only the first 1000 are shown)"), "{found}");
    let excluded = json!({"path": ".", "pattern": "*", "excludePatterns": ["*.txt"]});
    let found = client
        .call("search_files", excluded)
        .await
        .unwrap()
        .joined_text();
    assert_eq!(found.lines().count(), 1, "{found}");
    let whole = client
        .call("read_text_file", json!({"path": "big.log"}))
        .await
        .unwrap();
    assert!(whole.failed() && whole.joined_text().contains("offset and limit"));
    let bad = client
        .call("search_files", json!({"path": ".", "pattern": "[a"}))
        .await
        .unwrap();
    assert!(bad.failed());
}

/// The directory, and a client with these roots.
async fn client_with_roots(server: compere::Server, roots: Vec<Root>) -> Client {
    Client::builder("tester", "1")
        .roots(roots)
        .connect(server)
        .await
        .unwrap()
}

fn root(path: &Path) -> Root {
    Root::new(format!("file://{}", path.display()))
}

async fn allowed(client: &Client) -> Vec<String> {
    let result = client
        .call("list_allowed_directories", json!({}))
        .await
        .unwrap();
    let text = result.joined_text();
    text.lines().skip(1).map(str::to_owned).collect()
}

async fn read(client: &Client, path: &Path) -> Option<String> {
    let arguments = json!({"path": path});
    let result = client.call("read_text_file", arguments).await.unwrap();
    (!result.failed()).then(|| result.joined_text())
}

#[tokio::test]
async fn roots_of_the_client_narrow_what_was_granted() {
    // E-319 E-321 E-322 E-529 E-530
    // A-ROOT-12 A-ROOT-13 A-RES-15 A-RES-17
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for name in ["granted/inner", "granted/other", "foreign"] {
        std::fs::create_dir_all(path.join(name)).unwrap();
        std::fs::write(path.join(name).join("f"), name).unwrap();
    }
    symlink("../foreign", path.join("granted/out")).unwrap();
    let granted = path.join("granted");
    let inner = granted.join("inner");
    let server = || Files::new([&granted]).server().unwrap();

    let client = client_with_roots(server(), vec![root(&inner), root(&path.join("foreign"))]).await;
    assert_eq!(allowed(&client).await, [inner.display().to_string()]);
    assert_eq!(
        read(&client, &inner.join("f")).await.as_deref(),
        Some("granted/inner")
    );
    assert_eq!(read(&client, &granted.join("other/f")).await, None);
    assert_eq!(read(&client, &path.join("foreign/f")).await, None);
    assert_eq!(
        read(&client, Path::new("f")).await.as_deref(),
        Some("granted/inner")
    );

    // Changed roots count from the next call on.
    client
        .set_roots(vec![root(&granted.join("other"))])
        .unwrap();
    assert_eq!(
        read(&client, &granted.join("other/f")).await.as_deref(),
        Some("granted/other")
    );
    assert_eq!(read(&client, &inner.join("f")).await, None);

    // A root that reaches further adds nothing; a link out of the grant is no way out.
    let client = client_with_roots(server(), vec![root(&path)]).await;
    assert_eq!(allowed(&client).await, [granted.display().to_string()]);
    let client = client_with_roots(server(), vec![root(&granted.join("out"))]).await;
    assert!(allowed(&client).await.is_empty());

    // E-528
    // A-ROOT-11: one that is not there is no root.
    let client = client_with_roots(server(), vec![root(&granted.join("gone")), root(&inner)]).await;
    assert_eq!(allowed(&client).await, [inner.display().to_string()]);

    // Without a grant the client's roots are the grant; without either there is nothing.
    let client = client_with_roots(
        Files::default().server().unwrap(),
        vec![root(&path.join("foreign"))],
    )
    .await;
    assert_eq!(
        read(&client, Path::new("f")).await.as_deref(),
        Some("foreign")
    );
    let client = Client::connect(Files::default().server().unwrap())
        .await
        .unwrap();
    assert_eq!(read(&client, &path.join("foreign/f")).await, None);
}

#[tokio::test]
async fn read_only_means_no_tool_that_changes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Files::new([folder.path()])
        .read_only(true)
        .server()
        .unwrap();
    let client = Client::connect(server).await.unwrap();
    for tool in client.tools().collect().await.unwrap() {
        let hints = tool
            .annotations
            .map_or(Some(true), |hints| hints.read_only_hint);
        assert_ne!(hints, Some(false), "{}", tool.name);
    }
    let write = json!({"path": "x", "content": "x"});
    assert!(client.call("write_file", write).await.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn big_files_come_in_pages_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let line = |number: usize| format!("line {number} {}\n", "x".repeat(number % 300));
    let whole: String = (0..60_000).map(line).collect();
    std::fs::write(folder.path().join("big.log"), &whole).unwrap();
    std::fs::write(folder.path().join("wide"), "w".repeat(5 * 1024 * 1024)).unwrap();
    let client = Client::connect(files([folder.path()]).unwrap())
        .await
        .unwrap();
    let mut read = String::new();
    let mut offset = 0;
    loop {
        let arguments = json!({"path": "big.log", "offset": offset, "limit": 40_000});
        let result = client.call("read_text_file", arguments).await.unwrap();
        let texts: Vec<&str> = result
            .content
            .iter()
            .filter_map(|block| block.as_text())
            .collect();
        read.push_str(texts[0]);
        let Some(note) = texts.get(1) else { break };
        let next = note.trim_end_matches(']').rsplit('=').next().unwrap();
        offset = next.parse().unwrap();
    }
    assert!(read == whole, "{} of {} bytes", read.len(), whole.len());
    let tail = json!({"path": "big.log", "tail": 2});
    let last = client
        .call("read_text_file", tail)
        .await
        .unwrap()
        .joined_text();
    assert_eq!(last, line(59_999));
    let wide = json!({"path": "wide", "offset": 0});
    let cut = client.call("read_text_file", wide).await.unwrap();
    assert!(cut.content[1].as_text().unwrap().contains("there is more"));
    let beyond = json!({"path": "big.log", "offset": 70_000});
    let none = client.call("read_text_file", beyond).await.unwrap();
    assert!(
        none.content[1]
            .as_text()
            .unwrap()
            .contains("only 60000 lines")
    );
}

#[tokio::test]
async fn what_is_no_file_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let client = Client::connect(files([folder.path()]).unwrap())
        .await
        .unwrap();
    for tool in ["read_text_file", "read_media_file"] {
        let result = client.call(tool, json!({"path": "fifo"})).await.unwrap();
        assert!(result.joined_text().contains("no regular file"), "{tool}");
    }
}

#[tokio::test]
async fn subscribers_hear_of_changes_however_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::create_dir(path.join("dir")).unwrap();
    let file = path.join("dir/f.txt");
    std::fs::write(&file, "1").unwrap();
    let (heard, mut updates) = tokio::sync::mpsc::unbounded_channel();
    let client = Client::builder("tester", "1")
        .on_resource_updated(move |uri| heard.send(uri.to_owned()).unwrap())
        .connect(files([&path]).unwrap())
        .await
        .unwrap();
    let uri = |path: &Path| format!("file://{}", path.display());
    let (of_file, of_dir) = (uri(&file), uri(&path.join("dir")));
    client.subscribe(&of_file).await.unwrap();

    let mut changed = async |what: &str, uri: &str| loop {
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), updates.recv());
        let heard = next
            .await
            .unwrap_or_else(|_| panic!("{what}: nothing was heard"));
        if heard.unwrap() == uri {
            break;
        }
    };
    std::fs::write(&file, "2").unwrap();
    changed("written in place", &of_file).await;
    let write = json!({"path": file, "content": "3"});
    client.call("write_file", write).await.unwrap();
    changed("replaced by our own tool", &of_file).await;
    std::fs::write(&file, "4").unwrap();
    changed("written in place after it was replaced", &of_file).await;
    std::fs::remove_file(&file).unwrap();
    changed("removed", &of_file).await;
    std::fs::write(&file, "5").unwrap();
    changed("made again", &of_file).await;

    client.subscribe(&of_dir).await.unwrap();
    std::fs::write(path.join("dir/new"), "").unwrap();
    changed("an entry of a directory", &of_dir).await;
    client.unsubscribe(&of_file).await.unwrap();
    client.unsubscribe(&of_dir).await.unwrap();

    for refused in [uri(&path.join("none")), "file:///etc/passwd".to_owned()] {
        assert!(client.subscribe(&refused).await.is_err(), "{refused}");
    }
}

#[tokio::test]
async fn paths_complete_inside_of_the_roots_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for name in ["src", "spec"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    std::fs::write(path.join("src/main.rs"), "").unwrap();
    std::fs::write(path.join(".hidden"), "").unwrap();
    let client = Client::connect(files([&path]).unwrap()).await.unwrap();
    let complete = async |typed: &str| {
        let reference = CompletionReference::Resource {
            uri: "file://{+path}".to_owned(),
        };
        let result = client
            .complete(reference, "path", typed, std::collections::BTreeMap::new())
            .await
            .unwrap();
        result.values
    };
    let at = |name: &str| format!("{}/{name}", path.display());
    assert_eq!(complete(&at("s")).await, [at("spec/"), at("src/")]);
    assert_eq!(complete(&at("src/m")).await, [at("src/main.rs")]);
    assert_eq!(complete(&at("")).await, [at("spec/"), at("src/")]);
    assert_eq!(complete(&at(".")).await, [at(".hidden")]);
    assert_eq!(complete("/").await, [at("")]);
    assert!(complete("/etc/").await.is_empty());
    assert!(complete(&at("../")).await.is_empty());
}
