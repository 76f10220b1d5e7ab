//! What a driver needs of a network. TCP is what the compiled core carries.

mod tcp;

pub use tcp::Tcp;

use std::future::Future;
use std::io;

use tokio::io::Interest;

use crate::config::Config;
use crate::error::ConnectFailure;

/// A way to reach the broker. The driver bounds the time of a dial, by dropping it.
pub trait Network: Send + 'static {
    type Stream: Stream;

    fn dial(&mut self, config: &Config) -> impl Future<Output = Result<Self::Stream, ConnectFailure>> + Send;
}

/// One connection's bytes in both directions; nothing waits but `ready`. Dropping it closes it.
pub trait Stream: Send + Sync + 'static {
    /// Append what has arrived, as far as the buffer has room; 0 at the end, `WouldBlock` when there is nothing.
    fn try_read_buf(&self, buffer: &mut Vec<u8>) -> io::Result<usize>;

    /// Hand over as much as is taken now; `WouldBlock` when that is nothing.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Wait until one of these can be tried again.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>> + Send;

    /// Acknowledge what has arrived at once, where the transport would wait for more.
    fn acknowledge_now(&self) {}

    /// End our side; the other may still send.
    fn shutdown_write(&self) -> io::Result<()>;
}
