//! Dialling. TCP is what the compiled core carries.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::config::Config;
use crate::error::{ConnectFailure, io_words};
use crate::fork::Known;

/// Keep what the kernel holds unsent short, so that telemetry does not hide control packets.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

pub struct Socket {
    // Before the stream, so that a descriptor is forgotten before it is closed.
    _known: Known,
    pub stream: TcpStream,
}

/// Connect to the first address that answers.
pub async fn dial(config: &Config) -> Result<Socket, ConnectFailure> {
    timeout(config.connect_timeout, dial_any(config)).await.unwrap_or_else(|_| Err(timed_out()))
}

pub fn timed_out() -> ConnectFailure {
    ConnectFailure::passing("timed out")
}

async fn dial_any(config: &Config) -> Result<Socket, ConnectFailure> {
    let addresses = lookup_host((config.host.as_str(), config.port))
        .await
        .map_err(|_| ConnectFailure::passing("name resolution failed"))?;
    let mut last = ConnectFailure::passing("name resolution failed");
    for address in addresses {
        match dial_one(config, address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = failure(&error),
        }
    }
    Err(last)
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

fn failure(error: &io::Error) -> ConnectFailure {
    if error.raw_os_error() == Some(24) {
        return ConnectFailure::passing("too many open files: raise the limit of this process (ulimit -n)");
    }
    ConnectFailure::passing(io_words(error))
}
