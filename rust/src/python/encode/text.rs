//! Strings: UTF-8 out of Python, and the escapes of JSON.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::{Stop, refuse};
use crate::prefetch;

/// The text as Python holds it, or None where it has lone surrogates, which UTF-8 cannot hold.
#[inline(always)]
pub fn utf8<'a>(string: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let mut size = 0;
    // SAFETY: the str is alive, and what is returned lives as long as it does.
    unsafe {
        let start = ffi::PyUnicode_AsUTF8AndSize(string.as_ptr(), &raw mut size);
        if start.is_null() {
            forget_error(string.py());
            return None;
        }
        Some(std::slice::from_raw_parts(start.cast(), size.cast_unsigned()))
    }
}

/// The text of a str in which all is ASCII, as most have it.
///
/// # Safety
/// It is an exact str, and outlives what is returned.
#[inline(always)]
pub unsafe fn ascii<'a>(string: *mut ffi::PyObject) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises; such text lies in the object itself, a byte for each character.
    unsafe {
        (ffi::PyUnicode_IS_COMPACT_ASCII(string) != 0).then(|| {
            let start = ffi::PyUnicode_DATA(string).cast();
            std::slice::from_raw_parts(start, ffi::PyUnicode_GET_LENGTH(string).cast_unsigned())
        })
    }
}

#[cold]
#[inline(never)]
fn forget_error(py: Python<'_>) {
    drop(PyErr::take(py));
}

/// The text with U+FFFD for each lone surrogate.
#[cold]
pub fn replaced(string: &Bound<'_, PyString>) -> Result<Vec<u8>, Stop> {
    let class = string.py().get_type::<PyString>();
    let encoded = class.call_method1("encode", (string, "utf-8", "surrogatepass"));
    let Ok(Ok(encoded)) = encoded.map(|bytes| bytes.cast_into::<PyBytes>()) else {
        return Err(refuse("a str that has no UTF-8 form"));
    };
    let mut utf8 = encoded.as_bytes().to_vec();
    // A surrogate takes three bytes here, ED A0..BF xx (RFC 3629 section 3), and so does U+FFFD.
    for at in 0..utf8.len().saturating_sub(2) {
        if utf8[at] == 0xED && utf8[at + 1] >= 0xA0 {
            utf8[at..at + 3].copy_from_slice("\u{FFFD}".as_bytes());
        }
    }
    Ok(utf8)
}

/// Copy the text unless a byte of it needs an escape; then the copy is worth nothing.
///
/// In blocks of which the last overlaps the one before, so that no byte is handled alone.
///
/// # Safety
/// `to` is valid for writes of `text.len()` bytes.
#[inline(always)]
pub unsafe fn copy_plain(text: &[u8], to: *mut u8) -> bool {
    let from = text.as_ptr();
    let length = text.len();
    // SAFETY: each block ends at or before the end of the text, which `to` has room for.
    unsafe {
        if length >= 64 {
            copy_long(text, to)
        } else if length >= 16 {
            let last = length - 16;
            let mut at = 0;
            while at < last {
                if !copy_block::<16>(from.add(at), to.add(at)) {
                    return false;
                }
                at += 16;
            }
            copy_block::<16>(from.add(last), to.add(last))
        } else if length >= 8 {
            let (first, last) = (copy::<8>(from, to), copy::<8>(from.add(length - 8), to.add(length - 8)));
            !needs_escape(u64::from_ne_bytes(first)) & !needs_escape(u64::from_ne_bytes(last))
        } else if length >= 4 {
            let (first, last) = (copy::<4>(from, to), copy::<4>(from.add(length - 4), to.add(length - 4)));
            let word = u64::from(u32::from_ne_bytes(first)) << 32 | u64::from(u32::from_ne_bytes(last));
            !needs_escape(word)
        } else if length > 0 {
            let mut word = [b' '; 8];
            for (place, at) in [0, length / 2, length - 1].into_iter().enumerate() {
                [word[place]] = copy::<1>(from.add(at), to.add(at));
            }
            !needs_escape(u64::from_ne_bytes(word))
        } else {
            true
        }
    }
}

