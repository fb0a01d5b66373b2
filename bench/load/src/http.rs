//! Drives a server over HTTP: as many connections as asked for, one request on each at a time.
//!
//! bench-load http MODE CONNECTIONS COUNT -- COMMAND ARG…      one line of figures
//! bench-load sessions COUNT idle|open -- COMMAND ARG…         bytes per session
//! bench-load streams COUNT TICKS stalled|all -- COMMAND ARG…  lateness of events, memory
//!
//! The command prints the URL that it listens on. MODE is `json` (no sessions), `stateless` (none
//! either, in the way of 2026-07-28), `session` (each connection has one) or `events` (each answer comes with an event before it).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token};

pub struct Server {
    child: Child,
    address: SocketAddr,
    path: String,
}

impl Server {
    pub fn start(command: &[String]) -> Self {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let rest = url.trim().strip_prefix("http://").expect("the URL of the server");
        let (authority, path) = rest.split_once('/').expect("a path");
        let server = Self {
            child,
            address: authority.parse().unwrap(),
            path: format!("/{path}"),
        };
        // The URL may be printed before the socket listens.
        for _ in 0..200 {
            if TcpStream::connect(server.address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn cpu_nanos(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn stop(mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }

    fn post(&self, session: Option<&str>, body: &str) -> Vec<u8> {
        let session = session
            .map(|id| format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-06-18\r\n"))
            .unwrap_or_else(|| "mcp-protocol-version: 2025-06-18\r\n".to_owned());
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{session}content-length: {}\r\n\r\n{body}",
            self.path, self.address, body.len()
        )
        .into_bytes()
    }

    /// The same without a session, in the way of 2026-07-28.
    fn post_stateless(&self, id: usize) -> Vec<u8> {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientInfo\":{{\"name\":\"load\",\"version\":\"1\"}},\"io.modelcontextprotocol/clientCapabilities\":{{}}}},\"name\":\"echo\",\"arguments\":{{\"message\":\"hello, world! hello, world!\"}}}}}}");
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\ncontent-length: {}\r\n\r\n{body}",
            self.path, self.address, body.len()
        )
        .into_bytes()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Does the handshake on a connection; the id of its session, if it has one.
    fn handshake(&self, stream: &mut TcpStream) -> Option<String> {
        let initialize = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"load\",\"version\":\"1\"}}}";
        stream.write_all(&self.post(None, initialize)).unwrap();
        let head = read_answer(stream);
        let session = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
        });
        let initialized = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
        stream.write_all(&self.post(session.as_deref(), initialized)).unwrap();
        read_answer(stream);
        session
    }
}

/// Is the first answer in these bytes whole? Its length.
fn answer_end(bytes: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = bytes[..head].to_ascii_lowercase();
    if let Some(at) = memchr::memmem::find(&text, b"content-length: ") {
        let digits = &text[at + 16..];
        let end = digits.iter().position(|byte| *byte == b'\r')?;
        let length: usize = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
        return (bytes.len() >= head + length).then_some(head + length);
    }
    if memchr::memmem::find(&text, b"transfer-encoding: chunked").is_some() {
        // The body may be empty: the break before its end is then that of the head.
        let body = &bytes[head - 2..];
        let end = memchr::memmem::find(body, b"\r\n0\r\n\r\n")? + 7;
        return Some(head - 2 + end);
    }
    // 202 and 204 have neither.
    Some(head)
}

fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..count]);
        if answer_end(&bytes).is_some() {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

struct Connection {
    stream: mio::net::TcpStream,
    request: Vec<u8>,
    read: Vec<u8>,
    asked: Instant,
}

fn echo(id: usize, mode: &str) -> String {
    let tool = if mode == "events" { "chatty" } else { "echo" };
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{tool}\",\"arguments\":{{\"message\":\"hello, world! hello, world!\"}}}}}}")
}

pub fn requests(arguments: &[String]) {
    let mode = arguments[0].as_str();
    let (connections, count): (usize, usize) =
        (arguments[1].parse().unwrap(), arguments[2].parse().unwrap());
    let server = Server::start(&arguments[4..]);
    let mut poll = Poll::new().unwrap();
    let mut all: Vec<Connection> = (0..connections)
        .map(|number| {
            let mut stream = server.connect();
            let request = match mode {
                "stateless" => {
                    let request = server.post_stateless(100_000 + number);
                    stream.write_all(&request).unwrap();
                    let answer = read_answer(&mut stream);
                    assert!(answer.contains("\"content\""), "{answer}");
                    request
                }
                "json" => server.post(None, &echo(100_000 + number, mode)),
                _ => {
                    let session = server.handshake(&mut stream);
                    server.post(session.as_deref(), &echo(100_000 + number, mode))
                }
            };
            stream.set_nonblocking(true).unwrap();
            Connection {
                stream: mio::net::TcpStream::from_std(stream),
                request,
                read: Vec::new(),
                asked: Instant::now(),
            }
        })
        .collect();
    for (number, connection) in all.iter_mut().enumerate() {
        poll.registry()
            .register(&mut connection.stream, Token(number), Interest::READABLE)
            .unwrap();
    }
    drive(&mut poll, &mut all, (count / 5).max(connections));
    let (cpu, began) = (server.cpu_nanos(), Instant::now());
    let mut latencies = drive(&mut poll, &mut all, count);
    let (wall, cpu) = (began.elapsed(), server.cpu_nanos() - cpu);
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize] as f64 / 1e3;
    println!(
        "{:.0} {:.3} {:.1} {:.1} {} 0 0",
        count as f64 / wall.as_secs_f64(),
        cpu as f64 / count as f64 / 1e3,
        at(0.5),
        at(0.99),
        server.memory("VmHWM"),
    );
    drop(all);
    server.stop();
}

