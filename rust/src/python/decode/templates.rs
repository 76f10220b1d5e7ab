//! The templates that a thread remembers, the one that fitted last before the others.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::learn;
use super::template::{MAX_BYTES, Template};

const MAX_TEMPLATES: usize = 8;
/// Where all places are taken, one in so many unknown messages is learned.
const LEARN_EVERY: u32 = 256;

thread_local! {
    /// Taken for a call and put back: what the garbage collector runs within a call finds another, empty one.
    static TEMPLATES: Cell<Option<Box<Templates>>> = const { Cell::new(None) };
}

#[derive(Default)]
pub struct Templates {
    known: Vec<Template>,
    /// The one that fitted last, most often the next one too.
    last: usize,
    strangers: u32,
}

impl Templates {
    /// This thread's, unless a call around this one has it.
    pub fn take() -> Box<Self> {
        TEMPLATES.take().unwrap_or_default()
    }

    pub fn put_back(self: Box<Self>) {
        TEMPLATES.set(Some(self));
    }

    #[inline]
    pub fn decode<'py>(&mut self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyDict>> {
        if let Some(dict) = self.known.get_mut(self.last)?.decode(py, data) {
            return Some(dict);
        }
        self.decode_otherwise(py, data)
    }

    #[inline(never)]
    fn decode_otherwise<'py>(&mut self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyDict>> {
        for decode in [Template::decode, Template::decode_anew] {
            for (place, known) in self.known.iter_mut().enumerate() {
                if let Some(dict) = decode(known, py, data) {
                    self.last = place;
                    return Some(dict);
                }
            }
        }
        None
    }

    /// A message that nobody holds any longer: the next one may be written over it.
    #[inline]
    pub fn take_back(&mut self, whole: Bound<'_, PyDict>) {
        if let Some(known) = self.known.get_mut(self.last) {
            known.take_back(whole);
        }
    }

    /// See whether the next messages look like this one, which was read by the parser.
    #[inline]
    pub fn note(&mut self, data: &[u8], value: &Bound<'_, PyAny>) {
        if data.len() > MAX_BYTES || data.first() != Some(&b'{') {
            return;
        }
        self.strangers = self.strangers.wrapping_add(1);
        if self.known.len() == MAX_TEMPLATES && !self.strangers.is_multiple_of(LEARN_EVERY) {
            return;
        }
        let Ok(whole) = value.cast_exact::<PyDict>() else { return };
        let Some(template) = learn::template(value.py(), data, whole) else { return };
        if self.known.len() < MAX_TEMPLATES {
            self.last = self.known.len();
            self.known.push(template);
        } else {
            self.last = (self.last + 1) % MAX_TEMPLATES;
            self.known[self.last] = template;
        }
    }
}
