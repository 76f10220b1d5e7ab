//! The one clock of the event path: milliseconds, coarse, cheap.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Milliseconds since the first call in this process.
pub fn now_ms() -> u32 {
    START.get_or_init(Instant::now).elapsed().as_millis() as u32
}
