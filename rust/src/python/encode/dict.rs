//! Dicts: key by key, and where the keys are known, from prepared bytes.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::buffer::Buffer;
use super::items::{Item, Items};
use super::shape::{Slot, UNKNOWN};
use super::{Encoded, Encoder, Stop, deeper, exact, number, refuse, text};

impl<'py> Encoder<'_, 'py> {
    #[inline(never)]
    pub(super) fn dict(&mut self, dict: &Bound<'py, PyDict>, depth: usize) -> Encoded {
        let py = dict.py();
        let depth = deeper(depth)?;
        let size = dict.len();
        let mut items = Items::of(dict, self.shapes.direct);
        let mut shape = items.upcoming().first().map_or(UNKNOWN, |first| self.shapes.find(first.key, size));
        let mut place = 0;
        loop {
            let upcoming = items.upcoming();
            let mut written = 0;
            for (slot, item) in self.shapes.slots(shape, place).iter_mut().zip(upcoming) {
                if !leaf(py, &mut self.out, slot, *item)? {
                    break;
                }
                written += 1;
            }
            let next = upcoming.get(written).copied();
            items.pass(written);
            place += written;
            let Some(Item { key, value }) = next else { if written == 0 { break } else { continue } };
            items.pass(1);
            if value.is_null() {
                continue;
            }
            if place == size {
                return Err(changed());
            }
            // SAFETY: both are borrowed from the dict and nothing has run since. They are owned from here on,
            // because a hook may take them out of the dict.
            let (key, value) = unsafe { (Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value)) };
            shape = self.shapes.with(shape, place, key.as_ptr());
            match self.shapes.slots(shape, place).first() {
                Some(slot) => self.out.blocks(slot.key())?,
                None => {
                    if place == 0 {
                        self.out.short(b"{")?;
                    }
                    self.key(&key)?;
                }
            }
            self.value(&value, depth)?;
            // If a hook took them out of the dict, this is their end, and what runs then may change it again.
            drop((key, value));
            if dict.len() != size {
                return Err(changed());
            }
            place += 1;
            items.renew();
        }
        if place == 0 {
            self.out.short(b"{")?;
        }
        self.out.close(b'}')?;
        if shape == UNKNOWN && self.shapes.wants(size) {
            self.learn(dict);
        }
        Ok(())
    }

    /// Prepare for the next dict with these keys, if they are of the kind that is seldom made anew.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, dict: &Bound<'py, PyDict>) {
        let mut slots = Vec::with_capacity(dict.len());
        for (place, (key, _)) in dict.iter().enumerate() {
            let Some(string) = exact::<PyString>(&key) else { return };
            let Some(utf8) = text::utf8(string) else { return };
            let mut bytes = Vec::with_capacity(utf8.len() + 4);
            bytes.extend_from_slice(if place == 0 { b"{" } else { b"" });
            text::escape(utf8, &mut bytes);
            bytes.push(b':');
            slots.push(Slot::new(key.clone().unbind(), &bytes));
        }
        self.shapes.learn(slots);
    }
}

/// Write key and value if the key is that of the slot and the value one that cannot run code; false if not.
#[inline(always)]
fn leaf(py: Python<'_>, out: &mut Buffer, slot: &mut Slot, Item { key, value }: Item) -> Result<bool, Stop> {
    if !slot.is(key) {
        return Ok(false);
    }
    if slot.holds(value) {
        out.blocks(slot.whole())?;
        return Ok(true);
    }
    let start = out.len();
    // SAFETY: key and value are borrowed from a dict, and nothing here runs Python code or takes memory of the
    // garbage collector's: all types are exact.
    unsafe {
        let class = ffi::Py_TYPE(value);
        if class == &raw mut ffi::PyUnicode_Type {
            let Some(ascii) = text::ascii(value) else { return Ok(false) };
            out.blocks_and_quoted(slot.key(), ascii)?;
        } else if class == &raw mut ffi::PyLong_Type {
            let Some(small) = number::small_int(value) else { return Ok(false) };
            out.blocks_and_plain(slot.key(), itoa::Buffer::new().format(small).as_bytes())?;
        } else if class == &raw mut ffi::PyFloat_Type {
            let value = ffi::PyFloat_AS_DOUBLE(value);
            if !number::is_common(value) {
                return Ok(false);
            }
            out.blocks_and_plain(slot.key(), zmij::Buffer::new().format_finite(value).as_bytes())?;
        } else if value == ffi::Py_None() {
            out.blocks_and_plain(slot.key(), b"null")?;
        } else if value == ffi::Py_True() {
            out.blocks_and_plain(slot.key(), b"true")?;
        } else if value == ffi::Py_False() {
            out.blocks_and_plain(slot.key(), b"false")?;
        } else {
            return Ok(false);
        }
    }
    if slot.is_hopeful() {
        // SAFETY: it is still there.
        slot.remember(unsafe { Bound::from_borrowed_ptr(py, value) }, out.since(start));
    }
    Ok(true)
}

#[cold]
fn changed() -> Stop {
    refuse("a dict changed while it was being serialised")
}
