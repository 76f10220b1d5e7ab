//! zstd (RFC 8878), with one context each way for all connectors of the I/O thread.

use std::cell::RefCell;

use zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_frame_content_size,
};

use crate::core::InboxDrop;

/// How a frame begins (RFC 8878 section 3.1.1).
pub const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const LEVEL: i32 = 1;
/// Every decoder should support windows of 8 MiB (RFC 8878 section 3.1.1.1.2); libzstd supports no larger than 2 GiB.
const LEAST_WINDOW_LOG: u32 = 23;
const MOST_WINDOW_LOG: u32 = 31;
/// A context that may have grown for more than this is not kept, in bytes.
const KEPT_BYTES: usize = 1024 * 1024;

thread_local! {
    static COMPRESSOR: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static INFLATER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Compress `bytes` into `out`, which is empty; false where that is not shorter.
pub fn shorten(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    COMPRESSOR
        .with_borrow_mut(|kept| {
            let mut context = kept.take().or_else(compressor)?;
            out.reserve(compress_bound(bytes.len()));
            let size = context.compress2(out, bytes).ok()?;
            if bytes.len() <= KEPT_BYTES {
                *kept = Some(context);
            }
            (size < bytes.len()).then_some(())
        })
        .is_some()
}

fn compressor() -> Option<CCtx<'static>> {
    let mut context = CCtx::try_create()?;
    context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
    Some(context)
}

/// The content of one frame, which is all that `packed` holds, in at most `most` bytes of memory.
pub fn inflate(packed: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), InboxDrop> {
    out.clear();
    let told = get_frame_content_size(packed).map_err(|_| InboxDrop::NotZstd)?;
    if told.is_some_and(|told| told > most as u64) {
        return Err(InboxDrop::TooLarge);
    }
    INFLATER.with_borrow_mut(|kept| {
        let mut context = match kept.take() {
            Some(context) => context,
            None => DCtx::try_create().ok_or(InboxDrop::NotZstd)?,
        };
        let inflated = inflate_with(&mut context, packed, told.unwrap_or(0) as usize, most, out);
        // The window is of the context where the size was not told.
        if told.is_some_and(|told| told <= KEPT_BYTES as u64) {
            *kept = Some(context);
        }
        inflated
    })
}

fn inflate_with(
    context: &mut DCtx<'_>,
    packed: &[u8],
    told: usize,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<(), InboxDrop> {
    let refused = |_| InboxDrop::NotZstd;
    let window_log = most.next_power_of_two().ilog2().clamp(LEAST_WINDOW_LOG, MOST_WINDOW_LOG);
    context.reset(ResetDirective::SessionOnly).map_err(refused)?;
    context.set_parameter(DParameter::WindowLogMax(window_log)).map_err(refused)?;
    let mut input = InBuffer::around(packed);
    let mut room = told.max(16 * 1024).min(most + 1);
    loop {
        out.reserve_exact(room);
        let written = out.len();
        let mut output = OutBuffer::around_pos(out, written);
        let left = context.decompress_stream(&mut output, &mut input).map_err(refused)?;
        if out.len() > most {
            return Err(InboxDrop::TooLarge);
        }
        if left == 0 {
            return if input.pos() == packed.len() { Ok(()) } else { Err(InboxDrop::NotZstd) };
        }
        if out.len() < out.capacity() && input.pos() == packed.len() {
            return Err(InboxDrop::NotZstd);
        }
        room = out.len().clamp(1, most + 1 - out.len());
    }
}
