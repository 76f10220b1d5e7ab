//! Python's end of a subscription's queue: decoding, one message at a time.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::decode::decode_json;
use crate::core::{Core, InboxDrop};
use crate::events::{Event, Level};
use crate::inbox::{self, Batch, Message};
use crate::json::DecodeError;

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
#[pyclass(module = "cascade.connectors.mqtt._native")]
pub struct Inbox {
    core: Arc<Core>,
    queue: Arc<inbox::Inbox>,
    decode: Decode,
    batch: Batch,
    /// The last topic, which is most often the next one too.
    topic: Option<Py<PyString>>,
    /// Said once in a run of messages that cannot be decoded.
    complained: bool,
}

type Taken<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>, u8);

#[pymethods]
impl Inbox {
    fn take<'py>(&mut self, py: Python<'py>) -> Option<Taken<'py>> {
        loop {
            let mut batch = std::mem::take(&mut self.batch);
            let queue = Arc::clone(&self.queue);
            let taken = queue.next(&mut batch, |message| self.read(py, &message));
            self.batch = batch;
            match taken? {
                Some(message) => return Some(message),
                None => continue,
            }
        }
    }

    fn position(&self) -> u64 {
        self.queue.read()
    }
}

impl Inbox {
    pub fn new(core: Arc<Core>, queue: Arc<inbox::Inbox>, decode: Decode) -> Self {
        Self { core, queue, decode, batch: Batch::default(), topic: None, complained: false }
    }

    fn read<'py>(&mut self, py: Python<'py>, message: &Message<'_>) -> Option<Taken<'py>> {
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
                self.complained = false;
                Some((self.topic(py, message.topic), payload, message.flags))
            }
            Err(reason) => {
                self.core.count_inbox_drop(reason);
                if !std::mem::replace(&mut self.complained, true) {
                    let line = format!("a message on {} was dropped: its payload {}", message.topic, words(reason));
                    self.core.events.push(Event::Log { level: Level::Warning, line });
                }
                None
            }
        }
    }

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
