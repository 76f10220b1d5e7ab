//! `publish_nowait` without a Python frame of its own: the frame would cost a quarter of the call.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use super::intake::Intake;

/// What a connector calls for each message; it keeps the connector alive, as a bound method does.
#[pyclass(frozen, module = "cascade.connectors.mqtt._native")]
pub struct Publisher {
    intake: Py<Intake>,
    refused: Py<PyAny>,
    /// By code: 1 where `refused` has said it already. Python that runs under a frame of this file could be
    /// ended there with its daemon thread, and the process with it.
    said: Py<PyByteArray>,
    elsewhere: Py<PyAny>,
}

#[pymethods]
impl Publisher {
    /// Queue one message; returns whether it was queued. What is not goes to `refused` by its code;
    /// in a forked child `elsewhere` gets the call.
    #[pyo3(signature = (topic, payload, qos=None, retain=None))]
    fn publish_nowait(
        &self,
        topic: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        qos: Option<&Bound<'_, PyAny>>,
        retain: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let py = topic.py();
        if self.intake.get().is_left() {
            let (qos, retain) = (qos.map(Bound::as_any), retain.map(Bound::as_any));
            let qos = qos.cloned().unwrap_or(0u8.into_pyobject(py)?.into_any());
            let retain = retain.is_some_and(|retain| retain.is_truthy().unwrap_or(false));
            return self.elsewhere.bind(py).call1((topic, payload, qos, retain))?.is_truthy();
        }
        match self.intake.get().offer(topic, payload, qos, retain, false, false)? {
            Ok(_) => Ok(true),
            Err(rejection) if self.is_said(py, rejection as usize) => Ok(false),
            Err(rejection) => self.refused.bind(py).call1((rejection as u8,))?.is_truthy(),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.intake)?;
        visit.call(&self.refused)?;
        visit.call(&self.elsewhere)
    }
}

impl Publisher {
    pub fn new(intake: Py<Intake>, refused: Py<PyAny>, said: Py<PyByteArray>, elsewhere: Py<PyAny>) -> Self {
        Self { intake, refused, said, elsewhere }
    }

    fn is_said(&self, py: Python<'_>, code: usize) -> bool {
        // SAFETY: the interpreter is attached, and no Python runs while the bytes are borrowed.
        unsafe { self.said.bind(py).as_bytes() }.get(code) == Some(&1)
    }
}
