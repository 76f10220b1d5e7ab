//! Python's end of a subscription's queue: decoding, one message at a time.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyString};

use super::decode::{self, decode_json};
use super::dispatch;
use crate::core::{Core, InboxDrop};
use crate::events::{Event, Level};
use crate::inbox::{self, Batch, Message};
use crate::json::DecodeError;
use crate::sync::Mutex;

#[derive(Clone, Copy, Debug)]
pub enum Decode {
    Json,
    Text,
    Bytes,
}

impl Decode {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "text" => Some(Self::Text),
            "bytes" => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// The bounded inbound queue of one subscription.
#[pyclass(frozen, module = "cascade.connectors.mqtt._native")]
pub struct Inbox {
    core: Arc<Core>,
    queue: Arc<inbox::Inbox>,
    decode: Decode,
    consumer: Mutex<Consumer>,
    interrupted: AtomicBool,
}

/// What belongs to the one who takes messages out.
#[derive(Default)]
struct Consumer {
    batch: Batch,
    /// The last topic, which is most often the next one too.
    topic: Option<Py<PyString>>,
    /// Said once in a run of messages that cannot be decoded.
    complained: bool,
}

type Taken<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>, u8);

#[pymethods]
impl Inbox {
    fn take<'py>(&self, py: Python<'py>) -> Option<Taken<'py>> {
        // Never waits: only what runs within a call of this, by the garbage collector, could find it taken.
        let mut consumer = self.consumer.try_lock()?;
        let consumer = &mut *consumer;
        let mut here = None;
        loop {
            let mut batch = mem::take(&mut consumer.batch);
            let taken = self.queue.next(&mut batch, |message| self.read(py, consumer, &message));
            consumer.batch = batch;
            if let Some(message) = taken? {
                return Some(message);
            }
            // What arrives meanwhile waits for the next call: an endless run of what cannot be decoded holds up no loop.
            if self.queue.read() >= *here.get_or_insert_with(|| self.queue.given()) {
                self.queue.ring();
                return None;
            }
        }
    }

    /// Call back for up to `budget` messages: `None` where none is left, True where some may be, else the awaitable
    /// rest of a callback that suspends.
    fn serve<'py>(&self, callback: &Bound<'py, PyAny>, budget: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = callback.py();
        self.interrupted.store(false, Ordering::Relaxed);
        // What is skipped counts: it takes time as well.
        let end = self.queue.read().saturating_add(budget as u64);
        while self.queue.read() < end {
            let Some((topic, payload, _)) = self.take(py) else { return Ok(None) };
            if let Some(rest) = dispatch::call(callback, &topic, &payload)? {
                return Ok(Some(rest));
            }
            decode::take_back(payload);
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(Some(PyBool::new(py, true).to_owned().into_any()))
    }

    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn topic<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.consumer.try_lock()?.topic.as_ref().map(|topic| topic.bind(py).clone())
    }

    fn position(&self) -> u64 {
        self.queue.read()
    }
}

impl Inbox {
    pub fn new(core: Arc<Core>, queue: Arc<inbox::Inbox>, decode: Decode) -> Self {
        Self { core, queue, decode, consumer: Mutex::default(), interrupted: AtomicBool::new(false) }
    }

    fn read<'py>(&self, py: Python<'py>, consumer: &mut Consumer, message: &Message<'_>) -> Option<Taken<'py>> {
        let payload = match self.decode {
            Decode::Bytes => Ok(PyBytes::new(py, message.payload).into_any()),
            Decode::Text => std::str::from_utf8(message.payload)
                .map(|text| PyString::new(py, text).into_any())
                .map_err(|_| InboxDrop::NotUtf8),
            Decode::Json => decode_json(py, message.payload).map_err(|error| match error {
                DecodeError::NotUtf8 => InboxDrop::NotUtf8,
                DecodeError::NotJson => InboxDrop::NotJson,
                DecodeError::TooDeep => InboxDrop::TooDeep,
            }),
        };
        match payload {
            Ok(payload) => {
                consumer.complained = false;
                Some((consumer.topic(py, message.topic), payload, message.flags))
            }
            Err(reason) => {
                self.core.count_inbox_drop(reason);
                if !mem::replace(&mut consumer.complained, true) {
                    let line = format!("a message on {} was dropped: its payload {}", message.topic, words(reason));
                    self.core.events.push(Event::Log { level: Level::Warning, line });
                }
                None
            }
        }
    }
}

impl Consumer {
    fn topic<'py>(&mut self, py: Python<'py>, topic: &str) -> Bound<'py, PyString> {
        if let Some(known) = &self.topic
            && known.bind(py).to_str().is_ok_and(|known| known == topic)
        {
            return known.bind(py).clone();
        }
        let fresh = PyString::new(py, topic);
        self.topic = Some(fresh.clone().unbind());
        fresh
    }
}

fn words(reason: InboxDrop) -> &'static str {
    match reason {
        InboxDrop::NotUtf8 => "is not UTF-8",
        InboxDrop::TooDeep => "is nested too deep",
        _ => "is not JSON",
    }
}
