//! Strings: UTF-8 out of Python, and the escapes of JSON.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::EncodeError;

/// Call `then` with the text; lone surrogates are U+FFFD.
#[inline]
pub fn with_utf8(
    string: &Bound<'_, PyString>,
    then: impl FnOnce(&str) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    match string.to_str() {
        Ok(text) => then(text),
        Err(_) => then(&replaced(string)?),
    }
}

/// UTF-8 cannot hold surrogates, Python's str can.
#[cold]
fn replaced(string: &Bound<'_, PyString>) -> Result<String, EncodeError> {
    let encoded = string
        .py()
        .get_type::<PyString>()
        .call_method1("encode", (string, "utf-8", "surrogatepass"));
    let Ok(Ok(bytes)) = encoded.map(|bytes| bytes.cast_into::<PyBytes>()) else {
        return Err(EncodeError::Unserialisable("a str that has no UTF-8 form".to_owned()));
    };
    let mut utf8 = bytes.as_bytes().to_vec();
    // A surrogate takes three bytes here, ED A0..BF xx (RFC 3629 section 3), and so does U+FFFD.
    for at in 0..utf8.len().saturating_sub(2) {
        if utf8[at] == 0xED && utf8[at + 1] >= 0xA0 {
            utf8[at..at + 3].copy_from_slice("\u{FFFD}".as_bytes());
        }
    }
    Ok(String::from_utf8_lossy(&utf8).into_owned())
}

/// Append the text in quotes, escaped, and the byte that stands behind it.
#[inline]
pub fn quoted(out: &mut Vec<u8>, text: &str, after: u8) {
    let text = text.as_bytes();
    out.reserve(text.len() + 3);
    // SAFETY: there is room for the text and three bytes; the length grows only when all are written.
    unsafe {
        let start = out.as_mut_ptr().add(out.len());
        start.write(b'"');
        if copy_plain(text, start.add(1)) {
            start.add(text.len() + 1).write(b'"');
            start.add(text.len() + 2).write(after);
            out.set_len(out.len() + text.len() + 3);
            return;
        }
    }
    escaped(out, text, after);
}

/// Copy the text unless a byte of it needs an escape; then the copy is worth nothing.
///
/// Blocks of 16, 8 or 4 bytes, of which the last overlaps the one before: no byte is handled alone.
///
/// # Safety
/// `to` is valid for writes of `text.len()` bytes.
#[inline]
unsafe fn copy_plain(text: &[u8], to: *mut u8) -> bool {
    let from = text.as_ptr();
    let length = text.len();
    // SAFETY: each block ends at or before the end of the text, which `to` has room for.
    unsafe {
        if length >= 16 {
            let mut at = 0;
            while at + 16 <= length {
                if !copy_block::<16>(from.add(at), to.add(at)) {
                    return false;
                }
                at += 16;
            }
            at == length || copy_block::<16>(from.add(length - 16), to.add(length - 16))
        } else if length >= 8 {
            copy_block::<8>(from, to) & copy_block::<8>(from.add(length - 8), to.add(length - 8))
        } else if length >= 4 {
            copy_block::<4>(from, to) & copy_block::<4>(from.add(length - 4), to.add(length - 4))
        } else {
            (0..length).all(|at| copy_block::<1>(from.add(at), to.add(at)))
        }
    }
}

/// # Safety
/// `from` is valid for reads and `to` for writes of `N` bytes.
#[inline(always)]
unsafe fn copy_block<const N: usize>(from: *const u8, to: *mut u8) -> bool {
    // SAFETY: as the caller promises; arrays of bytes have no alignment.
    let block = unsafe { from.cast::<[u8; N]>().read() };
    unsafe { to.cast::<[u8; N]>().write(block) };
    // Without a branch, so that the compiler makes vector instructions of it.
    let mut escape = false;
    for byte in block {
        escape |= (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    }
    !escape
}

/// The escapes that the json module writes (RFC 8259 section 7); 0 is none, 'u' is `\u00xx`.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0A] = b'n';
    table[0x0C] = b'f';
    table[0x0D] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

#[inline(never)]
fn escaped(out: &mut Vec<u8>, text: &[u8], after: u8) {
    out.push(b'"');
    let mut written = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escape = ESCAPES[usize::from(byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&text[written..at]);
        written = at + 1;
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'0', b'0', b'0' + (byte >> 4), HEX[usize::from(byte & 15)]]);
        }
    }
    out.extend_from_slice(&text[written..]);
    out.extend_from_slice(&[b'"', after]);
}