/// # Safety
/// As `copy_plain`; the text has 64 bytes or more.
#[inline(never)]
unsafe fn copy_long(text: &[u8], to: *mut u8) -> bool {
    let from = text.as_ptr();
    let last = text.len() - 64;
    let mut at = 0;
    // SAFETY: no block goes beyond the end of the text.
    while at < last {
        if unsafe { !copy_block::<64>(from.add(at), to.add(at)) } {
            return false;
        }
        at += 64;
    }
    unsafe { copy_block::<64>(from.add(last), to.add(last)) }
}

/// # Safety
/// As `copy`.
#[inline(always)]
unsafe fn copy_block<const N: usize>(from: *const u8, to: *mut u8) -> bool {
    // SAFETY: as the caller promises.
    is_plain(unsafe { copy::<N>(from, to) })
}

/// Whether no byte needs an escape; the compiler makes vector instructions of it.
#[inline(always)]
fn is_plain<const N: usize>(block: [u8; N]) -> bool {
    let mut found = 0;
    for byte in block {
        found |= u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    }
    found == 0
}

/// # Safety
/// `from` is valid for reads and `to` for writes of `N` bytes.
#[inline(always)]
unsafe fn copy<const N: usize>(from: *const u8, to: *mut u8) -> [u8; N] {
    // SAFETY: as the caller promises; arrays of bytes have no alignment.
    unsafe {
        let block = from.cast::<[u8; N]>().read();
        to.cast::<[u8; N]>().write(block);
        block
    }
}

/// Whether a byte of the eight is below 0x20, a quote or a backslash, without a branch.
#[inline(always)]
fn needs_escape(bytes: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let below = |limit: u64, bytes: u64| bytes.wrapping_sub(ONES * limit) & !bytes;
    let quote = below(1, bytes ^ (ONES * b'"' as u64));
    let backslash = below(1, bytes ^ (ONES * b'\\' as u64));
    (below(0x20, bytes) | quote | backslash) & HIGH != 0
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

/// What of an escaped text is asked for ahead, in bytes.
const AHEAD: usize = 768;

/// Append the text in quotes, escaped.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text;
    loop {
        // Both quotes and the longest escape fit too, so that this most often only compares.
        out.reserve(rest.len() + 8);
        // Where escapes come irregularly the processor guesses wrong at each of them, and asks for nothing ahead.
        prefetch::for_read(rest.as_ptr().wrapping_add(AHEAD));
        // SAFETY: there is room for all of the rest, and what was copied of it is initialised.
        unsafe {
            let plain = copy_until_escape(rest, out.as_mut_ptr().add(out.len()));
            out.set_len(out.len() + plain);
            rest = &rest[plain..];
        }
        let Some((&byte, behind)) = rest.split_first() else { break };
        rest = behind;
        let escape = ESCAPES[usize::from(byte)];
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            out.extend_from_slice(&[b'0', b'0', b'0' + (byte >> 4), HEX[usize::from(byte & 15)]]);
        }
    }
    out.push(b'"');
}

/// Copy the text up to the first byte that needs an escape; returns how many bytes that are.
///
/// # Safety
/// `to` is valid for writes of `text.len()` bytes.
#[inline(always)]
unsafe fn copy_until_escape(text: &[u8], to: *mut u8) -> usize {
    let mut at = 0;
    while at + 16 <= text.len() {
        // SAFETY: the block ends at or before the end of the text.
        let found = escapes_in(unsafe { copy::<16>(text.as_ptr().add(at), to.add(at)) });
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    while at < text.len() && ESCAPES[usize::from(text[at])] == 0 {
        // SAFETY: it lies before the end of the text.
        unsafe { to.add(at).write(text[at]) };
        at += 1;
    }
    at
}

/// A bit for each byte that needs an escape.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn escapes_in(block: [u8; 16]) -> u32 {
    use std::arch::x86_64::*;
    // SAFETY: every processor of this architecture has SSE2; any 16 bytes are a vector.
    unsafe {
        let block: __m128i = std::mem::transmute(block);
        let control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1F)), block);
        let quote = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'"'.cast_signed()));
        let backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'\\'.cast_signed()));
        _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash))).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn escapes_in(block: [u8; 16]) -> u32 {
    let escapes = block.iter().enumerate().filter(|(_, byte)| ESCAPES[usize::from(**byte)] != 0);
    escapes.fold(0, |found, (at, _)| found | 1 << at)
}
