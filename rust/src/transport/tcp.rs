//! Dialling TCP.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Network, Stream};
use crate::config::Config;
use crate::error::{ConnectFailure, io_words};
use crate::fork::Known;

/// Keep what the kernel holds unsent short, so that telemetry does not hide control packets.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// One driver's way to dial, with the name resolution that a dial before this one left behind.
#[derive(Default)]
pub struct Tcp {
    lookup: Option<Lookup>,
}

pub struct Socket {
    // Before the stream, so that a descriptor is forgotten before it is closed.
    _known: Known,
    stream: TcpStream,
}

/// A name resolution on the thread that all drivers share for it.
struct Lookup(JoinHandle<io::Result<Vec<SocketAddr>>>);

impl Lookup {
    fn begin(host: String, port: u16) -> Self {
        Self(spawn_blocking(move || Ok((host, port).to_socket_addrs()?.collect())))
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // Where it has not begun it need not; others wait for the thread.
        self.0.abort();
    }
}

impl Network for Tcp {
    type Stream = Socket;

    /// Connect to the first address that answers.
    async fn dial(&mut self, config: &Config) -> Result<Socket, ConnectFailure> {
        let mut last = ConnectFailure::passing("name resolution failed");
        for address in self.resolve(&config.host, config.port).await? {
            match dial_one(config, address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = failure(&error, io_words),
            }
        }
        Err(last)
    }
}

impl Tcp {
    /// A resolution that outlasted its dial is waited for by the next one, rather than asked for again behind it.
    async fn resolve(&mut self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectFailure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let lookup = self.lookup.get_or_insert_with(|| Lookup::begin(host.into(), port));
        let found = (&mut lookup.0).await;
        self.lookup = None;
        let found = found.unwrap_or_else(|failed| Err(io::Error::other(failed)));
        found.map_err(|error| failure(&error, |_| "name resolution failed".into()))
    }
}

impl Stream for Socket {
    fn try_read_buf(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.stream.try_read_buf(buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.stream.ready(interest).await.map(drop)
    }

    fn acknowledge_now(&self) {
        // It holds until the kernel changes its mind. Where it is refused, nothing is lost but time.
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(&self.stream).set_tcp_quickack(true);
    }

    fn shutdown_write(&self) -> io::Result<()> {
        SockRef::from(&self.stream).shutdown(Shutdown::Write)
    }
}

async fn dial_one(config: &Config, address: SocketAddr) -> io::Result<Socket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some((host, port)) = config.bind {
        socket.set_reuseaddr(port != 0)?;
        socket.bind((host, port).into())?;
    }
    // Known before it is connected: a fork may come at any time.
    let known = Known::new(&socket);
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(Socket { _known: known, stream })
}

/// The limit of open files is said whatever met it: only the operator can mend it.
fn failure(error: &io::Error, otherwise: impl FnOnce(&io::Error) -> String) -> ConnectFailure {
    ConnectFailure::passing(match error.raw_os_error() {
        Some(libc::EMFILE) => "too many open files: raise the limit of this process (ulimit -n)".into(),
        _ => otherwise(error),
    })
}
