//! The host's side of the door.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use compere::ServerHandle;
use compere::text::escape_line;
use compere::transport::stdio::Stdio;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use crate::door::{HELLO_BYTES, Hello, LINE_BYTES, Order, Reply, TOKEN, VERSION, socket};
use crate::hex;
use crate::host::Host;
use crate::secrets::is_same;
use crate::servers::learn::Learned;

/// How long the first line may take.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// How far up the ancestors of a process are looked for.
const ANCESTORS: usize = 64;
/// How many may be at the door at once.
const AT_ONCE: usize = 256;

/// What gives a link to the page of the host in a browser, or says why there is none.
pub type Page = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Opens the door. It is served until the future is dropped; `stop` is told when a person asks the host
/// to end, and `page` is asked for links. Needs a tokio runtime.
pub fn serve(
    host: Arc<Host>,
    gateway: ServerHandle,
    stop: Arc<Notify>,
    page: Page,
) -> io::Result<impl Future<Output = ()> + Send> {
    let token = hex::text(&host.secret(TOKEN)?);
    let path = socket(host.state());
    // The state is ours alone, so what lies there is of a host that is gone.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(receive(listener, token, host, gateway, stop, page))
}

async fn receive(
    listener: UnixListener,
    token: String,
    host: Arc<Host>,
    gateway: ServerHandle,
    stop: Arc<Notify>,
    page: Page,
) {
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "somebody at the door is gone already");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let visit = Visit {
            host: host.clone(),
            gateway: gateway.clone(),
            stop: stop.clone(),
            page: page.clone(),
            token: token.clone(),
        };
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = visit.receive(stream).await {
                tracing::debug!(%error, "a visit at the door has broken off");
            }
        });
    }
}

struct Visit {
    host: Arc<Host>,
    gateway: ServerHandle,
    stop: Arc<Notify>,
    page: Page,
    token: String,
}

impl Visit {
    async fn receive(self, stream: UnixStream) -> io::Result<()> {
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let process = peer.pid.as_raw_nonzero().get();
        if peer.uid != rustix::process::getuid() {
            return self.turn_away(stream, "you are another user").await;
        }
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        if process != own && descends(process, own) {
            self.host.note(format!(
                "a process that the host started ({process}) tried to reach it through the door, and was turned away"
            ));
            return self
                .turn_away(stream, "servers have no business here")
                .await;
        }
        let plain = stream.into_std()?;
        plain.set_nonblocking(false)?;
        plain.set_read_timeout(Some(HELLO_TIME))?;
        let (plain, hello, descriptors) =
            tokio::task::spawn_blocking(move || hello(plain)).await??;
        plain.set_nonblocking(true)?;
        let stream = UnixStream::from_std(plain)?;
        let Some(hello) = hello else {
            return self.turn_away(stream, "this is no first line").await;
        };
        if !is_same(&hello.token, &self.token) {
            self.host.note(format!(
                "the process {process} came to the door with a wrong token"
            ));
            return self.turn_away(stream, "the token is wrong").await;
        }
        if hello.compere != VERSION {
            let words = format!(
                "the host that runs is of version {VERSION}, and this is {}; end it with: compere stop",
                escape_line(&hello.compere)
            );
            return self.turn_away(stream, &words).await;
        }
        match hello.is_app {
            true => self.app(stream, hello.app, descriptors).await,
            false => Arc::new(self).orders(stream).await,
        }
    }

    async fn turn_away(&self, mut stream: UnixStream, why: &str) -> io::Result<()> {
        say(&mut stream, &Reply::Refused(why.to_owned())).await
    }

    /// An app: what it reads and writes is served, for as long as its end of the door is open.
    async fn app(
        self,
        mut stream: UnixStream,
        name: Option<String>,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let mut descriptors = descriptors.into_iter();
        let (Some(input), Some(output)) = (descriptors.next(), descriptors.next()) else {
            return self
                .turn_away(stream, "an app brings its input and output")
                .await;
        };
        let stdio = Stdio::of(input, output)?;
        say(&mut stream, &Reply::Welcome(VERSION.to_owned())).await?;
        let principal = name.unwrap_or_else(|| "local".to_owned());
        let (mut gone, mut end) = stream.into_split();
        let mut byte = [0];
        tokio::select! {
            served = self.gateway.serve_for(principal, stdio) => {
                if let Err(error) = served {
                    tracing::debug!(%error, "an app is gone");
                }
            }
            _ = gone.read(&mut byte) => {}
        }
        let _ = end.write_all(&line(&Reply::Done(Vec::new()))).await;
        Ok(())
    }

