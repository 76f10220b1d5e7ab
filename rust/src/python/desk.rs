//! What a thread keeps of one message for the next: a buffer, the shapes of dicts, the topic.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

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
    pub levels: Levels,
}

impl Desk {
    /// Do something at this thread's, unless a call around this one has it.
    #[inline(always)]
    pub fn at<R>(py: Python<'_>, work: impl FnOnce(&mut Self) -> R) -> R {
        // Finding what is the thread's takes a call: once for both ways.
        DESK.with(|place| {
            let mut desk = place.take().unwrap_or_else(|| Self::new(py));
            let done = work(&mut desk);
            if desk.buffer.capacity() > BUFFER_BYTES {
                desk.buffer = Vec::new();
            }
            place.set(Some(desk));
            done
        })
    }

    #[cold]
    pub fn new(py: Python<'_>) -> Box<Self> {
        let (buffer, shapes) = (Vec::new(), Shapes::new(py));
        Box::new(Self { buffer, shapes, topic: Topic(None), levels: Levels::new(py) })
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

/// The ints 0, 1 and 2, which are the same objects everywhere: a quality of service that need not be asked for its value.
pub struct Levels([Py<PyInt>; 3]);

impl Levels {
    fn new(py: Python<'_>) -> Self {
        Self([0u8, 1, 2].map(|level| PyInt::new(py, level).unbind()))
    }

    /// None for what is no quality of service (MQTT 3.1.1 section 4.3).
    #[inline(always)]
    pub fn of(&self, qos: &Bound<'_, PyAny>) -> Option<u8> {
        match self.0.iter().position(|level| level.as_ptr() == qos.as_ptr()) {
            Some(level) => Some(level as u8),
            None => qos.extract().ok().filter(|level| *level <= 2),
        }
    }
}
