//! The handle that Python holds. Nothing here waits; no Python runs under a lock.

use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBool, PyByteArray, PyDict, PyString};

use super::completed::Completed;
use super::inbox::{Decode, Inbox};
use super::intake::{self, Intake};
use super::notifier::Notifier;
use super::options::{Options, duration};
use super::publisher::{Answer, Publisher};
use crate::clock;
use crate::config::Will;
use crate::core::{Command, Core};
use crate::events::Event;
use crate::inbox;

#[pyclass(frozen, module = "cascade.connectors.mqtt._native")]
pub struct Client {
    core: Arc<Core>,
    intake: Py<Intake>,
    process: u32,
}

#[pymethods]
impl Client {
    #[new]
    fn new(py: Python<'_>, options: Options) -> PyResult<Self> {
        let (config, default) = options.into_config()?;
        let core = Core::new(config);
        let intake = Py::new(py, Intake::new(Arc::clone(&core), default))?;
        Ok(Self { core, intake, process: process::id() })
    }

    fn attach(&self, notifier: &Notifier, client: u32) {
        self.core.bell.attach(notifier.shared(), client);
        self.core.events.ring_if_waiting();
    }

    fn detach(&self) {
        self.core.bell.detach();
    }

    fn start(&self, will_topic: String, will_payload: Vec<u8>, will_qos: u8, will_retain: bool) -> PyResult<()> {
        let will = (!will_topic.is_empty()).then_some(Will {
            topic: will_topic,
            payload: will_payload,
            qos: will_qos,
            retain: will_retain,
        });
        self.core.start(will).map_err(|error| PyOSError::new_err(error.to_string()))
    }

    fn stop(&self, timeout_s: f64, goodbye: bool) {
        self.core.command(Command::Stop { timeout: duration(timeout_s), goodbye });
    }