    async fn orders(self: Arc<Self>, mut stream: UnixStream) -> io::Result<()> {
        say(&mut stream, &Reply::Welcome(VERSION.to_owned())).await?;
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read);
        loop {
            let mut text = Vec::new();
            let limit = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX);
            let count = (&mut lines)
                .take(limit)
                .read_until(b'\n', &mut text)
                .await?;
            if count == 0 {
                return Ok(());
            }
            let reply = match serde_json::from_slice(&text) {
                Ok(Order::Watch) => {
                    // Whoever watches only listens from now on.
                    return self.watch(lines.into_inner(), write).await;
                }
                Ok(Order::Stop) => {
                    // Whoever said so hears of it before everything ends.
                    let said = write.write_all(&line(&Reply::Done(Vec::new()))).await;
                    self.stop.notify_one();
                    said?;
                    continue;
                }
                Ok(order) => {
                    // Some wait for the disk.
                    let visit = self.clone();
                    tokio::task::spawn_blocking(move || visit.obey(order)).await?
                }
                Err(error) => Reply::Refused(format!("this is no order: {error}")),
            };
            write.write_all(&line(&reply)).await?;
        }
    }

    fn obey(&self, order: Order) -> Reply {
        let host = &self.host;
        match order {
            Order::Status => Reply::Status(Box::new(host.status())),
            Order::Questions | Order::Watch => Reply::Questions(host.questions()),
            Order::Answer { id, answer, door } => match host.answer(id, &answer, &who(&door)) {
                Ok(()) => Reply::Done(Vec::new()),
                Err(why) => Reply::Refused(why.to_string()),
            },
            Order::Ended { id } => Reply::Ended(host.end_of(id)),
            Order::Page => match (self.page)() {
                Ok(link) => Reply::Done(vec![link]),
                Err(why) => Reply::Refused(why),
            },
            Order::Grants => Reply::Grants(host.grants()),
            Order::Revoke { id, door } => match host.revoke(&id, &who(&door)) {
                Ok(Some(grant)) => Reply::Done(vec![grant.to_string()]),
                Ok(None) => Reply::Refused("there is no such grant".to_owned()),
                Err(error) => Reply::Refused(format!(
                    "it holds no more, but that cannot be kept: {error}"
                )),
            },
            Order::Reload => Reply::Done(host.reload()),
            Order::Token { app } => match host.token_for(&app) {
                Ok(token) => Reply::Done(vec![token]),
                Err(error) => Reply::Refused(format!("it cannot be kept: {error}")),
            },
            Order::Retry { server } => match host.retry(&server) {
                true => Reply::Done(Vec::new()),
                false => Reply::Refused("there is no such server".to_owned()),
            },
            Order::Update { server } => match host.update(&server) {
                Ok(()) => Reply::Done(Vec::new()),
                Err(why) => Reply::Refused(why),
            },
            Order::Learn { server } => {
                let learned = tokio::runtime::Handle::current().block_on(host.learn(&server));
                match learned {
                    Ok(learned) => Reply::Done(words_of(&learned)),
                    Err(why) => Reply::Refused(why),
                }
            }
            // What ends everything is answered before.
            Order::Stop => Reply::Done(Vec::new()),
        }
    }

    async fn watch(
        &self,
        mut gone: tokio::net::unix::OwnedReadHalf,
        mut write: tokio::net::unix::OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut questions = self.host.question_changes();
        let mut servers = self.host.changes();
        let mut byte = [0];
        loop {
            write
                .write_all(&line(&Reply::Questions(self.host.questions())))
                .await?;
            tokio::select! {
                changed = questions.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                changed = servers.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                read = gone.read(&mut byte) => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// What was learned, line by line.
fn words_of(learned: &Learned) -> Vec<String> {
    let mut words: Vec<String> = learned
        .denied
        .iter()
        .map(|denied| format!("it was kept from {denied}"))
        .collect();
    if words.is_empty() {
        words.push("it was kept from nothing that is there".to_owned());
    }
    if let Some(why) = &learned.failed {
        words.push(format!("it did not say what it offers: {why}"));
        let last = learned.last_words.iter();
        words.extend(last.map(|line| format!("it last said: {line}")));
    }
    words
}

/// Who answers, for the record: the person whose machine it is, and by which door.
fn who(door: &str) -> String {
    let door: String = door.chars().take(64).collect();
    format!("local, by {}", escape_line(&door))
}

fn line(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    line
}

async fn say(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    stream.write_all(&line(reply)).await
}

type Received = (StdStream, Option<Hello>, Vec<OwnedFd>);

/// The first line, and what came along with it.
fn hello(stream: StdStream) -> io::Result<Received> {
    let mut text = Vec::new();
    let mut descriptors = Vec::new();
    while !text.ends_with(b"\n") && text.len() < HELLO_BYTES {
        let mut piece = [0; 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut piece)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            break;
        }
        text.extend_from_slice(piece.get(..received.bytes).unwrap_or_default());
    }
    let hello = serde_json::from_slice(&text).ok();
    Ok((stream, hello, descriptors))
}

/// Is a process one that `ancestor` started, or one of those did? What cannot be found out counts as yes.
fn descends(process: i32, ancestor: i32) -> bool {
    let mut process = process;
    for _ in 0..ANCESTORS {
        if process == ancestor {
            return true;
        }
        if process <= 1 {
            return false;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
            return true;
        };
        // The name stands in brackets, and may hold anything.
        let after = stat.rsplit_once(')').map(|(_, after)| after);
        let parent = after.and_then(|after| after.split_whitespace().nth(1)?.parse().ok());
        match parent {
            Some(parent) => process = parent,
            None => return true,
        }
    }
    true
}
