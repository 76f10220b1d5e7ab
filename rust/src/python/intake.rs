//! The way of an event from Python into the outbox: check the topic, encode, append.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::desk::Desk;
use super::encode::{EncodeError, Form, encode_payload};
use crate::core::Core;
use crate::outbox::{Message, Rejection};

thread_local! {
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

/// The token, 0 unless tracked, or why there is none. Raises only what must stop the program, such as a
/// KeyboardInterrupt in a hook.
pub type Offered = PyResult<Result<u32, Rejection>>;

/// What `publish` was called with.
struct Call<'a, 'py> {
    topic: &'a Bound<'py, PyAny>,
    payload: &'a Bound<'py, PyAny>,
    qos: Option<&'a Bound<'py, PyAny>>,
    retain: Option<&'a Bound<'py, PyAny>>,
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

    #[inline]
    pub fn offer(
        &self,
        topic: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        qos: Option<&Bound<'_, PyAny>>,
        retain: Option<&Bound<'_, PyAny>>,
        priority: bool,
        track: bool,
    ) -> Offered {
        if self.is_left() {
            return Ok(Err(Rejection::Forked));
        }
        Desk::at(topic.py(), |desk| self.offer_from(desk, &Call { topic, payload, qos, retain }, priority, track))
    }

    #[inline(always)]
    fn offer_from(
        &self,
        desk: &mut Desk,
        &Call { topic, payload, qos, retain }: &Call<'_, '_>,
        priority: bool,
        track: bool,
    ) -> Offered {
        let Desk { buffer, shapes, topic: known, levels } = desk;
        let name = match known.name(topic) {
            Ok(name) => name,
            Err(why) => return Ok(self.refuse(Rejection::InvalidTopic, why)),
        };
        let Some(level) = qos.map_or(Some(0), |qos| levels.of(qos)) else {
            return Ok(self.refuse(Rejection::InvalidQos, "qos must be 0, 1 or 2".into()));
        };
        let default = self.default.as_ref().map(|default| default.bind(topic.py()));
        buffer.clear();
        let encoded = encode_payload(payload, default, self.max_message_bytes, shapes, buffer);
        if self.is_left() {
            // The hook has forked, and this is the child.
            return Ok(Err(Rejection::Forked));
        }
        let form = match encoded {
            Ok(form) => form,
            Err(stop) => return self.refuse_payload(*stop),
        };
        let message = Message {
            topic: name,
            payload: buffer,
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
        Ok(offered)
    }

    #[cold]
    fn refuse(&self, reason: Rejection, why: String) -> Result<u32, Rejection> {
        DETAIL.set(why);
        Err(self.core.outbox.lock().reject(reason))
    }

    #[cold]
    fn refuse_payload(&self, error: EncodeError) -> Offered {
        match error {
            EncodeError::TooLarge => {
                let why = format!("the payload is over {} bytes", self.max_message_bytes);
                Ok(self.refuse(Rejection::TooLarge, why))
            }
            EncodeError::Unserialisable(why) => Ok(self.refuse(Rejection::Unserialisable, why)),
            EncodeError::Interrupt(error) => {
                let _: Result<u32, _> = self.refuse(Rejection::Unserialisable, "interrupted".into());
                Err(error)
            }
        }
    }
}
