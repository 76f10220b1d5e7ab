//! The bytes of one payload while it is written, within a limit.

use super::{EncodeError, Encoded, Stop, text};

/// What there is always room for: separators and quotes, and what `Blocks` copies beyond its end.
const SLACK: usize = 16 + BLOCK;
const BLOCK: usize = 32;

type Block = [u8; BLOCK];

/// Bytes that are copied in blocks, which for a few of them takes half the time of a call of memcpy.
pub struct Blocks {
    length: usize,
    first: Block,
    /// What does not fit into the first; of the last one only the beginning counts.
    rest: Vec<Block>,
}

impl Blocks {
    pub fn new(bytes: &[u8]) -> Self {
        let mut blocks = bytes.chunks(BLOCK).map(|chunk| {
            let mut block = [0; BLOCK];
            block[..chunk.len()].copy_from_slice(chunk);
            block
        });
        Self { length: bytes.len(), first: blocks.next().unwrap_or([0; BLOCK]), rest: blocks.collect() }
    }
}

pub struct Buffer {
    /// Its own length is only told where it grows, and at the end.
    bytes: Vec<u8>,
    /// The length that must not be exceeded.
    end: usize,
    /// Where the next byte goes.
    next: *mut u8,
    /// One comparison tells that there is room and that the limit is far.
    easy: *mut u8,
}

impl Buffer {
    /// Append to `bytes`, at most `limit` bytes.
    pub fn new(bytes: Vec<u8>, limit: usize) -> Self {
        let end = bytes.len().saturating_add(limit);
        let nowhere = std::ptr::null_mut();
        let mut buffer = Self { bytes, end, next: nowhere, easy: nowhere };
        buffer.find_room();
        buffer
    }

    /// Take back the separator that follows the last value.
    pub fn finish(&mut self) -> Encoded {
        self.tell();
        self.bytes.pop();
        self.find_room();
        if self.bytes.len() > self.end { Err(Box::new(EncodeError::TooLarge)) } else { Ok(()) }
    }

    fn len(&self) -> usize {
        self.length_at(self.next)
    }

    /// How much is written before `next`.
    #[inline(always)]
    pub fn length_at(&self, next: *mut u8) -> usize {
        next.addr() - self.bytes.as_ptr().addr()
    }

