//! The dicts that a template gives, and the last of them again once nobody else has it: most callbacks let go of a
//! message when they return. The next one is written over it, as no one can tell it from a new one.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::scan::Leaf;
use super::template::{Frame, Item, MAX_FRAMES};

/// The objects of the message that was given last. Others may have changed it or have let go of it: until `take_back`
/// has seen to that, the pointers serve to recognise objects, and for nothing else.
pub struct Given {
    dicts: [*mut ffi::PyObject; MAX_FRAMES],
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
    pub fn new(py: Python<'_>, frames: &[Frame], fields: usize) -> Self {
        let mut resting: Vec<Py<PyAny>> = (0..fields).map(|_| py.None()).collect();
        for frame in frames {
            for ((_, item), (_, value)) in frame.items.iter().zip(frame.dict.bind(py)) {
                if let Item::Field(field) = item {
                    resting[*field] = value.unbind();
                }
            }
        }
        let values = vec![ptr::null_mut(); fields];
        Self { dicts: [ptr::null_mut(); MAX_FRAMES], tracked: [false; MAX_FRAMES], values, resting, spare: None }
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

    /// Keep the dict where it is the one that was given last, as it was given, and nobody else has it.
    #[inline]
    pub fn take_back(&mut self, whole: Bound<'_, PyDict>, frames: &[Frame]) {
        if whole.as_ptr() != self.dicts[0] || !self.is_as_given(frames) {
            return;
        }
        for (&dict, tracked) in self.dicts.iter().zip(&mut self.tracked).take(frames.len()) {
            // SAFETY: `whole` holds it. Untracked, nobody can find it any more by the garbage collector's lists.
            unsafe {
                *tracked = ffi::PyObject_GC_IsTracked(dict) != 0;
                ffi::PyObject_GC_UnTrack(dict.cast());
            }
        }
        self.spare = Some(whole.unbind());
    }

    /// `dicts[0]` is a living dict.
    #[inline]
    fn is_as_given(&self, frames: &[Frame]) -> bool {
        frames.iter().zip(self.dicts).all(|(frame, dict)| {
            // SAFETY: the first is a living dict, and each other one was found in a dict before it. References are
            // borrowed from dicts that nothing changes meanwhile.
            unsafe {
                if ffi::Py_REFCNT(dict) != 1
                    || ffi::PyDict_CheckExact(dict) == 0
                    || ffi::PyDict_Size(dict) != frame.items.len().cast_signed()
                {
                    return false;
                }
                let (mut place, mut key, mut value) = (0, ptr::null_mut(), ptr::null_mut());
                frame.items.iter().all(|(known, item)| {
                    let expected = match *item {
                        Item::Field(field) => self.values[field],
                        Item::Frame(frame) => self.dicts[frame],
                    };
                    ffi::PyDict_Next(dict, &raw mut place, &raw mut key, &raw mut value) != 0
                        && key == known.as_ptr()
                        && value == expected
                })
            }
        })
    }
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
