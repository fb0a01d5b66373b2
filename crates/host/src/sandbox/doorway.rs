//! The one thing in the network of a server that may reach hosts by name: a listener, whose other side is
//! the host outside.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};

/// Where it listens.
pub(crate) const PORT: u16 = 3128;
/// How long the host may take to take it.
const TAKEN: Duration = Duration::from_secs(10);

/// Goes to the host, while it can still be reached.
pub(super) fn reach(name: &str) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)
}

/// In the network of the server: makes the listener, hands it over, and waits until that is taken.
pub(super) fn open(host: &mut UnixStream) -> io::Result<()> {
    bring_up()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let along = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&along));
    rustix::net::sendmsg(
        &*host,
        &[IoSlice::new(&[0])],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    host.set_read_timeout(Some(TAKEN))?;
    host.read_exact(&mut [0])
}

/// The only interface of a new network is its own loop, and it is down: asks the kernel to bring it up.
fn bring_up() -> io::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_WITH_ANSWER: u16 = 5;
    const UP: u32 = 1;
    const ERROR: u16 = 2;
    let kernel = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // That of routes and interfaces.
        None,
    )?;
    let mut request = Vec::with_capacity(32);
    request.extend(32_u32.to_ne_bytes());
    request.extend(NEW_LINK.to_ne_bytes());
    request.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    // Its number, and whose it is.
    request.extend(1_u32.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    // Any family and kind, the first interface, up, and nothing else changed.
    request.extend([0; 4]);
    for value in [1, UP, UP] {
        request.extend(u32::to_ne_bytes(value));
    }
    rustix::net::send(&kernel, &request, SendFlags::empty())?;
    let mut answer = [0_u8; 128];
    let (count, _) = rustix::net::recv(&kernel, &mut answer[..], RecvFlags::empty())?;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), error.map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(0)) if count >= 20 => Ok(()),
        (Some(ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