    /// What is written from a former length to `next`.
    ///
    /// # Safety
    /// As `go_on_at`.
    pub unsafe fn since(&self, start: usize, next: *mut u8) -> &[u8] {
        let length = self.length_at(next) - start;
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(start), length) }
    }

    pub fn into_inner(mut self) -> Vec<u8> {
        self.tell();
        self.bytes
    }

    fn tell(&mut self) {
        // SAFETY: all before `next` is written, and lies within the capacity.
        unsafe { self.bytes.set_len(self.len()) };
    }

    fn find_room(&mut self) {
        let easy = self.bytes.capacity().min(self.end);
        let length = self.bytes.len();
        // Beyond the limit there may be separators already.
        let start = self.bytes.as_mut_ptr();
        (self.next, self.easy) = (start.wrapping_add(length), start.wrapping_add(easy));
    }

    /// Where the next byte goes. Who writes much keeps this in a register, and gives it back by `go_on_at`.
    #[inline(always)]
    pub fn next(&self) -> *mut u8 {
        self.next
    }

    /// # Safety
    /// `next` came out of this buffer, and all before it is written.
    #[inline(always)]
    pub unsafe fn go_on_at(&mut self, next: *mut u8) {
        self.next = next;
    }

    /// Make room for `certain` bytes, which will be written whatever comes, and for escapes or separators
    /// within the slack. Refuses what goes beyond the limit; separators are not asked for.
    #[inline(always)]
    fn room(&mut self, next: *mut u8, certain: usize) -> Result<*mut u8, Stop> {
        if next.addr() + certain + SLACK > self.easy.addr() { self.more(next, certain) } else { Ok(next) }
    }

    #[cold]
    #[inline(never)]
    fn more(&mut self, next: *mut u8, certain: usize) -> Result<*mut u8, Stop> {
        self.next = next;
        self.tell();
        if self.bytes.len() + certain > self.end {
            return Err(Box::new(EncodeError::TooLarge));
        }
        self.bytes.reserve(certain + SLACK);
        self.find_room();
        Ok(self.next)
    }

    /// Append an opening bracket, a quote, a literal.
    #[inline(always)]
    pub fn short(&mut self, bytes: &[u8]) -> Encoded {
        let next = self.room(self.next, bytes.len())?;
        // SAFETY: there is room for them.
        self.next = unsafe { append(next, bytes, &[]) };
        Ok(())
    }

    /// Append something that needs no escapes, and the byte that stands behind it.
    #[inline(always)]
    pub fn plain(&mut self, bytes: &[u8], after: u8) -> Encoded {
        let next = self.room(self.next, bytes.len())?;
        // SAFETY: there is room for them and more.
        self.next = unsafe { append(next, bytes, &[after]) };
        Ok(())
    }

    /// Append the text in quotes, escaped, and the byte that stands behind it.
    #[inline(always)]
    pub fn quoted(&mut self, utf8: &[u8], after: u8) -> Encoded {
        let next = self.room(self.next, utf8.len() + 2)?;
        // SAFETY: there is room for the text, its quotes and more.
        self.next = match unsafe { quote(next, utf8, after) } {
            Some(next) => next,
            None => self.escaped(next, utf8, after)?,
        };
        Ok(())
    }

    /// Write prepared bytes at `next`; returns what is the next from then on.
    #[inline(always)]
    pub fn blocks(&mut self, next: *mut u8, blocks: &Blocks) -> Result<*mut u8, Stop> {
        let next = self.room(next, blocks.length)?;
        // SAFETY: there is room for them.
        Ok(unsafe { put(next, blocks) })
    }

    /// Likewise prepared bytes, something short that needs no escapes, and a comma.
    #[inline(always)]
    pub fn blocks_and_plain(&mut self, next: *mut u8, blocks: &Blocks, bytes: &[u8]) -> Result<*mut u8, Stop> {
        let next = self.room(next, blocks.length + bytes.len())?;
        // SAFETY: there is room for both, and for a byte more.
        Ok(unsafe { append(put(next, blocks), bytes, b",") })
    }

    /// Likewise prepared bytes, a text in quotes, escaped, and a comma.
    #[inline(always)]
    pub fn blocks_and_quoted(&mut self, next: *mut u8, blocks: &Blocks, utf8: &[u8]) -> Result<*mut u8, Stop> {
        let next = self.room(next, blocks.length + utf8.len() + 2)?;
        // SAFETY: there is room for the blocks, the text, its quotes and more.
        unsafe {
            let next = put(next, blocks);
            match quote(next, utf8, b',') {
                Some(next) => Ok(next),
                None => self.escaped(next, utf8, b','),
            }
        }
    }

    /// Close a container: its bracket takes the place of the comma after the last item.
    #[inline(always)]
    pub fn close(&mut self, bracket: u8) -> Encoded {
        // SAFETY: what is closed was opened, so that there is a byte.
        unsafe {
            let last = self.next.sub(1);
            if *last == b',' {
                self.next = last;
            }
        }
        self.plain(&[bracket], b',')
    }

    #[inline(never)]
    fn escaped(&mut self, next: *mut u8, utf8: &[u8], after: u8) -> Result<*mut u8, Stop> {
        self.next = next;
        self.tell();
        text::escape(utf8, &mut self.bytes);
        self.find_room();
        self.plain(&[], after)?;
        Ok(self.next)
    }
}

/// Write the text in quotes, unless a byte of it needs an escape: None then, and nothing counts.
///
/// # Safety
/// At `next` there is room for the text, its quotes and a byte more.
#[inline(always)]
unsafe fn quote(next: *mut u8, utf8: &[u8], after: u8) -> Option<*mut u8> {
    // SAFETY: as the caller promises.
    unsafe {
        next.write(b'"');
        text::copy_plain(utf8, next.add(1)).then(|| {
            let end = next.add(utf8.len() + 1);
            end.cast::<[u8; 2]>().write([b'"', after]);
            end.add(2)
        })
    }
}

/// # Safety
/// At `next` there is room for the bytes, and for one block more.
#[inline(always)]
unsafe fn put(next: *mut u8, blocks: &Blocks) -> *mut u8 {
    // SAFETY: as the caller promises; the last block begins before the end of the bytes.
    unsafe {
        let mut end = next.cast::<Block>();
        end.write(blocks.first);
        for block in &blocks.rest {
            end = end.add(1);
            end.write(*block);
        }
        next.add(blocks.length)
    }
}

/// # Safety
/// At `next` there is room for both, and neither is a part of the buffer.
#[inline(always)]
unsafe fn append(next: *mut u8, bytes: &[u8], after: &[u8]) -> *mut u8 {
    // SAFETY: as the caller promises.
    unsafe {
        text::copy_plain(bytes, next);
        next.add(bytes.len()).copy_from_nonoverlapping(after.as_ptr(), after.len());
        next.add(bytes.len() + after.len())
    }
}
