//! The hosts that a server may reach by name, and the way there: a proxy of the host's, through a listener
//! that stands in the server's own network. There is nothing else in that network.
//!
//! The launcher makes the listener (`sandbox/doorway.rs`) and hands it over; here is the other side. A
//! server asks for a name and a port with `CONNECT`, as programs do that know of a proxy. Everything else
//! is refused, and said.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use compere::text::escape_line;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::hex;

/// The port of a name without one.
const HTTPS: u16 = 443;
/// The longest request for a way out.
const HEAD_BYTES: usize = 8 * 1024;
/// How long such a request may take, and how long finding and reaching the host may.
const HEAD_TIME: Duration = Duration::from_secs(10);
const REACH_TIME: Duration = Duration::from_secs(30);
/// How long the launcher may take until it hands its listener over.
const HAND_OVER: Duration = Duration::from_secs(10);
/// How long after its start a process may be unknown.
const STARTED: Duration = Duration::from_secs(1);
/// Ways out at once, of one server.
const AT_ONCE: usize = 64;
/// Different hosts that are refused and said, of one start of a server.
const REFUSALS: usize = 32;

/// One host that a server may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name, without the part that stands for any.
    name: String,
    /// Names below it, and not itself.
    below: bool,
    port: u16,
}

impl Named {
    /// Reads `example.com`, `example.com:8443` or `*.example.com`.
    pub fn read(text: &str) -> Option<Self> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, port.parse().ok().filter(|port| *port > 0)?)
            }
            _ => (text, HTTPS),
        };
        let (name, below) = match name.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        let is_address = address_of(name).is_some();
        let is_name = !name.is_empty() && name.chars().all(plain) && !name.starts_with('.');
        let fits = is_name || is_address && !below;
        fits.then(|| Self {
            name: name.to_ascii_lowercase(),
            below,
            port,
        })
    }

    fn covers(&self, name: &str, port: u16) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_below = || {
            let rest = name.strip_suffix(&self.name);
            rest.is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        port == self.port
            && match self.below {
                true => address_of(&name).is_none() && is_below(),
                false => name == self.name,
            }
    }

    /// May this name lead to this machine or its neighbours? Only if the person named just that.
    fn is_near(&self) -> bool {
        self.name == "localhost" || address_of(&self.name).is_some()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.below {
            f.write_str("*.")?;
        }
        f.write_str(&self.name)?;
        match self.port {
            HTTPS => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

fn address_of(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    bare.unwrap_or(name).parse().ok()
}

/// Is this an address of this machine or of a network around it, and none of the world's?
pub fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [first, second, ..] = four.octets();
            four.is_loopback()
                || four.is_private()
                || four.is_link_local()
                || four.is_broadcast()
                || four.is_multicast()
                || first == 0
                // Behind the address of a provider, for measuring, and for nobody.
                || first == 100 && (64..128).contains(&second)
                || first == 198 && (18..20).contains(&second)
                || first >= 240
        }
        IpAddr::V6(six) => {
            six.is_loopback()
                || six.is_unspecified()
                || six.is_multicast()
                || six.is_unique_local()
                || six.is_unicast_link_local()
                || within(six).is_some_and(|four| is_near(four.into()))
        }
    }
}

/// The older address that stands within a newer one, and is reached by it.
fn within(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let four = |high: u16, low: u16| {
        let [first, second] = high.to_be_bytes();
        let [third, fourth] = low.to_be_bytes();
        Ipv4Addr::new(first, second, third, fourth)
    };
    match six.segments() {
        // Mapped, or as it was once written; and through gateways of networks that have only newer ones.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(four(high, low))
        }
        [0x2002, high, low, ..] => Some(four(high, low)),
        _ => None,
    }
}

/// Where a launcher hands its listener over.
pub(crate) struct HandOver {
    listener: UnixListener,
    /// What the launcher is told.
    pub(crate) name: String,
}

impl HandOver {
    pub(crate) fn new() -> io::Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("compere-{}", hex::text(&random));
        let listener = UnixListener::bind_addr(&UnixAddress::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, name })
    }
}

/// Takes the listener of this process, and of no other.
async fn take(
    handing: &tokio::net::UnixListener,
    process: &AtomicU32,
) -> io::Result<std::net::TcpListener> {
    loop {
        let (stream, _) = handing.accept().await?;
        let peer = stream.peer_cred()?.pid();
        let peer = peer.and_then(|peer| u32::try_from(peer).ok());
        // It may be here before it is known that it was started.
        let known = async {
            while peer != Some(process.load(Ordering::Acquire)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(STARTED, known).await.is_ok() {
            let stream = stream.into_std()?;
            let taken = tokio::task::spawn_blocking(move || received(&stream));
            return taken.await.map_err(io::Error::other)?;
        }
    }
}

fn received(stream: &UnixStream) -> io::Result<std::net::TcpListener> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(HAND_OVER))?;
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut beside,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut listener: Option<OwnedFd> = None;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            listener = rights.into_iter().next();
        }
    }
    let listener = listener.ok_or(io::ErrorKind::UnexpectedEof)?;
    // Now the server may begin.
    io::Write::write_all(&mut &*stream, &[0])?;
    Ok(listener.into())
}

