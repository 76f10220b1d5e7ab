//! Single values in JSON text: the plain ones that telemetry is made of. What is not plain is left to the parser.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

/// More digits than these may not fit into 64 bits.
const MAX_DIGITS: usize = 18;

/// A value that holds no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Leaf<'_> {
    #[inline]
    pub fn to_object<'py>(self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Self::Text(text) => string(py, text),
            Self::Int(int) => PyInt::new(py, int).into_any(),
            Self::Float(float) => PyFloat::new(py, float).into_any(),
            Self::Bool(bool) => PyBool::new(py, bool).to_owned().into_any(),
            Self::Null => py.None().into_bound(py),
        }
    }
}

#[inline]
fn string<'py>(py: Python<'py>, text: &str) -> Bound<'py, PyAny> {
    if !text.is_ascii() {
        return PyString::new(py, text).into_any();
    }
    // SAFETY: the bytes are read during the call; what is returned is a new reference or NULL with MemoryError set.
    unsafe {
        let kind = ffi::PyUnicode_1BYTE_KIND as i32;
        let made = ffi::PyUnicode_FromKindAndData(kind, text.as_ptr().cast(), text.len().cast_signed());
        Bound::from_owned_ptr(py, made)
    }
}

/// The value that begins here, and where it ends; `None` where it is not plain, or is not JSON.
#[inline]
pub fn leaf(data: &[u8], at: usize) -> Option<(Leaf<'_>, usize)> {
    let rest = &data[at..];
    match rest.first()? {
        b'"' => {
            let (text, end) = text(data, at)?;
            Some((Leaf::Text(text), end))
        }
        b'n' if rest.starts_with(b"null") => Some((Leaf::Null, at + 4)),
        b't' if rest.starts_with(b"true") => Some((Leaf::Bool(true), at + 4)),
        b'f' if rest.starts_with(b"false") => Some((Leaf::Bool(false), at + 5)),
        b'-' | b'0'..=b'9' => number(data, at),
        _ => None,
    }
}

/// The text between two quotes, of which the first one is here, and where it ends behind the second.
#[inline]
pub fn text(data: &[u8], at: usize) -> Option<(&str, usize)> {
    let rest = data[at..].strip_prefix(b"\"")?;
    let length = plain(rest);
    if rest.get(length) != Some(&b'"') {
        return None;
    }
    let text = std::str::from_utf8(&rest[..length]).ok()?;
    Some((text, at + length + 2))
}

/// How many bytes come before the first quote, backslash or control character.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(word) = bytes[length..].first_chunk::<8>() {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let end = bytes[length..].iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    end.map_or(bytes.len(), |end| length + end)
}

/// The high bit of each of eight bytes that ends a plain text; those above the lowest one may be wrong.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let below = |limit: u64, word: u64| word.wrapping_sub(ONES * limit) & !word;
    let equal = |byte: u8, word: u64| below(1, word ^ (ONES * u64::from(byte)));
    (below(0x20, word) | equal(b'"', word) | equal(b'\\', word)) & (ONES << 7)
}

/// RFC 8259 section 6, for numbers that 64 bits hold.
#[inline]
fn number(data: &[u8], at: usize) -> Option<(Leaf<'_>, usize)> {
    let digits = |from: usize| data[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let first = at + usize::from(data[at] == b'-');
    let whole = digits(first);
    if whole == 0 || whole > MAX_DIGITS || (whole > 1 && data[first] == b'0') {
        return None;
    }
    let mut end = first + whole;
    let mut exact = true;
    if data.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
        exact = false;
    }
    if let Some(b'e' | b'E') = data.get(end) {
        let signed = end + 1 + usize::from(matches!(data.get(end + 1), Some(b'+' | b'-')));
        let exponent = data.get(signed..).map_or(0, |_| digits(signed));
        if exponent == 0 {
            return None;
        }
        end = signed + exponent;
        exact = false;
    }
    let text = std::str::from_utf8(&data[at..end]).ok()?;
    if exact {
        return Some((Leaf::Int(text.parse().ok()?), end));
    }
    let float: f64 = text.parse().ok()?;
    float.is_finite().then_some((Leaf::Float(float), end))
}

/// Whether a number could go on with this byte.
#[inline]
pub fn continues_number(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}
