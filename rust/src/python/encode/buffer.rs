//! The bytes of one payload while it is written, within a limit.

use super::{EncodeError, Encoded, text};

/// What there is always room for: separators and quotes.
const SLACK: usize = 16;

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
        let length = self.bytes.len();
        // SAFETY: there is room for the text, its quotes and more; the length grows only when all
        // of it is written.
        unsafe {
            let start = self.bytes.as_mut_ptr().add(length);
            start.write(b'"');
            if text::copy_plain(utf8, start.add(1)) {
                start.add(utf8.len() + 1).cast::<[u8; 2]>().write([b'"', after]);
                self.bytes.set_len(length + utf8.len() + 3);
                return Ok(());
            }
        }
        self.escaped(utf8, after)
    }

    #[inline(never)]
    fn escaped(&mut self, utf8: &[u8], after: u8) -> Encoded {
        text::escape(utf8, &mut self.bytes);
        self.easy = self.bytes.capacity().min(self.end);
        self.plain(&[], after)
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
