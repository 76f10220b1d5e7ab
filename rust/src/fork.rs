//! What a forked child does with the sockets it inherited: it closes its descriptors, and no more.
//!
//! A descriptor kept open would hide from the broker that the parent has died. The objects behind it
//! are left alone: dropping them would unregister the parent's socket from the epoll that both share.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::outbox;

/// Descriptors are small numbers, so they are bits here: a fork finds them whole, where it could find a
/// lock held. A system gives no process more of them than these; pages that are never touched cost nothing.
static OPEN: [AtomicU64; 1 << 14] = [const { AtomicU64::new(0) }; 1 << 14];
/// Words in use.
static USED: AtomicUsize = AtomicUsize::new(0);

fn place(descriptor: RawFd) -> (usize, u64) {
    (descriptor as usize / 64, 1 << (descriptor % 64))
}

/// A socket known to `leave_to_parent` while this lives.
pub struct Known(RawFd);

impl Known {
    pub fn new(socket: &impl AsRawFd) -> Self {
        let descriptor = socket.as_raw_fd();
        let (word, bit) = place(descriptor);
        if let Some(open) = OPEN.get(word) {
            USED.fetch_max(word + 1, Ordering::Relaxed);
            open.fetch_or(bit, Ordering::Relaxed);
        }
        Self(descriptor)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let (word, bit) = place(self.0);
        if let Some(open) = OPEN.get(word) {
            open.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// In a forked child, before anything else runs there.
pub fn leave_to_parent() {
    for (word, open) in OPEN.iter().enumerate().take(USED.swap(0, Ordering::Relaxed)) {
        let open = open.swap(0, Ordering::Relaxed);
        for bit in (0..64).filter(|bit| open >> bit & 1 == 1) {
            // SAFETY: the owner of this descriptor is a task of the parent's thread; in this process
            // nothing runs it, reads it or drops it any more.
            drop(unsafe { OwnedFd::from_raw_fd((word * 64 + bit) as RawFd) });
        }
    }
    outbox::forget_process_account();
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn descriptors_are_known_as_long_as_they_are_used() {
        let is_known = |file: &File| {
            let (word, bit) = place(file.as_raw_fd());
            OPEN[word].load(Ordering::Relaxed) & bit != 0
        };
        let files: Vec<File> = (0..70).map(|_| File::open("/dev/null").unwrap()).collect();
        let known: Vec<Known> = files.iter().map(Known::new).collect();
        assert!(files.iter().all(is_known));
        drop(known);
        assert!(!files.iter().any(is_known));
    }
}
