//! Where the elements of a JSON array lie, found by its structure alone, 64 bytes at a time.

use std::ops::Range;

use crate::core::InboxDrop;
use crate::json::MAX_DEPTH;

/// No batch holds more: a few bytes that inflate to many elements would make many times as many messages.
pub const MAX_EVENTS: usize = 65_535;
/// Bytes that are looked at together, a bit each.
const BLOCK: usize = 64;
const _: () = assert!(MAX_DEPTH == u128::BITS as usize);

/// The elements of `array`, which is checked to its end for brackets, strings and commas; what an element is, is not.
///
/// # Errors
/// `NotJson` for what is no array, `TooDeep` for an element of more than [`MAX_DEPTH`] brackets open at once, `TooLarge`
/// for more than [`MAX_EVENTS`] elements.
pub fn split(array: &[u8], elements: &mut Vec<Range<u32>>) -> Result<(), InboxDrop> {
    elements.clear();
    let first = array.iter().take_while(|byte| is_space(byte)).count();
    if array.get(first) != Some(&b'[') {
        return Err(InboxDrop::NotJson);
    }
    let mut splitter = Splitter { array, elements, from: first + 1, depth: 0, braces: 0, strings: Strings::default() };
    let mut blocks = array[first + 1..].chunks_exact(BLOCK);
    let mut start = first + 1;
    for block in &mut blocks {
        if let Some(end) = splitter.block(start, block.try_into().expect("a whole block"))? {
            return splitter.nothing_behind(end);
        }
        start += BLOCK;
    }
    let mut last = [b' '; BLOCK];
    last[..blocks.remainder().len()].copy_from_slice(blocks.remainder());
    match splitter.block(start, &last)? {
        Some(end) => splitter.nothing_behind(end),
        None => Err(InboxDrop::NotJson),
    }
}

struct Splitter<'a> {
    array: &'a [u8],
    elements: &'a mut Vec<Range<u32>>,
    /// Where the element begins that is looked at.
    from: usize,
    /// Brackets open in it, and a bit for each, the last one lowest: whether it is a brace.
    depth: usize,
    braces: u128,
    strings: Strings,
}

impl Splitter<'_> {
    /// The next block, which lies at `start`; some: where the array ends.
    #[inline]
    fn block(&mut self, start: usize, block: &[u8; BLOCK]) -> Result<Option<usize>, InboxDrop> {
        let found = Found::look(block);
        let outside = self.strings.outside(&found, block);
        let mut brackets = (found.opening | found.closing) & outside;
        let mut commas = found.commas & outside;
        loop {
            let next = brackets.trailing_zeros();
            if self.depth == 0 {
                let mut before = if next < u64::BITS { commas & ((1 << next) - 1) } else { commas };
                commas ^= before;
                while before != 0 {
                    self.end(start + before.trailing_zeros() as usize)?;
                    before &= before - 1;
                }
            }
            if next == u64::BITS {
                return Ok(None);
            }
            // Of what lies deeper the commas are none of ours.
            commas &= u64::MAX << next;
            brackets &= brackets - 1;
            let at = start + next as usize;
            let is_brace = block[next as usize] & 0x20 != 0;
            if found.opening >> next & 1 != 0 {
                if self.depth == MAX_DEPTH {
                    return Err(InboxDrop::TooDeep);
                }
                self.depth += 1;
                self.braces = self.braces << 1 | u128::from(is_brace);
            } else if self.depth > 0 {
                if (self.braces & 1 != 0) != is_brace {
                    return Err(InboxDrop::NotJson);
                }
                self.depth -= 1;
                self.braces >>= 1;
            } else if is_brace {
                return Err(InboxDrop::NotJson);
            } else {
                if !self.elements.is_empty() || !self.array[self.from..at].iter().all(is_space) {
                    self.end(at)?;
                }
                return Ok(Some(at + 1));
            }
        }
    }

    /// An element ends before a comma, or the end of the array.
    #[inline]
    fn end(&mut self, at: usize) -> Result<(), InboxDrop> {
        let (mut from, mut to) = (self.from, at);
        while from < to && is_space(&self.array[from]) {
            from += 1;
        }
        while from < to && is_space(&self.array[to - 1]) {
            to -= 1;
        }
        if from == to {
            return Err(InboxDrop::NotJson);
        }
        if self.elements.len() == MAX_EVENTS {
            return Err(InboxDrop::TooLarge);
        }
        self.elements.push(from as u32..to as u32);
        self.from = at + 1;
        Ok(())
    }

    fn nothing_behind(&self, end: usize) -> Result<(), InboxDrop> {
        if self.array[end..].iter().all(is_space) { Ok(()) } else { Err(InboxDrop::NotJson) }
    }
}

/// White space between the tokens of JSON (RFC 8259 section 2).
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether a block begins within a string, and behind a backslash there.
#[derive(Default)]
struct Strings {
    inside: bool,
    escaped: bool,
}

impl Strings {
    /// The bytes of a block that lie outside strings.
    #[inline]
    fn outside(&mut self, found: &Found, block: &[u8; BLOCK]) -> u64 {
        if found.backslashes != 0 || self.escaped {
            return self.outside_slowly(block);
        }
        // A bit is set where an odd number of quotes comes before it, or with it.
        let mut inside = found.quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << shift;
        }
        inside ^= if self.inside { u64::MAX } else { 0 };
        self.inside = inside >> (BLOCK - 1) != 0;
        !inside
    }

    #[cold]
    fn outside_slowly(&mut self, block: &[u8; BLOCK]) -> u64 {
        let mut outside = 0;
        for (place, &byte) in block.iter().enumerate() {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'"' {
                self.inside = !self.inside;
            } else if self.inside {
                self.escaped = byte == b'\\';
            } else {
                outside |= 1 << place;
            }
        }
        outside
    }
}

