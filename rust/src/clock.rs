//! The one clock of the event path: milliseconds, monotonic, coarse where that is cheaper.

/// Milliseconds since some moment; wraps after 49 days, so only differences mean anything.
#[cfg(target_os = "linux")]
pub fn now_ms() -> u32 {
    // A few nanoseconds where the exact clock takes 25; its resolution is that of the kernel's tick.
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec of ours; the call writes it and nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    (now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000) as u32
}

/// Milliseconds since the first call; wraps after 49 days, so only differences mean anything.
#[cfg(not(target_os = "linux"))]
pub fn now_ms() -> u32 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_millis() as u32
}
