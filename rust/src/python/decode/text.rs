//! ASCII strings that are made with a little room, and written over once nobody else has them.

use pyo3::ffi;
use pyo3::prelude::*;

/// Memory comes in multiples of this, so the room costs none.
const GRAIN: usize = 16;
const HEADER: usize = size_of::<ffi::PyASCIIObject>();

/// A str, and how many characters there is room for.
#[inline]
pub fn make<'py>(py: Python<'py>, text: &[u8]) -> (Bound<'py, PyAny>, usize) {
    let length = text.len();
    // SAFETY: what is returned is a new reference, or NULL with MemoryError set, at which pyo3 panics. A fresh str of
    // more than one character is nobody else's; its characters and a NUL lie behind its header.
    unsafe {
        if length < 2 || cfg!(Py_3_14) {
            let kind = ffi::PyUnicode_1BYTE_KIND as i32;
            let made = ffi::PyUnicode_FromKindAndData(kind, text.as_ptr().cast(), length.cast_signed());
            return (Bound::from_owned_ptr(py, made), 0);
        }
        let room = (HEADER + length + 1).next_multiple_of(GRAIN) - HEADER - 1;
        let made = Bound::from_owned_ptr(py, ffi::PyUnicode_New(room.cast_signed(), 127));
        write(made.as_ptr().cast(), text);
        (made, room)
    }
}

/// Give a str that only one reference leads to another text, where there is room.
///
/// # Safety
/// `object` is alive, whoever holds that reference is to see the new text, and where `room` is not 0, it comes from `make`.
#[inline]
pub unsafe fn overwrite(object: *mut ffi::PyObject, room: usize, text: &[u8]) -> bool {
    // One character is shared by all who have it.
    if text.len() > room || text.len() < 2 {
        return false;
    }
    let header = object.cast::<ffi::PyASCIIObject>();
    // SAFETY: there is room, so `make` has made it.
    unsafe {
        // It may be a key, or interned: the table of those holds no reference that counts.
        if (*header).hash != -1 {
            return false;
        }
        // The same text once more, in a form that is no longer used.
        #[cfg(not(Py_3_12))]
        if !(*header).wstr.is_null() {
            return false;
        }
        write(header, text);
    }
    true
}

/// # Safety
/// The str is nobody else's, and has room for the text.
#[inline]
unsafe fn write(header: *mut ffi::PyASCIIObject, text: &[u8]) {
    // SAFETY: as the caller promises.
    unsafe {
        (*header).length = text.len().cast_signed();
        let characters = header.add(1).cast::<u8>();
        characters.copy_from_nonoverlapping(text.as_ptr(), text.len());
        characters.add(text.len()).write(0);
    }
}
