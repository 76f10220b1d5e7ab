//! The dicts that a template gives, and the last of them again once nobody else has it: most callbacks let go of a
//! message when they return. The next one is written over it, as no one can tell it from a new one.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::scan::Leaf;
use super::template::{Field, Frame, MAX_FRAMES};

/// The objects of the message that was given last. Others may have changed it or have let go of it: until `take_back`
/// has seen to that, the pointers serve to recognise objects, and for nothing else.
pub struct Given {
    dicts: [*mut ffi::PyObject; MAX_FRAMES],
    versions: [Option<u64>; MAX_FRAMES],
    /// Which of the dicts the garbage collector looks at.
    tracked: [bool; MAX_FRAMES],
    values: Vec<*mut ffi::PyObject>,
    /// The values in the frames' own dicts.
    resting: Vec<Py<PyAny>>,
    /// It is ours alone again.
    spare: Option<Py<PyDict>>,
}

// SAFETY: the pointers are used with the interpreter's lock held, as the objects themselves are.
unsafe impl Send for Given {}

impl Given {
    pub fn new(py: Python<'_>, frames: &[Frame], fields: &[Field]) -> Option<Self> {
        let value = |field: &Field| frames[field.frame].dict.bind(py).get_item(&field.key).ok()?.map(Bound::unbind);
        Some(Self {
            dicts: [ptr::null_mut(); MAX_FRAMES],
            versions: [None; MAX_FRAMES],
            tracked: [false; MAX_FRAMES],
            values: vec![ptr::null_mut(); fields.len()],
            resting: fields.iter().map(value).collect::<Option<_>>()?,
            spare: None,
        })
    }

    /// The dict to write the next message to, with those within; all values that rest are in it.
    #[inline]
    pub fn whole<'py>(&mut self, py: Python<'py>, frames: &[Frame]) -> Option<Bound<'py, PyDict>> {
        let Some(spare) = self.spare.take() else { return self.copy(py, frames) };
        for (dict, _) in self.dicts.iter().zip(self.tracked).take(frames.len()).filter(|(_, tracked)| *tracked) {
            // SAFETY: the spare dict holds it.
            unsafe { ffi::PyObject_GC_Track(dict.cast()) };
        }
        Some(spare.into_bound(py))
    }

    fn copy<'py>(&mut self, py: Python<'py>, frames: &[Frame]) -> Option<Bound<'py, PyDict>> {
        self.values.iter_mut().zip(&self.resting).for_each(|(value, resting)| *value = resting.as_ptr());
        let mut copies: [Option<Bound<'py, PyDict>>; MAX_FRAMES] = [const { None }; MAX_FRAMES];
        for (place, frame) in frames.iter().enumerate() {
            let copy = frame.dict.bind(py).copy().ok()?;
            if place > 0 {
                copies[frame.parent].as_ref()?.set_item(&frame.key, &copy).ok()?;
            }
            self.dicts[place] = copy.as_ptr();
            copies[place] = Some(copy);
        }
        copies[0].take()
    }

    /// Give a value of the dict that `whole` has returned, which is still ours alone.
    #[inline]
    pub fn set(
        &mut self,
        py: Python<'_>,
        frame: usize,
        key: &Py<PyString>,
        field: usize,
        leaf: Leaf<'_>,
    ) -> Option<()> {
        let value = &mut self.values[field];
        // SAFETY: the dict holds the value, or `resting` does.
        if unsafe { overwrite(*value, leaf) } {
            return Some(());
        }
        let fresh = leaf.to_object(py);
        *value = fresh.as_ptr();
        // SAFETY: `whole` holds the dict; a reference to what is set is taken.
        let set = unsafe { ffi::PyDict_SetItem(self.dicts[frame], key.as_ptr(), fresh.as_ptr()) };
        if set != 0 {
            drop(PyErr::take(py));
            return None;
        }
        Some(())
    }

    /// All values are set: what changes from now on is others' doing. Without its frames it is not taken back.
    #[inline]
    pub fn seal(&mut self, frames: usize) {
        self.versions[0] = None;
        for (&dict, known) in self.dicts.iter().zip(&mut self.versions).take(frames) {
            // SAFETY: it is the dict that `whole` has returned, or lies within that.
            *known = unsafe { version(dict) };
        }
    }

    /// Keep the dict where it is the one that was given last, as it was given, and nobody else has it.
    #[inline]
    pub fn take_back(&mut self, whole: Bound<'_, PyDict>, frames: usize) {
        if whole.as_ptr() != self.dicts[0] {
            return;
        }
        let mut dicts = self.dicts.iter().zip(&self.versions).take(frames);
        // SAFETY: the first is alive, and each other one lies in one before it, which has not changed.
        if !dicts
            .all(|(&dict, known)| unsafe { ffi::Py_REFCNT(dict) == 1 && known.is_some() && version(dict) == *known })
        {
            return;
        }
        for (&dict, tracked) in self.dicts.iter().zip(&mut self.tracked).take(frames) {
            // SAFETY: `whole` holds it. Untracked, nobody can find it any more by the garbage collector's lists.
            unsafe {
                *tracked = ffi::PyObject_GC_IsTracked(dict) != 0;
                ffi::PyObject_GC_UnTrack(dict.cast());
            }
        }
        self.spare = Some(whole.unbind());
    }
}

/// A number that no other state of any dict has (PEP 509); later interpreters have none.
///
/// # Safety
/// It is a dict, and alive.
#[inline]
unsafe fn version(dict: *mut ffi::PyObject) -> Option<u64> {
    #[cfg(not(Py_3_14))]
    #[allow(deprecated)]
    // SAFETY: the field is a dict's.
    return Some(unsafe { (*dict.cast::<ffi::PyDictObject>()).ma_version_tag });
    #[cfg(Py_3_14)]
    return None;
}

/// Give an object that only one reference leads to another value, rather than make a new one.
///
/// # Safety
/// It is alive, and whoever holds that reference is to see the new value.
#[inline]
unsafe fn overwrite(object: *mut ffi::PyObject, leaf: Leaf<'_>) -> bool {
    // SAFETY: the fields are those of the types that are asked for.
    unsafe {
        if ffi::Py_REFCNT(object) != 1 {
            return false;
        }
        match leaf {
            Leaf::Float(value) if ffi::PyFloat_CheckExact(object) != 0 => {
                (*object.cast::<ffi::PyFloatObject>()).ob_fval = value;
                true
            }
            Leaf::Ascii(text) if ffi::PyUnicode_CheckExact(object) != 0 => overwrite_text(object, text),
            _ => false,
        }
    }
}

/// # Safety
/// As `overwrite`, for a str.
#[cfg(not(Py_3_14))]
#[inline]
unsafe fn overwrite_text(object: *mut ffi::PyObject, text: &[u8]) -> bool {
    let header = object.cast::<ffi::PyASCIIObject>();
    // SAFETY: the characters of such a str lie behind its header, as many as its length says.
    unsafe {
        if (*header).length.cast_unsigned() != text.len()
            || ffi::PyUnicode_IS_COMPACT_ASCII(object) == 0
            // It may be a key: the table of interned strings holds no reference that counts.
            || (*header).hash != -1
        {
            return false;
        }
        // The same text once more, in a form that is no longer used.
        #[cfg(not(Py_3_12))]
        if !(*header).wstr.is_null() {
            return false;
        }
        header.add(1).cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        true
    }
}

/// How a str lies in memory is not told any more.
#[cfg(Py_3_14)]
unsafe fn overwrite_text(_: *mut ffi::PyObject, _: &[u8]) -> bool {
    false
}
