//! The process's one I/O thread, shared by all connectors.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use std::{io, process, ptr, thread};

use tokio::runtime::{Builder, Handle};

/// How long the thread that resolved a name waits for another one.
const HELPER_IDLES: Duration = Duration::from_millis(100);

struct Runtime {
    handle: Handle,
    process: u32,
}

static CURRENT: AtomicPtr<Runtime> = AtomicPtr::new(ptr::null_mut());

/// The I/O thread of this process, started at the first call.
///
/// A child of a fork inherits the pointer but not the thread: it starts its own. What it inherited
/// is never dropped, since that would unregister the parent's sockets from the shared epoll.
pub fn handle() -> io::Result<Handle> {
    let current = CURRENT.load(Ordering::Acquire);
    // SAFETY: a pointer stored in CURRENT comes from Box::into_raw below and is never freed.
    if let Some(runtime) = unsafe { current.as_ref() }
        && runtime.process == process::id()
    {
        return Ok(runtime.handle.clone());
    }
    // One helper thread at most, and only while names are resolved, which blocks.
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(1).thread_keep_alive(HELPER_IDLES).build()?;
    let handle = runtime.handle().clone();
    let fresh = Box::into_raw(Box::new(Runtime { handle: handle.clone(), process: process::id() }));
    if CURRENT.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        // SAFETY: `fresh` was not published.
        drop(unsafe { Box::from_raw(fresh) });
        // Another thread of this process was first. What it stored is gone again where it could start no I/O thread.
        return self::handle();
    }
    let thread = thread::Builder::new().name("cascade-mqtt-io".into());
    let serve = move || {
        yield_to_callers();
        runtime.block_on(std::future::pending::<()>());
    };
    if let Err(error) = thread.spawn(serve) {
        // The next start tries again, rather than give its driver to a runtime that nothing runs.
        let _ = CURRENT.compare_exchange(fresh, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        return Err(error);
    }
    Ok(handle)
}

/// On a busy machine a woken thread would interrupt the very call that woke it, and a publish would last
/// as long as the write that follows. As a batch thread this one waits for its turn.
#[cfg(target_os = "linux")]
fn yield_to_callers() {
    // SAFETY: the structure is plain data, and its only field is set; 0 is this thread.
    // Where it is forbidden, nothing is lost but time.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = 0;
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters);
    }
}

#[cfg(not(target_os = "linux"))]
fn yield_to_callers() {}
