//! What a thread keeps of one message for the next: a buffer, the shapes of dicts, the topic.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::encode::Shapes;
use crate::topic;

/// A buffer above this is not kept.
const BUFFER_BYTES: usize = 1024 * 1024;

thread_local! {
    /// Taken for a call and put back, so that a nested call from a hook finds another, empty one.
    static DESK: Cell<Option<Box<Desk>>> = const { Cell::new(None) };
}

pub struct Desk {
    pub buffer: Vec<u8>,
    pub shapes: Shapes,
    pub topic: Topic,
}

impl Desk {
    /// This thread's, unless a call around this one has it.
    #[inline(always)]
    pub fn take(py: Python<'_>) -> Box<Self> {
        DESK.take().unwrap_or_else(|| Self::new(py))
    }

    #[cold]
    pub fn new(py: Python<'_>) -> Box<Self> {
        Box::new(Self { buffer: Vec::new(), shapes: Shapes::new(py), topic: Topic(None) })
    }

    #[inline(always)]
    pub fn put_back(mut self: Box<Self>) {
        if self.buffer.capacity() > BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        DESK.set(Some(self));
    }
}

/// The last topic that was published to: the same object need not be checked again.
pub struct Topic(Option<(Py<PyString>, *const [u8])>);

impl Topic {
    /// A valid topic's UTF-8, or in words what is wrong with it.
    #[inline(always)]
    pub fn name(&mut self, topic: &Bound<'_, PyAny>) -> Result<&[u8], String> {
        if self.0.as_ref().is_none_or(|(known, _)| known.as_ptr() != topic.as_ptr()) {
            self.learn(topic)?;
        }
        // SAFETY: what a str holds as its UTF-8 stays as long as the str, and that is held here.
        Ok(self.0.as_ref().map_or(&[], |(_, name)| unsafe { &**name }))
    }

    #[inline(never)]
    fn learn(&mut self, topic: &Bound<'_, PyAny>) -> Result<(), String> {
        let string = topic.cast::<PyString>().map_err(|_| "the topic is not a str")?;
        let name = string.to_str().map_err(|_| "the topic holds lone surrogates")?;
        topic::check_name(name).map_err(|error| error.to_string())?;
        self.0 = Some((string.clone().unbind(), name.as_bytes()));
        Ok(())
    }
}