/// Keeps one request on each connection until `count` are answered; latencies in nanoseconds.
fn drive(poll: &mut Poll, all: &mut [Connection], count: usize) -> Vec<u64> {
    let mut latencies = Vec::with_capacity(count);
    let mut asked = 0;
    for connection in all.iter_mut().take(count) {
        connection.ask();
        asked += 1;
    }
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 65536];
    while latencies.len() < count {
        poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
        assert!(!events.is_empty(), "the server does not answer");
        for event in &events {
            let connection = &mut all[event.token().0];
            loop {
                match connection.stream.read(&mut buffer) {
                    Ok(0) => panic!("the server closed a connection"),
                    Ok(read) => {
                        connection.read.extend_from_slice(&buffer[..read]);
                        if read < buffer.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let Some(end) = answer_end(&connection.read) else {
                continue;
            };
            assert!(
                connection.read.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&connection.read)
            );
            connection.read.drain(..end);
            latencies.push(connection.asked.elapsed().as_nanos() as u64);
            if asked < count {
                connection.ask();
                asked += 1;
            }
        }
    }
    latencies
}

impl Connection {
    fn ask(&mut self) {
        self.asked = Instant::now();
        // A request is far smaller than what a socket takes.
        self.stream.write_all(&self.request).unwrap();
    }
}

/// What a session costs that does nothing: resident memory before and after, divided.
pub fn sessions(arguments: &[String]) {
    let count: usize = arguments[0].parse().unwrap();
    let open = arguments[1] == "open";
    let server = Server::start(&arguments[3..]);
    let mut stream = server.connect();
    for _ in 0..200 {
        server.handshake(&mut stream);
    }
    let before = server.memory("VmRSS");
    let mut held = Vec::new();
    for _ in 0..count {
        let session = server.handshake(&mut stream);
        if open {
            let mut listening = server.connect();
            let id = session.unwrap_or_default();
            let get = format!(
                "GET {} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\nmcp-session-id: {id}\r\nmcp-protocol-version: 2025-06-18\r\n\r\n",
                server.path, server.address
            );
            listening.write_all(get.as_bytes()).unwrap();
            let mut head = [0; 4096];
            assert!(listening.read(&mut head).unwrap() > 0);
            held.push(listening);
        }
    }
    let after = server.memory("VmRSS");
    println!("{:.0}", (after - before) as f64 * 1024.0 / count as f64);
    drop(held);
    server.stop();
}

/// Streams of events with the time of their making in them; one of them may never be read.
pub fn streams(arguments: &[String]) {
    let (count, ticks): (usize, usize) =
        (arguments[0].parse().unwrap(), arguments[1].parse().unwrap());
    let stalled = arguments[2] == "stalled";
    let server = Server::start(&arguments[4..]);
    let mut poll = Poll::new().unwrap();
    let mut all: HashMap<usize, (mio::net::TcpStream, Vec<u8>)> = HashMap::new();
    let call = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"ticks\",\"arguments\":{{\"count\":{ticks}}}}}}}");
    let mut unread = Vec::new();
    for number in 0..count {
        let mut stream = server.connect();
        let session = server.handshake(&mut stream);
        stream.write_all(&server.post(session.as_deref(), &call)).unwrap();
        if stalled && number == 0 {
            unread.push(stream);
            continue;
        }
        stream.set_nonblocking(true).unwrap();
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(number), Interest::READABLE)
            .unwrap();
        all.insert(number, (stream, Vec::new()));
    }
    let mut late = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 1 << 20];
    let mut open = all.len();
    while open > 0 {
        poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
        assert!(!events.is_empty(), "no events come");
        for event in &events {
            let (stream, read) = all.get_mut(&event.token().0).unwrap();
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => panic!("the server closed a stream"),
                    Ok(count) => read.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            while let Some(at) = memchr::memmem::find(read, b"made:") {
                let Some(end) = memchr::memchr(b';', &read[at..]) else {
                    break;
                };
                let made: u128 = std::str::from_utf8(&read[at + 5..at + end]).unwrap().parse().unwrap();
                late.push(now.as_nanos().saturating_sub(made) as u64);
                read.drain(..at + end);
            }
            if memchr::memmem::find(read, b"all ticks").is_some() {
                read.clear();
                open -= 1;
            }
        }
    }
    late.sort_unstable();
    let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize] as f64 / 1e3;
    println!(
        "{} {:.1} {:.1} {:.1} {}",
        late.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        server.memory("VmRSS")
    );
    server.stop();
}
