//! Messages that look alike: what lies between their values is compared as bytes, and a copy of the last dict gets
//! the values that have changed.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::learn;
use super::scan;

/// Templates that a thread remembers.
const MAX_TEMPLATES: usize = 8;
/// Where all places are taken, one in so many unknown messages is learned.
const LEARN_EVERY: u32 = 256;
/// A value that was another one so many times is not compared any more, until the next refreshment.
const MAX_MISSES: u8 = 4;
const REFRESH_EVERY: u32 = 1024;
/// What a template may hold.
pub const MAX_BYTES: usize = 4096;
pub const MAX_FIELDS: usize = 32;
pub const MAX_FRAMES: usize = 8;

thread_local! {
    /// Taken for a call and put back: what the garbage collector runs within a call finds another, empty one.
    static TEMPLATES: Cell<Option<Box<Templates>>> = const { Cell::new(None) };
}

/// One dict of a message: the whole, or one within.
pub struct Frame {
    /// All keys, with the last values known.
    pub dict: Py<PyDict>,
    /// The frame around it, which comes before it, and the key there; of no meaning for the first.
    pub parent: usize,
    pub key: Py<PyString>,
}

/// One value, and the bytes before it.
pub struct Field {
    pub literal: Vec<u8>,
    pub frame: usize,
    pub key: Py<PyString>,
    /// The value in the frame's dict, as it was written.
    pub bytes: Vec<u8>,
    pub is_number: bool,
    pub misses: u8,
}

impl Field {
    /// Where the value ends if it is the one that is known.
    #[inline]
    fn unchanged(&self, data: &[u8], at: usize) -> Option<usize> {
        if self.misses >= MAX_MISSES || !data[at..].starts_with(&self.bytes) {
            return None;
        }
        let end = at + self.bytes.len();
        (!self.is_number || !scan::continues_number(data.get(end))).then_some(end)
    }
}

pub struct Template {
    pub frames: Vec<Frame>,
    pub fields: Vec<Field>,
    /// What stands behind the last value.
    pub tail: Vec<u8>,
    pub uses: u32,
}

impl Template {
    /// The message as a dict, or `None` where it is of another form.
    #[inline]
    fn decode<'py>(&mut self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyDict>> {
        let mut changed: [Option<Bound<'py, PyAny>>; MAX_FIELDS] = [const { None }; MAX_FIELDS];
        let mut at = 0;
        for (field, changed) in self.fields.iter_mut().zip(&mut changed) {
            if !data[at..].starts_with(&field.literal) {
                return None;
            }
            at += field.literal.len();
            if let Some(end) = field.unchanged(data, at) {
                at = end;
                continue;
            }
            let (leaf, end) = scan::leaf(data, at)?;
            *changed = Some(leaf.to_object(py));
            field.misses = field.misses.saturating_add(1);
            at = end;
        }
        if data[at..] != *self.tail {
            return None;
        }
        let whole = self.build(py, changed)?;
        self.uses = self.uses.wrapping_add(1);
        if self.uses.is_multiple_of(REFRESH_EVERY) {
            self.refresh(py, data, &whole);
        }
        Some(whole)
    }

    #[inline]
    fn build<'py>(
        &self,
        py: Python<'py>,
        changed: [Option<Bound<'py, PyAny>>; MAX_FIELDS],
    ) -> Option<Bound<'py, PyDict>> {
        let mut copies: [Option<Bound<'py, PyDict>>; MAX_FRAMES] = [const { None }; MAX_FRAMES];
        for (place, frame) in self.frames.iter().enumerate() {
            let copy = frame.dict.bind(py).copy().ok()?;
            if place > 0 {
                copies[frame.parent].as_ref()?.set_item(&frame.key, &copy).ok()?;
            }
            copies[place] = Some(copy);
        }
        for (field, value) in self.fields.iter().zip(changed) {
            if let Some(value) = value {
                copies[field.frame].as_ref()?.set_item(&field.key, value).ok()?;
            }
        }
        copies[0].take()
    }

    /// What had changed too often may have come to rest: compare with the values of this message from now on.
    #[cold]
    fn refresh(&mut self, py: Python<'_>, data: &[u8], whole: &Bound<'_, PyDict>) {
        if data.len() <= MAX_BYTES
            && let Some(fresh) = learn::template(py, data, whole)
        {
            *self = Self { uses: self.uses, ..fresh };
        }
    }
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
        let last = self.last;
        if let Some(dict) = self.known.get_mut(last)?.decode(py, data) {
            return Some(dict);
        }
        let others = self.known.iter_mut().enumerate().filter(|(place, _)| *place != last);
        let (place, dict) = others.filter_map(|(place, known)| Some((place, known.decode(py, data)?))).next()?;
        self.last = place;
        Some(dict)
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
