//! The items of a dict, in order: out of its memory where that is laid out as known, else by asking the
//! interpreter for each, which takes as long as writing it.

use std::ptr;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// What CPython 3.11 to 3.13 keep behind `ma_keys`.
#[repr(C)]
struct Keys {
    references: isize,
    log2_size: u8,
    /// Bytes of hash table between this and the entries.
    log2_table: u8,
    kind: u8,
    version: u32,
    usable: isize,
    entries: isize,
}

/// The kind of which all keys are str, and each stands beside its value.
const OF_STR: u8 = 1;

/// Key and value, borrowed from the dict; both null where an item was deleted.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
pub struct Item {
    pub key: *mut PyObject,
    pub value: *mut PyObject,
}

impl Item {
    const NONE: Self = Self { key: ptr::null_mut(), value: ptr::null_mut() };
}

pub struct Items<'a> {
    dict: &'a Bound<'a, PyDict>,
    /// The entries as they were seen last; null while the interpreter is asked.
    first: *const Item,
    next: *const Item,
    end: *const Item,
    /// Where the interpreter goes on, and what it told.
    position: isize,
    told: Item,
}

impl<'a> Items<'a> {
    /// `direct`: as `is_known` told.
    #[inline(always)]
    pub fn of(dict: &'a Bound<'a, PyDict>, direct: bool) -> Self {
        let nowhere = ptr::null();
        let mut items = Self { dict, first: nowhere, next: nowhere, end: nowhere, position: 0, told: Item::NONE };
        if direct {
            items.look(0);
        }
        items
    }

    /// Some or all of the items that come next, no deleted one at the front; empty at the end. They are there as
    /// long as no Python code runs.
    #[inline(always)]
    pub fn upcoming(&mut self) -> &[Item] {
        if self.first.is_null() {
            return self.ask();
        }
        if self.next == self.end {
            // Of an empty dict the place is not even aligned.
            return &[];
        }
        // SAFETY: these entries the dict has, and nothing has changed it since it was looked at.
        unsafe { std::slice::from_raw_parts(self.next, self.end.offset_from_unsigned(self.next)) }
    }

    /// Leave so many of the upcoming ones behind.
    #[inline(always)]
    pub fn pass(&mut self, items: usize) {
        if self.first.is_null() {
            self.told = if items > 0 { Item::NONE } else { self.told };
        } else {
            self.next = self.next.wrapping_add(items);
        }
    }

    /// Python code may have changed the dict: other items may follow, never freed ones.
    #[inline(always)]
    pub fn renew(&mut self) {
        if !self.first.is_null() {
            self.look((self.next.addr() - self.first.addr()) / size_of::<Item>());
        }
    }

    #[inline(always)]
    fn look(&mut self, passed: usize) {
        let dict = self.dict.as_ptr().cast::<ffi::PyDictObject>();
        // SAFETY: the dict is alive and the layout is known; the entries lie behind the table, as many as are told.
        unsafe {
            let keys = (*dict).ma_keys.cast::<Keys>();
            if !(*dict).ma_values.is_null() || (*keys).kind != OF_STR {
                self.first = ptr::null();
                self.position = passed.cast_signed();
                return;
            }
            let entries = (*keys).entries.cast_unsigned();
            self.first = keys.add(1).cast::<u8>().add(1 << (*keys).log2_table).cast();
            self.end = self.first.add(entries);
            self.next = self.first.add(passed.min(entries));
            while self.next < self.end && (*self.next).value.is_null() {
                self.next = self.next.add(1);
            }
        }
    }

    #[inline(never)]
    fn ask(&mut self) -> &[Item] {
        let Self { position, told: Item { key, value }, .. } = self;
        // SAFETY: the dict is alive and we hold the GIL; CPython looks the position up anew each time, so that a
        // dict changed in between gives other items, never freed ones.
        if value.is_null() && unsafe { ffi::PyDict_Next(self.dict.as_ptr(), position, key, value) } == 0 {
            return &[];
        }
        std::slice::from_ref(&self.told)
    }
}

/// Whether dicts of this interpreter are laid out as told above.
pub fn is_known(py: Python<'_>) -> bool {
    static KNOWN: PyOnceLock<bool> = PyOnceLock::new();
    *KNOWN.get_or_init(py, || {
        let version = py.version_info();
        // Larger in builds without the GIL, and in those that trace references.
        let plain = size_of::<PyObject>() == 2 * size_of::<usize>();
        plain && version.major == 3 && (11..=13).contains(&version.minor) && is_as_told(py).unwrap_or(false)
    })
}

/// Whether both ways lead along the same items.
fn is_as_told(py: Python<'_>) -> PyResult<bool> {
    for size in [1, 6, 11, 300] {
        let dict = PyDict::new(py);
        for number in 0..size {
            dict.set_item(number.to_string(), number)?;
        }
        if size > 1 {
            dict.del_item("1")?;
        }
        let walked = |mut items: Items<'_>| {
            let mut walked = Vec::new();
            loop {
                let upcoming = items.upcoming();
                let passed = upcoming.len();
                if passed == 0 {
                    return walked;
                }
                walked.extend(upcoming.iter().copied().filter(|item| !item.value.is_null()));
                items.pass(passed);
            }
        };
        let direct = Items::of(&dict, true);
        if direct.first.is_null() || walked(direct) != walked(Items::of(&dict, false)) {
            return Ok(false);
        }
    }
    Ok(true)
}
