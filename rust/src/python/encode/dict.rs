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
        if size == 0 {
            return self.out.plain(b"{}", b',');
        }
        let mut items = Items::of(dict, self.shapes.direct);
        let mut shape = items.upcoming().first().map_or(UNKNOWN, |first| self.shapes.find(first.key, size));
        let mut place = 0;
        loop {
            let upcoming = items.upcoming();
            let mut written = 0;
            let mut end = self.out.next();
            for (slot, item) in self.shapes.slots(shape, place).iter_mut().zip(upcoming) {
                let Some(further) = leaf(py, &mut self.out, end, slot, *item)? else { break };
                end = further;
                written += 1;
            }
            // SAFETY: that is where the last of them ended.
            unsafe { self.out.go_on_at(end) };
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
                Some(slot) => {
                    let end = self.out.blocks(self.out.next(), slot.key())?;
                    // SAFETY: where it ended.
                    unsafe { self.out.go_on_at(end) };
                }
                None => {
                    if place == 0 {
                        self.out.short(b"{")?;
                    }
                    self.key(&key)?;
                }
            }
            // What a leaf is not is most often a dict.
            match exact(&value) {
                Some(dict) => self.dict(dict, depth)?,
                None => self.value(&value, depth)?,
            }
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

/// Write key and value at `next` if the key is that of the slot and the value one that cannot run code: what is the next
/// from then on, or None if not.
#[inline(always)]
fn leaf(
    py: Python<'_>,
    out: &mut Buffer,
    next: *mut u8,
    slot: &mut Slot,
    Item { key, value }: Item,
) -> Result<Option<*mut u8>, Stop> {
    if !slot.is(key) {
        return Ok(None);
    }
    if slot.holds(value) {
        return out.blocks(next, slot.whole()).map(Some);
    }
    let start = out.length_at(next);
    // SAFETY: key and value are borrowed from a dict, and nothing here runs Python code or takes memory of the
    // garbage collector's: all types are exact.
    let next = unsafe {
        let class = ffi::Py_TYPE(value);
        if class == &raw mut ffi::PyUnicode_Type {
            let Some(ascii) = text::ascii(value) else { return Ok(None) };
            out.blocks_and_quoted(next, slot.key(), ascii)?
        } else if class == &raw mut ffi::PyLong_Type {
            let Some(small) = number::small_int(value) else { return Ok(None) };
            out.blocks_and_plain(next, slot.key(), itoa::Buffer::new().format(small).as_bytes())?
        } else if class == &raw mut ffi::PyFloat_Type {
            let value = ffi::PyFloat_AS_DOUBLE(value);
            if !number::is_common(value) {
                return Ok(None);
            }
            out.blocks_and_plain(next, slot.key(), zmij::Buffer::new().format_finite(value).as_bytes())?
        } else if value == ffi::Py_None() {
            out.blocks_and_plain(next, slot.key(), b"null")?
        } else if value == ffi::Py_True() {
            out.blocks_and_plain(next, slot.key(), b"true")?
        } else if value == ffi::Py_False() {
            out.blocks_and_plain(next, slot.key(), b"false")?
        } else {
            return Ok(None);
        }
    };
    if slot.is_hopeful() {
        // SAFETY: the value is still there, and the bytes are written.
        unsafe { slot.remember(Bound::from_borrowed_ptr(py, value), out.since(start, next)) };
    }
    Ok(Some(next))
}

#[cold]
fn changed() -> Stop {
    refuse("a dict changed while it was being serialised")
}
