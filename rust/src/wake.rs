//! Waking a Python event loop from the I/O thread, without the GIL: one byte into a socket, and a
//! list of who has something.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::sync::Mutex;

/// Rung for a client's events rather than for one of its subscriptions.
pub const EVENTS: i64 = -1;

/// One event loop's end: which (client, subscription) pairs have something to fetch.
pub struct Notifier {
    socket: UnixStream,
    /// Each once: a loop that stands still is owed no more than that.
    ready: Mutex<BTreeSet<(u32, i64)>>,
}

impl Notifier {
    /// `socket` is non-blocking; the loop watches its other end.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, ready: Mutex::default() }
    }

    pub fn push(&self, client: u32, what: i64) {
        let first = {
            let mut ready = self.ready.lock();
            ready.insert((client, what)) && ready.len() == 1
        };
        if first {
            // A full socket means that the loop has been woken already.
            let _ = (&self.socket).write(&[0]);
        }
    }

    /// Everything that is ready. The loop empties its descriptor before this call, never after it:
    /// the other order loses a wake-up.
    pub fn take(&self) -> Vec<(u32, i64)> {
        std::mem::take(&mut *self.ready.lock()).into_iter().collect()
    }
}

/// A connector's way to whoever listens: its loop, or nobody.
#[derive(Default)]
pub struct Bell {
    listener: Mutex<Option<(Arc<Notifier>, u32)>>,
    /// Wakes the driver: work was queued, a command was given, an inbox has room.
    pub driver: Notify,
}

impl Bell {
    pub fn attach(&self, notifier: Arc<Notifier>, client: u32) {
        *self.listener.lock() = Some((notifier, client));
    }

    pub fn detach(&self) {
        *self.listener.lock() = None;
    }

    pub fn ring(&self, what: i64) {
        if let Some((notifier, client)) = &*self.listener.lock() {
            notifier.push(*client, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_owed_each_thing_once() {
        let (writer, mut reader) = UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let (notifier, bell) = (Arc::new(Notifier::new(writer)), Bell::default());
        bell.attach(Arc::clone(&notifier), 7);
        for _ in 0..1_000 {
            bell.ring(3);
            bell.ring(EVENTS);
        }
        assert_eq!(reader.read(&mut [0; 16]).unwrap(), 1);
        assert_eq!(notifier.take(), [(7, EVENTS), (7, 3)]);
        bell.ring(3);
        assert_eq!(reader.read(&mut [0; 16]).unwrap(), 1);
        assert_eq!(notifier.take(), [(7, 3)]);
    }
}
