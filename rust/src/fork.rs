//! What a forked child does with the sockets it inherited: it closes its descriptors, and no more.
//!
//! A descriptor kept open would hide from the broker that the parent has died. The objects behind it
//! are left alone: dropping them would unregister the parent's socket from the epoll that both share.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use parking_lot::Mutex;

use crate::outbox;

static OPEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// A socket known to `leave_to_parent` while this lives.
pub struct Known(RawFd);

impl Known {
    pub fn new(socket: &impl AsRawFd) -> Self {
        let descriptor = socket.as_raw_fd();
        OPEN.lock().push(descriptor);
        Self(descriptor)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut open = OPEN.lock();
        if let Some(place) = open.iter().position(|descriptor| *descriptor == self.0) {
            open.swap_remove(place);
        }
    }
}

/// In a forked child, before anything else runs there.
pub fn leave_to_parent() {
    // The lock may have been held at the fork, by a thread that does not exist here.
    if let Some(mut open) = OPEN.try_lock() {
        for descriptor in open.drain(..) {
            // SAFETY: the owner of this descriptor is a task of the parent's thread; in this process
            // nothing runs it, reads it or drops it any more.
            drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
    outbox::forget_process_account();
}
