//! The bytes of one payload while it is written, within a limit.

use super::{EncodeError, Encoded, text};

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
    bytes: Vec<u8>,
    /// The length that must not be exceeded.
    end: usize,
    /// One comparison tells that there is room and that the limit is far.
    easy: usize,
}

impl Buffer {
    /// Append to `bytes`, at most `limit` bytes.
    pub fn new(bytes: Vec<u8>, limit: usize) -> Self {
        let end = bytes.len().saturating_add(limit);
        let easy = bytes.capacity().min(end);
        Self { bytes, end, easy }
    }

    /// Take back the separator that follows the last value.
    pub fn finish(&mut self) -> Encoded {
        self.bytes.pop();
        if self.bytes.len() > self.end { Err(Box::new(EncodeError::TooLarge)) } else { Ok(()) }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What was written behind a former length.
    pub fn since(&self, start: usize) -> &[u8] {
        &self.bytes[start..]
    }

    pub fn into_inner(self) -> Vec<u8> {
        self.bytes
    }

    /// Make room for `certain` bytes, which will be written whatever comes, and for escapes or separators
    /// within the slack. Refuses what goes beyond the limit; separators are not asked for.
    #[inline(always)]
    fn room(&mut self, certain: usize) -> Encoded {
        if self.bytes.len() + certain + SLACK > self.easy { self.more(certain) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn more(&mut self, certain: usize) -> Encoded {
        if self.bytes.len() + certain > self.end {
            return Err(Box::new(EncodeError::TooLarge));
        }
        self.bytes.reserve(certain + SLACK);
        self.easy = self.bytes.capacity().min(self.end);
        Ok(())
    }

    /// Append an opening bracket, a quote, a literal.
    #[inline(always)]
    pub fn short(&mut self, bytes: &[u8]) -> Encoded {
        self.room(bytes.len())?;
        // SAFETY: there is room for them.
        unsafe { self.append(bytes, &[]) };
        Ok(())
    }

    /// Append prepared bytes.
    #[inline(always)]
    pub fn blocks(&mut self, blocks: &Blocks) -> Encoded {
        self.room(blocks.length)?;
        // SAFETY: there is room for them.
        unsafe { self.put(blocks) };
        Ok(())
    }

    /// Append prepared bytes, something short that needs no escapes, and a comma.
    #[inline(always)]
    pub fn blocks_and_plain(&mut self, blocks: &Blocks, bytes: &[u8]) -> Encoded {
        self.room(blocks.length + bytes.len())?;
        // SAFETY: there is room for both, and for a byte more.
        unsafe {
            self.put(blocks);
            self.append(bytes, b",");
        }
        Ok(())
    }

    /// Append prepared bytes, a text in quotes, escaped, and a comma.
    #[inline(always)]
    pub fn blocks_and_quoted(&mut self, blocks: &Blocks, utf8: &[u8]) -> Encoded {
        self.room(blocks.length + utf8.len() + 2)?;
        // SAFETY: there is room for the blocks, the text, its quotes and more.
        unsafe {
            self.put(blocks);
            if self.quote(utf8, b',') { Ok(()) } else { self.escaped(utf8, b',') }
        }
    }

    /// Append something that needs no escapes, and the byte that stands behind it.
    #[inline(always)]
    pub fn plain(&mut self, bytes: &[u8], after: u8) -> Encoded {
        self.room(bytes.len())?;
        // SAFETY: there is room for them and more.
        unsafe { self.append(bytes, &[after]) };
        Ok(())
    }

    /// Close a container: its bracket takes the place of the comma after the last item.
    #[inline(always)]
    pub fn close(&mut self, bracket: u8) -> Encoded {
        if self.bytes.last() == Some(&b',') {
            self.bytes.pop();
        }
        self.plain(&[bracket], b',')
    }

    /// Append the text in quotes, escaped, and the byte that stands behind it.
    #[inline(always)]
    pub fn quoted(&mut self, utf8: &[u8], after: u8) -> Encoded {
        self.room(utf8.len() + 2)?;
        // SAFETY: there is room for the text, its quotes and more.
        if unsafe { self.quote(utf8, after) } { Ok(()) } else { self.escaped(utf8, after) }
    }

    /// Append the text in quotes unless a byte of it needs an escape.
    ///
    /// # Safety
    /// There is room for the text, its quotes and a byte more.
    #[inline(always)]
    unsafe fn quote(&mut self, utf8: &[u8], after: u8) -> bool {
        let length = self.bytes.len();
        // SAFETY: as the caller promises; the length grows only when all of it is written.
        unsafe {
            let start = self.bytes.as_mut_ptr().add(length);
            start.write(b'"');
            let is_plain = text::copy_plain(utf8, start.add(1));
            if is_plain {
                start.add(utf8.len() + 1).cast::<[u8; 2]>().write([b'"', after]);
                self.bytes.set_len(length + utf8.len() + 3);
            }
            is_plain
        }
    }

    #[inline(never)]
    fn escaped(&mut self, utf8: &[u8], after: u8) -> Encoded {
        text::escape(utf8, &mut self.bytes);
        self.easy = self.bytes.capacity().min(self.end);
        self.plain(&[], after)
    }

    /// # Safety
    /// There is room for the bytes, and for one block more.
    #[inline(always)]
    unsafe fn put(&mut self, blocks: &Blocks) {
        let length = self.bytes.len();
        // SAFETY: as the caller promises; the last block begins before the end of the bytes.
        unsafe {
            let mut end = self.bytes.as_mut_ptr().add(length).cast::<Block>();
            end.write(blocks.first);
            for block in &blocks.rest {
                end = end.add(1);
                end.write(*block);
            }
            self.bytes.set_len(length + blocks.length);
        }
    }

    /// # Safety
    /// There is room for both.
    #[inline(always)]
    unsafe fn append(&mut self, bytes: &[u8], after: &[u8]) {
        let length = self.bytes.len();
        // SAFETY: as the caller promises; neither is a part of the buffer.
        unsafe {
            let end = self.bytes.as_mut_ptr().add(length);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len());
            std::ptr::copy_nonoverlapping(after.as_ptr(), end.add(bytes.len()), after.len());
            self.bytes.set_len(length + bytes.len() + after.len());
        }
    }
}
