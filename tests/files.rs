//! The files server: what it reads, and that nothing leads out of the directories it was given.

use std::os::unix::fs::symlink;

use compere::Client;
use serde_json::json;

#[tokio::test]
async fn resources_are_read_by_their_uri_and_never_outside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::write(path.join("100%41 ü.txt"), "odd name").unwrap();
    std::fs::write(path.join("bytes.bin"), [0, 159, 146, 150]).unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    symlink("bytes.bin", path.join("inside")).unwrap();
    let client = Client::connect(compere_servers::files::files([&path]).unwrap())
        .await
        .unwrap();
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
    let client = Client::connect(compere_servers::files::files([folder.path()]).unwrap())
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
    assert!(whole.failed() && whole.joined_text().contains("head or tail"));
    let bad = client
        .call("search_files", json!({"path": ".", "pattern": "[a"}))
        .await
        .unwrap();
    assert!(bad.failed());
}
