//! What `await connector.publish(…)` awaits when there is nothing to wait for.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, ffi};

/// A coroutine that has come to its end, with None: one object for all calls, where the interpreter would make a
/// coroutine and a frame for each. To the abstract base classes, and so to asyncio's tasks, it is a coroutine.
#[pyclass(frozen, module = "cascade.connectors.mqtt._native")]
pub struct Completed;

#[pymethods]
impl Completed {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyStopIteration::new_err(()))
    }

    /// As a coroutine that has not begun: what is thrown in comes out.
    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = traceback;
        Err(PyErr::from_value(value.unwrap_or(kind)))
    }

    fn close(&self) {}
}

impl Completed {
    pub fn make(py: Python<'_>) -> PyResult<Py<Self>> {
        let class = Self::type_object_raw(py);
        // What `await` calls: two functions that do nothing need nothing around them.
        // SAFETY: slots of a class that is ours, with functions of their types; whoever is attached may set them.
        unsafe {
            (*(*class).tp_as_async).am_await = Some(ffi::PyObject_SelfIter);
            (*class).tp_iternext = Some(ended);
        }
        Py::new(py, Self)
    }
}

/// Null without an exception: the end, with None.
unsafe extern "C" fn ended(_completed: *mut ffi::PyObject) -> *mut ffi::PyObject {
    std::ptr::null_mut()
}
