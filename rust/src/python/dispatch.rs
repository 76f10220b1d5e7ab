//! One call of a subscription's callback, and the first step of the coroutine that it may return.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// Call the callback. `None`: it is through; else what is to be awaited until it is.
///
/// A coroutine that does not suspend, as most do not, ends here: a step taken by the interpreter costs more than all
/// the rest of a message.
pub fn call<'py>(
    callback: &Bound<'py, PyAny>,
    topic: &Bound<'py, PyString>,
    payload: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = callback.py();
    let result = callback.call1((topic, payload))?;
    if result.is_none() {
        return Ok(None);
    }
    // SAFETY: the check looks at the type of a living object alone.
    if unsafe { ffi::PyCoro_CheckExact(result.as_ptr()) } == 0 {
        let awaitable = function(py, &IS_AWAITABLE, "inspect", "isawaitable")?.call1((&result,))?.is_truthy()?;
        return Ok(awaitable.then_some(result));
    }
    let mut step = ptr::null_mut();
    // SAFETY: both are living objects, and the interpreter's thread state is ours. What is written to `step` is a new
    // reference, or NULL together with an exception.
    let (sent, step) = unsafe {
        let sent = ffi::PyIter_Send(result.as_ptr(), py.None().as_ptr(), &raw mut step);
        (sent, Bound::from_owned_ptr_or_opt(py, step))
    };
    match (sent, step) {
        (ffi::PySendResult::PYGEN_RETURN, _) => Ok(None),
        (ffi::PySendResult::PYGEN_NEXT, Some(waits_for)) => {
            let rest = function(py, &REST, "cascade.connectors.mqtt.backends.rest", "rest")?;
            rest.call1((result, waits_for)).map(Some)
        }
        _ => Err(PyErr::fetch(py)),
    }
}

static IS_AWAITABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static REST: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn function<'py>(
    py: Python<'py>,
    known: &'static PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let function = known.get_or_try_init(py, || Ok::<_, PyErr>(py.import(module)?.getattr(name)?.unbind()))?;
    Ok(function.bind(py))
}
