//! What the dicts of a program have in common: the same key objects in the same order, and values that are often
//! the same objects as last time. A dict of a known shape is written from prepared bytes.
//!
//! Objects are known by identity, which is safe because they are held, and sound because they are immutable:
//! only exact str, int, float, bool and None are remembered.

use pyo3::ffi::PyObject;
use pyo3::prelude::*;

use super::buffer::Blocks;
use super::items;

/// Shapes that a thread remembers.
const MAX_SHAPES: usize = 16;
/// Keys of a dict whose shape is worth remembering.
const MAX_KEYS: usize = 48;
/// Key and value worth remembering; longer ones are copied as fast as they are found.
const MAX_JSON_BYTES: usize = 128;
/// A value that was another object so many times more often than the same is not remembered any more.
const MAX_DOUBTS: u8 = 8;
/// Where all places are taken, one in so many unknown dicts is learned.
const LEARN_EVERY: u32 = 64;

/// One key of a shape, and its value as far as it is known.
pub struct Slot {
    key: Py<PyAny>,
    /// What was there last, if it is worth a look.
    value: Option<Py<PyAny>>,
    /// The key as JSON with its colon, behind an opening brace if it is the first.
    key_json: Blocks,
    /// The same with the value and a comma.
    whole: Blocks,
    doubts: u8,
}

impl Slot {
    /// `key_json`: the key as JSON, and all that stands before its value.
    pub fn new(key: Py<PyAny>, key_json: &[u8]) -> Self {
        Self { key, value: None, key_json: Blocks::new(key_json), whole: Blocks::new(&[]), doubts: 0 }
    }

    #[inline(always)]
    pub fn is(&self, key: *mut PyObject) -> bool {
        self.key.as_ptr() == key
    }

    /// Whether the value is the one that is remembered.
    #[inline(always)]
    pub fn holds(&self, value: *mut PyObject) -> bool {
        self.value.as_ref().is_some_and(|known| known.as_ptr() == value)
    }

    /// Key, value and comma, where the slot `holds` the value.
    #[inline(always)]
    pub fn whole(&mut self) -> &Blocks {
        self.doubts = self.doubts.saturating_sub(1);
        &self.whole
    }

    #[inline(always)]
    pub fn key(&self) -> &Blocks {
        &self.key_json
    }

    /// Whether the next value may be remembered.
    #[inline(always)]
    pub fn is_hopeful(&self) -> bool {
        self.doubts < MAX_DOUBTS
    }

    /// Remember an exact, immutable value by the JSON of key, value and comma.
    #[cold]
    #[inline(never)]
    pub fn remember(&mut self, value: Bound<'_, PyAny>, json: &[u8]) {
        self.doubts += 1;
        self.value = None;
        if json.len() <= MAX_JSON_BYTES && self.is_hopeful() {
            self.whole = Blocks::new(json);
            self.value = Some(value.unbind());
        }
    }
}

struct Shape {
    slots: Vec<Slot>,
}

pub struct Shapes {
    /// See `Items`.
    pub direct: bool,
    /// First key and size of each: what tells them apart at a glance.
    heads: Vec<(*mut PyObject, usize)>,
    shapes: Vec<Shape>,
    strangers: u32,
    oldest: usize,
}

/// Not among the known shapes.
pub const UNKNOWN: usize = usize::MAX;

impl Shapes {
    pub fn new(py: Python<'_>) -> Self {
        Self { direct: items::is_known(py), heads: Vec::new(), shapes: Vec::new(), strangers: 0, oldest: 0 }
    }

    /// The shape that a dict of this size and first key may have.
    #[inline(always)]
    pub fn find(&self, first: *mut PyObject, size: usize) -> usize {
        self.heads.iter().position(|head| *head == (first, size)).unwrap_or(UNKNOWN)
    }

    /// The slots from `place` on.
    #[inline(always)]
    pub fn slots(&mut self, shape: usize, place: usize) -> &mut [Slot] {
        self.shapes.get_mut(shape).and_then(|shape| shape.slots.get_mut(place..)).unwrap_or_default()
    }

    /// The shape, or another one with the same keys before `place`, that has this key there.
    #[inline(always)]
    pub fn with(&self, shape: usize, place: usize, key: *mut PyObject) -> usize {
        let known = self.shapes.get(shape).and_then(|shape| shape.slots.get(place));
        if known.is_none_or(|slot| slot.is(key)) { shape } else { self.switch(shape, place, key) }
    }

    #[cold]
    #[inline(never)]
    fn switch(&self, shape: usize, place: usize, key: *mut PyObject) -> usize {
        let Some(known) = self.shapes.get(shape) else { return UNKNOWN };
        let before = &known.slots[..place.min(known.slots.len())];
        let fits = |other: &Shape| {
            other.slots.len() == known.slots.len()
                && other.slots[place].is(key)
                && before.iter().zip(&other.slots).all(|(one, other)| other.is(one.key.as_ptr()))
        };
        self.shapes.iter().position(fits).unwrap_or(UNKNOWN)
    }

    /// Whether a dict of this size, which is of no known shape, should be learned.
    #[inline(always)]
    pub fn wants(&mut self, size: usize) -> bool {
        if size == 0 || size > MAX_KEYS {
            return false;
        }
        self.strangers = self.strangers.wrapping_add(1);
        self.shapes.len() < MAX_SHAPES || self.strangers.is_multiple_of(LEARN_EVERY)
    }

    pub fn learn(&mut self, slots: Vec<Slot>) {
        let head = (slots[0].key.as_ptr(), slots.len());
        if self.shapes.len() < MAX_SHAPES {
            self.heads.push(head);
            self.shapes.push(Shape { slots });
        } else {
            self.oldest = (self.oldest + 1) % MAX_SHAPES;
            self.heads[self.oldest] = head;
            self.shapes[self.oldest] = Shape { slots };
        }
    }
}
