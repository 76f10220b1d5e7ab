//! The interpreter that the core's codec is compared with: the json module, and the fallback's codec.

use cascade_mqtt_core::python::decode::Templates;
use cascade_mqtt_core::python::desk::Desk;
use pyo3::exceptions::PyValueError;
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

static REFERENCE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
static FALLBACK: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

const ENCODING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/cascade/connectors/mqtt/encoding.py");

/// `reference.py`.
pub fn json_module(py: Python<'_>) -> &Bound<'_, PyModule> {
    let load = || PyModule::from_code(py, c_str!(include_str!("reference.py")), c"reference.py", c"reference");
    REFERENCE.get_or_init(py, || load().expect("it is part of this program").unbind()).bind(py)
}

/// `encoding.py` of the package.
pub fn fallback(py: Python<'_>) -> &Bound<'_, PyModule> {
    let load = || json_module(py).getattr("load")?.call1((ENCODING,))?.cast_into().map_err(PyErr::from);
    FALLBACK.get_or_init(py, || load().unwrap_or_else(|error| panic!("{ENCODING}: {error}")).unbind()).bind(py)
}

/// With nothing remembered of other payloads: an input must do the same when it is run again.
pub fn afresh(run: impl FnOnce(Python<'_>)) {
    Python::attach(|py| {
        Desk::at(py, |desk| *desk = *Desk::new(py));
        Box::<Templates>::default().put_back();
        run(py);
    });
}

/// What was returned, or the words of the refusal; any other exception ends the program.
pub fn outcome<'py>(py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> Result<Bound<'py, PyAny>, String> {
    result.map_err(|error| {
        assert!(error.is_instance_of::<PyValueError>(py), "{error}");
        error.value(py).to_string()
    })
}
