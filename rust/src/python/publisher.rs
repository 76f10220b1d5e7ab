//! `publish_nowait` without a Python frame of its own: the frame would cost a quarter of the call.

use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::intake::Intake;

/// What a connector calls for each message; it keeps the connector alive, as a bound method does.
#[pyclass(frozen, module = "cascade.connectors.mqtt._native")]
pub struct Publisher {
    intake: Arc<Intake>,
    refused: Py<PyAny>,
}

#[pymethods]
impl Publisher {
    /// Queue one message; returns whether it was queued. What is not goes to `refused` by its code.
    #[pyo3(signature = (topic, payload, qos=None, retain=None))]
    fn publish_nowait(
        &self,
        topic: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        qos: Option<&Bound<'_, PyAny>>,
        retain: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        match self.intake.offer(topic, payload, qos, retain, false, false)? {
            Ok(_) => Ok(true),
            Err(rejection) => self.refused.bind(topic.py()).call1((rejection as u8,))?.is_truthy(),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.refused)
    }
}

impl Publisher {
    pub fn new(intake: Arc<Intake>, refused: Py<PyAny>) -> Self {
        Self { intake, refused }
    }
}