    #[pyo3(signature = (topic, payload, qos, retain, priority=false))]
    fn publish<'py>(
        &self,
        topic: &Bound<'py, PyAny>,
        payload: &Bound<'py, PyAny>,
        qos: &Bound<'py, PyAny>,
        retain: &Bound<'py, PyAny>,
        priority: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = topic.py();
        match self.intake.get().offer(topic, payload, Some(qos), Some(retain), priority, false)? {
            // False is 0, and the interpreter tests it without a call.
            Ok(_) => Ok(PyBool::new(py, false).to_owned().into_any()),
            Err(rejection) => Ok((rejection as u8).into_pyobject(py)?.into_any()),
        }
    }

    fn publish_tracked(
        &self,
        topic: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        qos: &Bound<'_, PyAny>,
        retain: &Bound<'_, PyAny>,
    ) -> PyResult<(u8, u32)> {
        let offered = self.intake.get().offer(topic, payload, Some(qos), Some(retain), true, true)?;
        Ok(offered.map_or_else(|rejection| (rejection as u8, 0), |token| (0, token)))
    }

    /// `publish_nowait` as one callable; `refused` is called with the code of what is not queued, unless
    /// `said` holds 1 there, and `method` with the whole call in a forked child, or where the arguments are wrong.
    fn publisher<'py>(
        &self,
        py: Python<'py>,
        refused: Py<PyAny>,
        said: Py<PyByteArray>,
        method: Py<PyAny>,
    ) -> PyResult<Bound<'py, Publisher>> {
        Publisher::make(py, self.intake.clone_ref(py), Answer::Now { refused, said }, method)
    }

    /// `publish`, likewise; `not_queued` returns the awaitable for what is not queued, by code and arguments.
    fn awaitable_publisher<'py>(
        &self,
        py: Python<'py>,
        not_queued: Py<PyAny>,
        method: Py<PyAny>,
    ) -> PyResult<Bound<'py, Publisher>> {
        let answer = Answer::Awaitable { completed: Completed::make(py)?, not_queued };
        Publisher::make(py, self.intake.clone_ref(py), answer, method)
    }

    /// In a forked child: nothing that is published goes to what the parent has.
    fn leave_to_parent(&self) {
        self.intake.get().leave_to_parent();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.intake)
    }

    fn rejection_detail(&self) -> String {
        intake::rejection_detail()
    }

    fn withdraw(&self, token: u32) -> bool {
        self.core.withdraw(token)
    }

    fn subscribe(
        &self,
        subscription: u32,
        topic_filter: String,
        qos: u8,
        decode: &str,
        batches: bool,
    ) -> PyResult<Inbox> {
        let decode = Decode::from_name(decode)
            .ok_or_else(|| PyValueError::new_err("decode must be 'json', 'text' or 'bytes'"))?;
        let config = &self.core.config;
        let inbox = Arc::new(inbox::Inbox::new(
            subscription,
            batches,
            config.max_inbox_bytes,
            config.max_inbox_messages,
            Arc::clone(&self.core.bell),
        ));
        self.core.command(Command::Subscribe { inbox: Arc::clone(&inbox), filter: topic_filter, qos });
        Ok(Inbox::new(Arc::clone(&self.core), inbox, decode))
    }

    fn unsubscribe(&self, subscription: u32) {
        self.core.command(Command::Unsubscribe { subscription });
    }

    fn flush(&self) -> u32 {
        self.core.begin_flush()
    }

    fn flush_left(&self, token: u32) -> usize {
        self.core.flush_left(token)
    }

    fn end_flush(&self, token: u32) {
        self.core.end_flush(token);
    }

    fn beat(&self, alive_s: f64) {
        self.core.beat(duration(alive_s));
    }

    fn events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.core.events.take().into_iter().map(|event| triple(py, event)).collect()
    }

    /// Ring the notifier once, at the next event; false where one waits already.
    fn watch(&self, notifier: &Notifier) -> bool {
        self.core.events.watch(notifier.shared())
    }

    /// End a watch; returns whether an event waits.
    fn unwatch(&self, notifier: &Notifier) -> bool {
        self.core.events.unwatch(&notifier.shared())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        let map = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| -> PyResult<Bound<'py, PyDict>> {
            let counts = PyDict::new(py);
            for (reason, count) in pairs {
                counts.set_item(reason, count)?;
            }
            Ok(counts)
        };
        let status = self.core.status();
        stats.set_item("protocol", "3.1.1")?;
        stats.set_item("connected", status.connected_since.is_some())?;
        stats.set_item("connected_since", status.connected_since)?;
        stats.set_item("received", self.core.received.load(Ordering::Relaxed))?;
        stats.set_item("inbox_dropped", map(&mut self.core.inbox_dropped())?)?;
        stats.set_item("reconnects", status.reconnects)?;
        stats.set_item("last_error", status.last_error)?;
        // One lock, one moment: the identities of the account hold.
        let (counters, queued_events, queued_bytes, in_flight, oldest) = {
            let outbox = self.core.outbox.lock();
            (
                outbox.counters().clone(),
                outbox.queued_events(),
                outbox.allocated(),
                outbox.in_flight_events(),
                outbox.oldest_waiting_ms(),
            )
        };
        let age_ms = oldest.map_or(0, |born| clock::now_ms().wrapping_sub(born));
        stats.set_item("submitted", counters.submitted)?;
        stats.set_item("rejected", map(&mut counters.rejected())?)?;
        stats.set_item("accepted", counters.accepted)?;
        stats.set_item("written", counters.written)?;
        stats.set_item("acknowledged", counters.acknowledged)?;
        stats.set_item("uncertain", counters.uncertain)?;
        stats.set_item("dropped", map(&mut counters.dropped())?)?;
        stats.set_item("queued_events", queued_events)?;
        stats.set_item("queued_bytes", queued_bytes)?;
        stats.set_item("in_flight", in_flight)?;
        stats.set_item("oldest_queued_s", f64::from(age_ms) / 1000.0)?;
        Ok(stats)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if process::id() == self.process {
            self.core.command(Command::Stop { timeout: Duration::ZERO, goodbye: false });
        } else {
            // A child of a fork: what it inherited belongs to the parent's thread, and is left alone.
            std::mem::forget(Arc::clone(&self.core));
        }
    }
}

/// An event as `(kind, token, detail)`.
fn triple<'py>(py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyAny>> {
    let none = py.None().into_bound(py);
    let text = |text: String| PyString::new(py, &text).into_any();
    let number = |number: u64| number.into_pyobject(py).map(Bound::into_any);
    let (kind, token, detail) = match event {
        Event::Connected { session_present } => ("connected", u32::from(session_present), text("3.1.1".into())),
        Event::Failed { permanent, why } => ("failed", u32::from(permanent), text(why)),
        Event::Disconnected { why } => ("disconnected", 0, text(why)),
        Event::Subscribed { subscription, code } => ("subscribed", subscription, number(code.into())?),
        Event::Retained { subscription, given } => ("retained", subscription, number(given)?),
        Event::Unsubscribed { subscription } => ("unsubscribed", subscription, none),
        Event::Acknowledged { token } => ("acknowledged", token, none),
        Event::GivenUp { token, why } => ("given_up", token, text(why.into())),
        Event::Flushed { token } => ("flushed", token, none),
        Event::Space => ("space", 0, none),
        Event::Full => ("full", 0, none),
        Event::Drained { dropped } => ("drained", 0, number(dropped)?),
        Event::Gap(gap) => {
            let lost = gap.lost.into_py_dict(py)?;
            ("gap", 0, (gap.topic, lost, gap.since, gap.until).into_pyobject(py)?.into_any())
        }
        Event::Stopped => ("stopped", 0, none),
        Event::Log { level, line } => ("log", level as u32, text(line)),
    };
    Ok((kind, token, detail).into_pyobject(py)?.into_any())
}
