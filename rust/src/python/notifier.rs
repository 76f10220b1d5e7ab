//! Python's end of `wake::Notifier`.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::wake;

/// Where the I/O thread says that something waits, for one event loop.
#[pyclass(frozen, module = "cascade.connectors.mqtt._native")]
pub struct Notifier(Arc<wake::Notifier>);

#[pymethods]
impl Notifier {
    /// `fd`: the non-blocking end of a socket pair to write to; it is duplicated.
    #[new]
    fn new(fd: i32) -> PyResult<Self> {
        // SAFETY: Python's socket object owns the descriptor and lives through this call; only a
        // duplicate is kept.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = UnixStream::from(borrowed.try_clone_to_owned()?);
        Ok(Self(Arc::new(wake::Notifier::new(socket))))
    }

    /// What is ready, as `(client, subscription)`; subscription -1 stands for events.
    fn take(&self) -> Vec<(u32, i64)> {
        self.0.take()
    }
}

impl Notifier {
    pub fn shared(&self) -> Arc<wake::Notifier> {
        Arc::clone(&self.0)
    }
}
