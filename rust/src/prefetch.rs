//! A hint to the processor.

/// What it moves between its caches at a time.
const LINE: usize = 64;
/// More than this is not worth asking for.
const MOST: usize = 1024;

/// This byte will soon be read, and so will those about it.
#[inline(always)]
pub fn for_read(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, whatever the address.
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags, readonly))
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// These bytes will soon be written; another processor may have had them last.
#[inline(always)]
pub fn for_write(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        let end = start.wrapping_add(bytes.min(MOST));
        let mut line = start;
        while line < end {
            // SAFETY: a hint, whatever the address; processors that do not have the instruction do nothing.
            unsafe { std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly)) };
            line = line.wrapping_add(LINE);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}
