//! The page of the host, as whoever can send it bytes has it: who is let in, and what is refused.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use compere_host::consent::{Answer, Topic};
use compere_host::door::{Order, Reply};
use compere_tests::hosting::{Hosting, place, probe};
use compere_tests::{compere, until};
use serde_json::json;

/// What came back.
struct Came {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Where the page is, and a browser that was let in.
struct Browser {
    address: String,
    path: String,
    cookie: String,
}

fn link(host: &Hosting) -> String {
    match host.order(&Order::Page) {
        Reply::Done(words) => words.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The address of a link, and its path.
fn parts(link: &str) -> (String, String) {
    let rest = link.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_once('/').unwrap();
    (address.to_owned(), format!("/{path}"))
}

fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Came {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    // Who does not want to hear all of it may close before.
    let _ = stream.write_all(text.as_bytes());
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let all = String::from_utf8(all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    });
    Came {
        status: status.parse().unwrap(),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

impl Browser {
    fn enter(host: &Hosting) -> Self {
        let (address, path) = parts(&link(host));
        let came = send(&address, "GET", &path, &[], "");
        assert_eq!(came.status, 200, "{}", came.body);
        let cookie = &came.headers["set-cookie"];
        let (pair, rest) = cookie.split_once("; ").unwrap();
        for wanted in ["HttpOnly", "SameSite=Strict"] {
            assert!(rest.contains(wanted), "{cookie}");
        }
        let path = rest.strip_prefix("Path=").unwrap();
        let path = path.split_once(';').unwrap().0.to_owned();
        // A cookie for all of this machine would be sent to whatever else listens on it.
        assert_eq!(path.len(), 34, "{cookie}");
        Self {
            address,
            path,
            cookie: pair.to_owned(),
        }
    }

    fn send(&self, method: &str, page: &str, headers: &[(&str, &str)], body: &str) -> Came {
        let mut all = vec![("Cookie", self.cookie.as_str())];
        all.extend(headers);
        let path = format!("{}{page}", self.path);
        send(&self.address, method, &path, &all, body)
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn hosting() -> Hosting {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let server = probe(work.to_str().unwrap(), &json!({"write": true}));
    let file = json!({"servers": {"probe": server}});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    Hosting::start_in(folder, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_lets_one_browser_in() {
    let host = hosting();
    let (address, path) = parts(&link(&host));
    // What only looks whether there is something uses nothing up.
    assert_eq!(send(&address, "HEAD", &path, &[], "").status, 405);
    let came = send(&address, "GET", &path, &[], "");
    assert_eq!(came.status, 200);
    assert_eq!(send(&address, "GET", &path, &[], "").status, 403);
    let wrong = format!("/enter/{}", "0".repeat(64));
    assert_eq!(send(&address, "GET", &wrong, &[], "").status, 403);
    // The old ones go when there are too many.
    let first = parts(&link(&host)).1;
    for _ in 0..16 {
        link(&host);
    }
    assert_eq!(send(&address, "GET", &first, &[], "").status, 403);
    // Nothing that lets anybody in is written down.
    let token = path.strip_prefix("/enter/").unwrap();
    let (cookie, _) = came.headers["set-cookie"].split_once("; ").unwrap();
    let key = cookie.split_once('=').unwrap().1;
    let records = serde_json::to_string(&host.records()).unwrap();
    assert!(records.contains("a browser was let in"));
    assert!(!records.contains(token) && !records.contains(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_let_in() {
    let host = hosting();
    let browser = Browser::enter(&host);
    let other = Browser::enter(&host);
    let pages = [
        "",
        "cards",
        "live",
        "servers",
        "activity",
        "rules",
        "audit",
        "audit/export",
    ];
    for page in pages {
        let path = format!("{}{page}", browser.path);
        for headers in [
            vec![],
            vec![("Cookie", "compere=")],
            vec![("Cookie", "compere=00")],
            // The key of another browser is none for this path.
            vec![("Cookie", other.cookie.as_str())],
            vec![("Authorization", "Bearer x")],
        ] {
            let came = send(&browser.address, "GET", &path, &headers, "");
            assert_eq!(came.status, 403, "{page} {headers:?}");
            assert!(!came.body.contains("probe"), "{}", came.body);
        }
        let elsewhere = format!("/{}/{page}", "0".repeat(32));
        let headers = [("Cookie", browser.cookie.as_str())];
        let came = send(&browser.address, "GET", &elsewhere, &headers, "");
        assert_eq!(came.status, 403, "{page}");
    }
    // And the way to answer is no other.
    let id = host.questions()[0].id;
    let path = format!("{}answer/{id}", browser.path);
    let origin = browser.origin();
    let came = send(
        &browser.address,
        "POST",
        &path,
        &[("Origin", &origin)],
        "say=deny",
    );
    assert_eq!(came.status, 403);
    assert_eq!(host.questions().len(), 1);
    assert_eq!(browser.send("GET", "", &[], "").status, 200);
    assert_eq!(send(&browser.address, "GET", "/", &[], "").status, 403);
    assert_eq!(send(&browser.address, "GET", "/none", &[], "").status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_site_makes_a_browser_ask_is_refused() {
    let host = hosting();
    let browser = Browser::enter(&host);
    let Topic::Launch { digest, .. } = &host.questions()[0].topic else {
        panic!("{:?}", host.questions());
    };
    let id = host.questions()[0].id;
    let answer = format!("answer/{id}");
    let yes = format!("say=approve&digest={digest}");
    let own = browser.origin();
    let port = browser.address.rsplit_once(':').unwrap().1;
    let other_port = "http://127.0.0.1:1".to_owned();
    let other_name = format!("http://localhost:{port}");
    let origins = [
        "null",
        "http://evil.example",
        "https://127.0.0.1",
        &other_port,
        &other_name,
        "",
    ];
    for origin in origins {
        let came = browser.send("POST", &answer, &[("Origin", origin)], &yes);
        assert_eq!(came.status, 403, "{origin}");
        let came = browser.send("GET", "", &[("Origin", origin)], "");
        assert_eq!(came.status, 403, "{origin}");
    }
    // A form always comes with its origin; what comes without is none of ours.
    assert_eq!(browser.send("POST", &answer, &[], &yes).status, 403);
    for site in ["cross-site", "same-site", "?"] {
        let headers = [("Origin", own.as_str()), ("Sec-Fetch-Site", site)];
        let came = browser.send("POST", &answer, &headers, &yes);
        assert_eq!(came.status, 403, "{site}");
        let came = browser.send("GET", "", &[("Sec-Fetch-Site", site)], "");
        assert_eq!(came.status, 403, "{site}");
    }
    // A name of another site that was led to this machine.
    for name in [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[::2]:80",
        "",
    ] {
        let came = browser.send("GET", "", &[("Host", name)], "");
        assert_eq!(came.status, 421, "{name}");
        let own = format!("http://{name}");
        let came = browser.send("POST", &answer, &[("Host", name), ("Origin", &own)], &yes);
        assert_eq!(came.status, 421, "{name}");
    }
    assert_eq!(host.questions().len(), 1);
    // Through another port of this machine, as with ssh -L, it is the person.
    for name in ["127.0.0.1:9", "localhost:9", "[::1]:9", "localhost"] {
        let came = browser.send("GET", "", &[("Host", name)], "");
        assert_eq!(came.status, 200, "{name}");
    }
    let headers = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
    let came = browser.send("POST", &answer, &headers, &yes);
    assert_eq!(came.status, 303, "{}", came.body);
    until("the server", || {
        host.questions()
            .iter()
            .all(|question| !matches!(question.topic, Topic::Launch { .. }))
    })
    .await;
}

// C-GUIDE-26
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_a_browser_must_not_do() {
    let host = hosting();
    let browser = Browser::enter(&host);
    let outside = ["/", "/none", "/style.css", "/script.js", "/enter/x"];
    let inside = [
        "",
        "servers",
        "servers/probe",
        "servers/none",
        "activity",
        "rules",
        "audit",
    ];
    let outside = outside.map(|path| send(&browser.address, "GET", path, &[], ""));
    let inside = inside.map(|page| browser.send("GET", page, &[], ""));
    let refused = [browser.send("GET", "", &[("Host", "evil.example")], "")];
    for came in outside.iter().chain(&inside).chain(&refused) {
        let policy = &came.headers["content-security-policy"];
        for wanted in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(wanted), "{policy}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(came.headers["x-frame-options"], "DENY");
        assert_eq!(came.headers["x-content-type-options"], "nosniff");
        assert_eq!(came.headers["cache-control"], "no-store");
        assert_eq!(came.headers["referrer-policy"], "same-origin");
        assert!(!came.headers.contains_key("access-control-allow-origin"));
        // No script and no style stands in a page itself, and nothing comes from elsewhere.
        assert!(!came.body.contains("<script>") && !came.body.contains("<style"));
        assert!(!came.body.contains(" style=") && !came.body.contains("https://"));
        assert!(!came.body.contains("onclick"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_who_was_faster() {
    let host = hosting();
    let browser = Browser::enter(&host);
    let question = host.questions().remove(0);
    let Topic::Launch { digest, .. } = question.topic else {
        panic!("{question:?}");
    };
    let approve = Answer::Approve {
        digest: digest.clone(),
        except: Vec::new(),
        reads: Vec::new(),
    };
    host.answer(question.id, approve.clone());
    let origin = browser.origin();
    let answer = format!("answer/{}", question.id);
    let headers = [("Origin", origin.as_str()), ("X-Script", "yes")];
    let came = browser.send("POST", &answer, &headers, "say=deny");
    assert_eq!(came.status, 409);
    assert!(
        came.body.contains("approved (local, by a test)"),
        "{}",
        came.body
    );
    let ended = browser.send("GET", &format!("ended/{}", question.id), &[], "");
    assert!(
        ended.body.contains("approved (local, by a test)"),
        "{}",
        ended.body
    );
    // The other way round.
    until("what it offers", || !host.questions().is_empty()).await;
    let question = host.questions().remove(0);
    let answer = format!("answer/{}", question.id);
    let came = browser.send("POST", &answer, &[("Origin", &origin)], "say=deny");
    assert_eq!(came.status, 303);
    assert!(came.headers["location"].ends_with(&format!("/?answered={}", question.id)));
    match host.answer(question.id, approve) {
        Reply::Refused(why) => assert!(why.contains("refused (local, by the web page)"), "{why}"),
        other => panic!("{other:?}"),
    }
    // What was never asked was answered by nobody.
    let came = browser.send("POST", "answer/999", &headers, "say=deny");
    assert_eq!((came.status, &*came.body), (409, "Question 999 is over."));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_none_are_refused_in_words() {
    let host = hosting();
    let browser = Browser::enter(&host);
    let id = host.questions()[0].id;
    let origin = browser.origin();
    let headers = [("Origin", origin.as_str()), ("X-Script", "yes")];
    let answer = format!("answer/{id}");
    for (form, words) in [
        ("", "no answer was chosen"),
        ("say=nothing", "no answer was chosen"),
        ("say=once", "not answered like this"),
        ("say=session&shape=true", "not answered like this"),
        ("say=exactly&lasts=soon", "no number of seconds"),
        ("say=edit&arguments=%7B", "no JSON"),
        ("say=approve&digest=00", "no such question"),
        ("%ff%fe=%00", "no answer was chosen"),
    ] {
        let form = match form {
            "" => "x=y",
            form => form,
        };
        let came = browser.send("POST", &answer, &headers, form);
        assert!(matches!(came.status, 422 | 409), "{form} {}", came.status);
        let is_said = came.body.contains(words) || came.status == 409;
        assert!(is_said, "{form}: {}", came.body);
    }
    assert_eq!(host.questions().len(), 1);
    // A form that is too large is not read to its end.
    let large = format!("say=deny&reason={}", "x".repeat(5 * 1024 * 1024));
    let came = browser.send("POST", &answer, &headers, &large);
    assert_eq!(came.status, 413);
    assert_eq!(host.questions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_on_this_machine_alone() {
    let folder = place(&json!({}));
    let host = Hosting::start_in(folder, &["--page", "0.0.0.0:0"]);
    match host.order(&Order::Page) {
        Reply::Refused(why) => assert!(why.contains("other machines"), "{why}"),
        other => panic!("{other:?}"),
    }
    // And not before somebody wants a link.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let host = Hosting::start_in(place(&json!({})), &["--page", &address]);
    assert!(TcpStream::connect(&address).is_err());
    assert!(link(&host).starts_with(&format!("http://{address}/enter/")));
    assert!(TcpStream::connect(&address).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_opened_without_telling_others_the_link() {
    let host = hosting();
    let tools = host.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let opener = tools.join("xdg-open");
    let script = format!(
        "#!/bin/sh\necho \"$@\" > {0}/arguments\ncat \"$1\" > {0}/content\n",
        tools.display()
    );
    std::fs::write(&opener, script).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let opened = Program::new(compere())
        .args(["console", "--open", "--state"])
        .arg(host.path("state"))
        .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert!(opened.status.success());
    assert!(opened.stdout.is_empty());
    let arguments = std::fs::read_to_string(tools.join("arguments")).unwrap();
    assert!(!arguments.contains("http"), "{arguments}");
    let file = arguments.trim();
    let rights = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
    let content = std::fs::read_to_string(tools.join("content")).unwrap();
    let link = content.split('"').find(|part| part.starts_with("http://"));
    let (address, path) = parts(link.unwrap());
    assert_eq!(send(&address, "GET", &path, &[], "").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_keep_nobody_out() {
    let host = hosting();
    let browser = Browser::enter(&host);
    let silent: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = TcpStream::connect(&browser.address).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(browser.send("GET", "", &[], "").status, 200);
    // More than there is room for: they are closed, and then it is the person's turn.
    let more: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(&browser.address).unwrap())
        .collect();
    let mut first = silent.into_iter().next().unwrap();
    first
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut rest = Vec::new();
    let closed = first.read_to_end(&mut rest);
    assert!(
        closed.is_ok() || closed.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    );
    until("the page", || {
        browser.send("GET", "", &[], "").status == 200
    })
    .await;
    drop(more);
}
