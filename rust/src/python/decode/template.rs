//! Messages that look alike: what lies between the values that change is compared as bytes, in one piece.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::given::Given;
use super::learn;
use super::scan::{self, Leaf};

/// How often it is looked which values have come to rest.
const REFRESH_EVERY: u32 = 1024;
/// What a template may hold.
pub const MAX_BYTES: usize = 4096;
pub const MAX_FIELDS: usize = 32;
pub const MAX_FRAMES: usize = 8;

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
    /// It has been another one since the template was learned.
    pub varies: bool,
}

/// A value that varies, and all bytes since the one before it.
struct Gap {
    before: Vec<u8>,
    field: usize,
}

pub struct Template {
    pub frames: Vec<Frame>,
    pub fields: Vec<Field>,
    /// What stands behind the last value.
    tail: Vec<u8>,
    gaps: Vec<Gap>,
    /// What stands behind the last value that varies.
    end: Vec<u8>,
    given: Given,
    uses: u32,
}

/// The values that a message has in the gaps of a template.
pub type Leaves<'a> = [Leaf<'a>; MAX_FIELDS];

impl Template {
    pub fn new(py: Python<'_>, frames: Vec<Frame>, fields: Vec<Field>, tail: Vec<u8>) -> Option<Self> {
        let given = Given::new(py, &frames, &fields)?;
        let mut template = Self { frames, fields, tail, gaps: Vec::new(), end: Vec::new(), given, uses: 0 };
        template.join();
        Some(template)
    }

    /// Join what lies between the values that vary.
    fn join(&mut self) {
        let mut before = Vec::new();
        self.gaps.clear();
        for (place, field) in self.fields.iter().enumerate() {
            before.extend_from_slice(&field.literal);
            if field.varies {
                self.gaps.push(Gap { before: std::mem::take(&mut before), field: place });
            } else {
                before.extend_from_slice(&field.bytes);
            }
        }
        before.extend_from_slice(&self.tail);
        self.end = before;
    }

    /// The message as a dict, or `None` where it is of another form, or another value has changed.
    #[inline]
    pub fn decode<'py>(&mut self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyDict>> {
        let mut leaves: Leaves = [Leaf::Null; MAX_FIELDS];
        let mut at = 0;
        for (gap, leaf) in self.gaps.iter().zip(&mut leaves) {
            if !data[at..].starts_with(&gap.before) {
                return None;
            }
            (*leaf, at) = scan::leaf(data, at + gap.before.len())?;
        }
        if data[at..] != *self.end {
            return None;
        }
        self.build(py, data, &leaves)
    }

    /// The same where any value may have changed: those that have are looked for from now on.
    #[cold]
    pub fn decode_anew<'py>(&mut self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyDict>> {
        let mut varying = 0u32;
        let mut at = 0;
        for (place, field) in self.fields.iter().enumerate() {
            if !data[at..].starts_with(&field.literal) {
                return None;
            }
            let start = at + field.literal.len();
            (_, at) = scan::leaf(data, start)?;
            varying |= u32::from(data[start..at] != field.bytes) << place;
        }
        if data[at..] != self.tail {
            return None;
        }
        for (place, field) in self.fields.iter_mut().enumerate() {
            field.varies |= varying >> place & 1 == 1;
        }
        self.join();
        self.decode(py, data)
    }

    #[inline]
    fn build<'py>(&mut self, py: Python<'py>, data: &[u8], leaves: &Leaves<'_>) -> Option<Bound<'py, PyDict>> {
        let whole = self.given.whole(py, &self.frames)?;
        for (gap, leaf) in self.gaps.iter().zip(leaves) {
            let field = &self.fields[gap.field];
            self.given.set(py, field.frame, &field.key, gap.field, *leaf)?;
        }
        // A large one is not kept for the next.
        self.given.seal(if data.len() > MAX_BYTES { 0 } else { self.frames.len() });
        self.uses = self.uses.wrapping_add(1);
        if self.uses.is_multiple_of(REFRESH_EVERY) {
            self.refresh(py, data, &whole);
        }
        Some(whole)
    }

    /// Nobody else has this dict any more; it may be one that was given.
    #[inline]
    pub fn take_back(&mut self, whole: Bound<'_, PyDict>) {
        self.given.take_back(whole, self.frames.len());
    }

    /// What had changed may have come to rest: compare with the values of this message from now on.
    #[cold]
    fn refresh(&mut self, py: Python<'_>, data: &[u8], whole: &Bound<'_, PyDict>) {
        if data.len() <= MAX_BYTES
            && let Some(fresh) = learn::template(py, data, whole)
        {
            *self = Self { uses: self.uses, ..fresh };
        }
    }
}
