//! Single values in JSON text: the plain ones that telemetry is made of. What is not plain is left to the parser.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use super::number::number;
use super::text;

/// A value that holds no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf<'a> {
    Ascii(&'a [u8]),
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Leaf<'_> {
    /// The value, and the room that `text::make` has left in it.
    #[inline]
    pub fn to_object<'py>(self, py: Python<'py>) -> (Bound<'py, PyAny>, usize) {
        let other = match self {
            Self::Ascii(text) => return text::make(py, text),
            Self::Text(text) => PyString::new(py, text).into_any(),
            Self::Int(int) => PyInt::new(py, int).into_any(),
            Self::Float(float) => PyFloat::new(py, float).into_any(),
            Self::Bool(bool) => PyBool::new(py, bool).to_owned().into_any(),
            Self::Null => py.None().into_bound(py),
        };
        (other, 0)
    }
}

/// The value that begins here, and where it ends; `None` where it is not plain, or is not JSON.
#[inline]
pub fn leaf(data: &[u8], at: usize) -> Option<(Leaf<'_>, usize)> {
    let rest = &data[at..];
    match rest.first()? {
        b'"' => string(data, at),
        b'n' if rest.starts_with(b"null") => Some((Leaf::Null, at + 4)),
        b't' if rest.starts_with(b"true") => Some((Leaf::Bool(true), at + 4)),
        b'f' if rest.starts_with(b"false") => Some((Leaf::Bool(false), at + 5)),
        b'-' | b'0'..=b'9' => number(data, at),
        _ => None,
    }
}

/// The key that begins here with its quote, and where it ends behind the second one.
pub fn key(data: &[u8], at: usize) -> Option<(&str, usize)> {
    match string(data, at)? {
        (Leaf::Text(key), end) => Some((key, end)),
        (Leaf::Ascii(key), end) => Some((std::str::from_utf8(key).ok()?, end)),
        _ => None,
    }
}

#[inline]
fn string(data: &[u8], at: usize) -> Option<(Leaf<'_>, usize)> {
    let rest = data[at..].strip_prefix(b"\"")?;
    let length = ascii_length(rest);
    match rest.get(length)? {
        b'"' => Some((Leaf::Ascii(&rest[..length]), at + length + 2)),
        0x80.. => wider_text(rest, length).map(|text| (Leaf::Text(text), at + text.len() + 2)),
        _ => None,
    }
}

#[inline(never)]
fn wider_text(rest: &[u8], ascii: usize) -> Option<&str> {
    let end = rest[ascii..].iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')? + ascii;
    if rest[end] != b'"' {
        return None;
    }
    std::str::from_utf8(&rest[..end]).ok()
}

/// How many bytes come before the first quote, backslash, control character or byte that is not ASCII.
#[inline]
fn ascii_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(block) = bytes[length..].first_chunk() {
        if let Some(place) = first_special(block) {
            return length + place;
        }
        length += block.len();
    }
    let special = |byte: &u8| !matches!(byte, 0x20..0x80) || matches!(byte, b'"' | b'\\');
    bytes[length..].iter().position(special).map_or(bytes.len(), |end| length + end)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn first_special(block: &[u8; 16]) -> Option<usize> {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: every processor of this architecture has SSE2, and the block is as long as what is loaded.
    let special = unsafe {
        let bytes = _mm_loadu_si128(block.as_ptr().cast::<__m128i>());
        let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
        // Signed: what is not ASCII is below zero.
        let below = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
        _mm_movemask_epi8(_mm_or_si128(below, _mm_or_si128(is(b'"'), is(b'\\'))))
    };
    (special != 0).then(|| special.trailing_zeros() as usize)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn first_special(block: &[u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let word = u64::from_le_bytes(*block);
    // The high bit of each byte that is one; those above the lowest one may be wrong.
    let below = |limit: u64, word: u64| word.wrapping_sub(ONES * limit) & !word;
    let equal = |byte: u8| below(1, word ^ (ONES * u64::from(byte)));
    let special = (below(0x20, word) | equal(b'"') | equal(b'\\') | word) & (ONES << 7);
    (special != 0).then(|| special.trailing_zeros() as usize / 8)
}