/// The way out of a server; closed when this is dropped.
pub(crate) struct WayOut(AbortHandle);

impl Drop for WayOut {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says what was refused.
pub(crate) type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Waits for the listener of a process, and serves it; then for that of the process that is started in its
/// place, if it ended over the question for its era.
pub(crate) fn open(
    hand_over: HandOver,
    process: Arc<AtomicU32>,
    hosts: Vec<Named>,
    say: Say,
) -> WayOut {
    let hosts = Arc::new(hosts);
    let task = tokio::spawn(async move {
        let taking = async {
            let handing = tokio::net::UnixListener::from_std(hand_over.listener)?;
            let mut taken = tokio::time::timeout(HAND_OVER, take(&handing, &process)).await??;
            loop {
                taken.set_nonblocking(true)?;
                let listener = TcpListener::from_std(taken)?;
                taken = tokio::select! {
                    () = serve(listener, hosts.clone(), say.clone()) => return Ok(()),
                    next = take(&handing, &process) => next?,
                };
            }
        };
        if let Err(error) = taking.await {
            let error: io::Error = error;
            say(&format!("its way to named hosts cannot be opened: {error}"));
        }
    });
    WayOut(task.abort_handle())
}

async fn serve(listener: TcpListener, hosts: Arc<Vec<Named>>, say: Say) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut said = BTreeSet::new();
    let (refusals, mut refused) = tokio::sync::mpsc::channel::<String>(REFUSALS);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            Some(where_to) = refused.recv() => {
                if said.len() < REFUSALS && said.insert(where_to.clone()) {
                    say(&format!("it wanted to reach {where_to}"));
                }
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            continue;
        };
        let (hosts, refusals) = (hosts.clone(), refusals.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = through(stream, &hosts, &refusals).await;
        });
    }
}

async fn through(
    mut stream: TcpStream,
    hosts: &[Named],
    refusals: &tokio::sync::mpsc::Sender<String>,
) -> io::Result<()> {
    let head = tokio::time::timeout(HEAD_TIME, head(&mut stream)).await;
    let Ok(Ok((name, port))) = head else {
        return answer(&mut stream, "400 Only CONNECT to a name and a port").await;
    };
    let asked = format!("{}:{port}", escape_line(&name));
    let Some(named) = hosts.iter().find(|named| named.covers(&name, port)) else {
        let _ = refusals.try_send(format!("{asked}, which it was not given"));
        return answer(&mut stream, "403 Not one of the hosts that it was given").await;
    };
    let reached = tokio::time::timeout(REACH_TIME, reach(&name, port, named.is_near())).await;
    let mut there = match reached {
        Ok(Ok(there)) => there,
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let near = format!("{asked}, which leads to this machine or its own network");
            let _ = refusals.try_send(near);
            return answer(
                &mut stream,
                "403 It leads to this machine or its own network",
            )
            .await;
        }
        Ok(Err(_)) | Err(_) => {
            return answer(&mut stream, "502 It cannot be reached").await;
        }
    };
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    tokio::io::copy_bidirectional(&mut stream, &mut there).await?;
    Ok(())
}

/// What is asked for: read byte for byte to its end, as what follows is for somebody else.
async fn head(stream: &mut TcpStream) -> io::Result<(String, u16)> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        if text.len() >= HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        text.push(stream.read_u8().await?);
    }
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let mut words = text.lines().next().ok_or_else(wrong)?.split(' ');
    let (Some("CONNECT"), Some(place), Some(_), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(wrong());
    };
    let (name, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    Ok((name.to_owned(), port.parse().map_err(|_| wrong())?))
}

/// Finds the host and reaches it. The name is looked up once, so that it is what was judged that is reached.
async fn reach(name: &str, port: u16, may_be_near: bool) -> io::Result<TcpStream> {
    let found: Vec<SocketAddr> = match address_of(name) {
        Some(address) => vec![(address, port).into()],
        None => tokio::net::lookup_host((name, port)).await?.collect(),
    };
    let (near, far): (Vec<SocketAddr>, _) =
        found.into_iter().partition(|address| is_near(address.ip()));
    let usable = match may_be_near {
        true => near.into_iter().chain(far).collect(),
        false if far.is_empty() && !near.is_empty() => {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        false => far,
    };
    TcpStream::connect(&usable[..]).await
}

async fn answer(stream: &mut TcpStream, status: &str) -> io::Result<()> {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// The variables that tell programs of the way out.
pub(crate) fn variables(port: u16) -> impl Iterator<Item = (&'static str, String)> {
    let names = [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let place = format!("http://127.0.0.1:{port}");
    names
        .into_iter()
        .map(move |name| (name, place.clone()))
        .chain([("NODE_USE_ENV_PROXY", "1".to_owned())])
}
