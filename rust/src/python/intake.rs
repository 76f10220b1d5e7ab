//! The way of an event from Python into the outbox: check the topic, encode, append.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::encode::{EncodeError, Form, encode_payload};
use crate::core::Core;
use crate::outbox::{Message, Rejection};
use crate::topic;

/// A scratch buffer above this is not kept.
const SCRATCH_BYTES: usize = 1024 * 1024;

thread_local! {
    /// Taken for a call and put back, so that a nested call from a hook finds another, empty one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static DETAIL: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Why this thread's last message was refused, in words.
pub fn rejection_detail() -> String {
    DETAIL.with_borrow(Clone::clone)
}

/// A Python object, so that the garbage collector sees the hook, whoever shares this.
#[pyclass(frozen, module = "cascade.connectors.mqtt._native")]
pub struct Intake {
    core: Arc<Core>,
    default: Option<Py<PyAny>>,
    max_message_bytes: usize,
    batches: bool,
    /// Set in a forked child: the outbox is the parent's, and its lock may be held for ever.
    left: AtomicBool,
}

#[pymethods]
impl Intake {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.default)
    }
}

impl Intake {
    pub fn new(core: Arc<Core>, default: Option<Py<PyAny>>) -> Self {
        let (max_message_bytes, batches) = (core.config.max_message_bytes, core.config.limits.batch.is_some());
        Self { core, default, max_message_bytes, batches, left: AtomicBool::new(false) }
    }

    pub fn leave_to_parent(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// The token, 0 unless tracked, or why not. Raises only what must stop the program, such as a
    /// KeyboardInterrupt in a hook.
    pub fn offer(
        &self,
        topic: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        qos: Option<&Bound<'_, PyAny>>,
        retain: Option<&Bound<'_, PyAny>>,
        priority: bool,
        track: bool,
    ) -> PyResult<Result<u32, Rejection>> {
        if self.is_left() {
            return Ok(Err(Rejection::Forked));
        }
        let refuse = |reason, detail: String| {
            DETAIL.set(detail);
            Err(self.core.outbox.lock().reject(reason))
        };
        let name = match topic.cast::<PyString>().map(Bound::to_str) {
            Ok(Ok(name)) => name,
            Ok(Err(_)) => {
                return Ok(refuse(Rejection::InvalidTopic, "the topic holds lone surrogates".into()));
            }
            Err(_) => return Ok(refuse(Rejection::InvalidTopic, "the topic is not a str".into())),
        };
        if let Err(error) = topic::check_name(name) {
            return Ok(refuse(Rejection::InvalidTopic, error.to_string()));
        }
        // QoS 0 or absent is the common case, and asks nothing of the interpreter.
        let level = match qos.map_or(Ok(0), PyAnyMethods::extract::<u8>) {
            Ok(level) if level <= 2 => level,
            _ => return Ok(refuse(Rejection::InvalidQos, "qos must be 0, 1 or 2".into())),
        };
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let default = self.default.as_ref().map(|default| default.bind(topic.py()));
        let offered = match encode_payload(payload, default, self.max_message_bytes, &mut scratch) {
            // The hook has forked, and this is the child.
            _ if self.is_left() => Err(Rejection::Forked),
            Ok(form) => {
                let message = Message {
                    topic: name.as_bytes(),
                    payload: &scratch,
                    qos: level,
                    retain: retain.is_some_and(|retain| retain.is_truthy().unwrap_or(false)),
                    priority,
                };
                let is_event = self.batches && form == Form::Json && !(message.retain || priority || track);
                let offered = match is_event {
                    true => self.core.offer_event(&message),
                    false => self.core.offer(&message, track),
                };
                if offered.is_err() {
                    // These reasons say it all; what an earlier message was refused for does not matter now.
                    DETAIL.set(String::new());
                }
                offered
            }
            Err(EncodeError::TooLarge) => {
                refuse(Rejection::TooLarge, format!("the payload is over {} bytes", self.max_message_bytes))
            }
            Err(EncodeError::Unserialisable(why)) => refuse(Rejection::Unserialisable, why),
            Err(EncodeError::Interrupt(error)) => {
                let _: Result<u32, _> = refuse(Rejection::Unserialisable, "interrupted".into());
                return Err(error);
            }
        };
        if scratch.capacity() <= SCRATCH_BYTES {
            SCRATCH.set(scratch);
        }
        Ok(offered)
    }
}
