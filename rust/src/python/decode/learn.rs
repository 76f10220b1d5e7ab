//! A template from a message that the parser has read.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::scan;
use super::template::{Field, Frame, MAX_FIELDS, MAX_FRAMES, Template};

/// `None` for what templates do not hold: lists, escapes, a key that comes twice, too much of it.
///
/// `whole` is the message as the parser read it; its values are the template's.
#[cold]
pub fn template(py: Python<'_>, data: &[u8], whole: &Bound<'_, PyDict>) -> Option<Template> {
    let mut learner = Learner { py, data, at: 0, literal: 0, frames: Vec::new(), fields: Vec::new() };
    learner.space();
    learner.object(whole, 0, PyString::intern(py, "").unbind())?;
    learner.space();
    let Learner { at, literal, frames, fields, .. } = learner;
    if at < data.len() {
        return None;
    }
    Template::new(py, frames, fields, data[literal..].into())
}

struct Learner<'a, 'py> {
    py: Python<'py>,
    data: &'a [u8],
    at: usize,
    /// Where the bytes before the next value begin.
    literal: usize,
    frames: Vec<Frame>,
    fields: Vec<Field>,
}

impl Learner<'_, '_> {
    fn object(&mut self, dict: &Bound<'_, PyDict>, parent: usize, key: Py<PyString>) -> Option<()> {
        let frame = self.frames.len();
        if frame == MAX_FRAMES {
            return None;
        }
        let template = PyDict::new(self.py);
        self.frames.push(Frame { dict: template.clone().unbind(), parent, key });
        self.byte(b'{')?;
        self.space();
        if self.byte(b'}').is_some() {
            return dict.is_empty().then_some(());
        }
        loop {
            let (name, end) = scan::key(self.data, self.at)?;
            let name = PyString::intern(self.py, name);
            self.at = end;
            self.space();
            self.byte(b':')?;
            self.space();
            let value = dict.get_item(&name).ok()??;
            if template.contains(&name).ok()? {
                return None;
            }
            if let Ok(inner) = value.cast_exact::<PyDict>() {
                // A place is kept for the copy.
                template.set_item(&name, self.py.None()).ok()?;
                self.object(inner, frame, name.unbind())?;
            } else {
                template.set_item(&name, value).ok()?;
                self.field(frame, name.unbind())?;
            }
            self.space();
            if self.byte(b',').is_none() {
                break;
            }
            self.space();
        }
        self.byte(b'}')?;
        (template.len() == dict.len()).then_some(())
    }

    fn field(&mut self, frame: usize, key: Py<PyString>) -> Option<()> {
        if self.fields.len() == MAX_FIELDS {
            return None;
        }
        let (_, end) = scan::leaf(self.data, self.at)?;
        self.fields.push(Field {
            literal: self.data[self.literal..self.at].into(),
            frame,
            key,
            bytes: self.data[self.at..end].into(),
            varies: false,
        });
        (self.at, self.literal) = (end, end);
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.data.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// RFC 8259 section 2.
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.data.get(self.at) {
            self.at += 1;
        }
    }
}