/// Where the bytes of a block are that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    quotes: u64,
    backslashes: u64,
    opening: u64,
    closing: u64,
    commas: u64,
}

impl Found {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn look(block: &[u8; BLOCK]) -> Self {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
        let mut found = Self::default();
        for (part, bytes) in block.chunks_exact(16).enumerate() {
            // SAFETY: SSE2 is part of every x86-64; the load is of 16 bytes, which the slice has, at any address.
            let [quotes, backslashes, opening, closing, commas] = unsafe {
                let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
                let folded = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
                let equal = |bytes, byte: u8| {
                    let mask = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8)));
                    u64::from(mask as u16) << (16 * part)
                };
                [equal(bytes, b'"'), equal(bytes, b'\\'), equal(folded, b'{'), equal(folded, b'}'), equal(bytes, b',')]
            };
            found.quotes |= quotes;
            found.backslashes |= backslashes;
            found.opening |= opening;
            found.closing |= closing;
            found.commas |= commas;
        }
        found
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn look(block: &[u8; BLOCK]) -> Self {
        Self::look_at_each(block)
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn look_at_each(block: &[u8; BLOCK]) -> Self {
        let mut found = Self::default();
        for (place, &byte) in block.iter().enumerate() {
            let bit = |is: bool| u64::from(is) << place;
            found.quotes |= bit(byte == b'"');
            found.backslashes |= bit(byte == b'\\');
            found.opening |= bit(matches!(byte, b'[' | b'{'));
            found.closing |= bit(matches!(byte, b']' | b'}'));
            found.commas |= bit(byte == b',');
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// Byte by byte, as the words of the rules are.
    fn slowly(array: &[u8]) -> Result<Vec<Range<u32>>, InboxDrop> {
        let trimmed = |from: usize, to: usize| {
            let space = |at: &usize| is_space(&array[*at]);
            let from = (from..to).find(|at| !space(at)).unwrap_or(to);
            from as u32..(from..to).rev().find(|at| !space(at)).map_or(from, |at| at + 1) as u32
        };
        let mut brackets = Vec::new();
        let (mut elements, mut from) = (Vec::new(), 0);
        let (mut inside, mut escaped, mut over) = (false, false, false);
        for (at, &byte) in array.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if inside => escaped = true,
                b'"' if !brackets.is_empty() => inside = !inside,
                _ if inside || is_space(&byte) => {}
                _ if over || (brackets.is_empty() && byte != b'[') => return Err(InboxDrop::NotJson),
                b'[' | b'{' if brackets.len() > MAX_DEPTH => return Err(InboxDrop::TooDeep),
                b'[' | b'{' => {
                    brackets.push(byte);
                    from = if brackets.len() == 1 { at + 1 } else { from };
                }
                b']' | b'}' => {
                    if brackets.pop() != Some(if byte == b']' { b'[' } else { b'{' }) {
                        return Err(InboxDrop::NotJson);
                    }
                    over = brackets.is_empty();
                    let element = trimmed(from, at);
                    match (over, element.is_empty(), elements.is_empty()) {
                        (true, false, _) => elements.push(element),
                        (true, true, false) => return Err(InboxDrop::NotJson),
                        _ => {}
                    }
                }
                b',' if brackets.len() == 1 => match trimmed(from, at) {
                    element if element.is_empty() => return Err(InboxDrop::NotJson),
                    element => {
                        elements.push(element);
                        from = at + 1;
                    }
                },
                _ => {}
            }
        }
        if over { Ok(elements) } else { Err(InboxDrop::NotJson) }
    }

    fn at_once(array: &[u8]) -> Result<Vec<Range<u32>>, InboxDrop> {
        let mut elements = Vec::new();
        split(array, &mut elements).map(|()| elements)
    }

    #[test]
    fn elements_lie_where_a_reader_of_bytes_finds_them() {
        const PIECES: [&str; 16] =
            ["[", "]", "{", "}", ",", ",", "\"", "\"", "\\", "\\\"", " ", "\n", "1", "é", "\"a,]\"", "{\"a\":[1,2]},"];
        let mut rng = Rng::with_seed(7);
        for _ in 0..200_000 {
            let pieces: String = (0..rng.usize(..40)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect();
            let array = if rng.bool() { format!("[{pieces}]") } else { pieces };
            assert_eq!(at_once(array.as_bytes()), slowly(array.as_bytes()), "{array}");
        }
    }

    #[test]
    fn an_element_may_be_as_deep_as_if_it_came_alone() {
        let nested = |depth: usize| format!("[1,{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(at_once(nested(MAX_DEPTH).as_bytes()).map(|elements| elements.len()), Ok(2));
        assert_eq!(at_once(nested(MAX_DEPTH + 1).as_bytes()), Err(InboxDrop::TooDeep));
    }

    #[test]
    fn every_way_of_looking_finds_the_same() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..10_000 {
            let block = [0; BLOCK].map(|_: u8| rng.u8(..));
            assert_eq!(Found::look(&block), Found::look_at_each(&block));
        }
    }
}
