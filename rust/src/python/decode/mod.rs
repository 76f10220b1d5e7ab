//! JSON bytes to Python objects.

mod given;
mod learn;
mod number;
mod scan;
mod template;
mod templates;
mod text;

use jiter::{FloatMode, PartialMode, PythonParse, StringCacheMode};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::json::{self, DecodeError};
pub use templates::Templates;

/// One JSON value of any type (RFC 8259) from the whole of `data`; an empty payload is an empty dict.
///
/// Of a key that comes twice the last value is kept. NaN, infinities, lone surrogate escapes and
/// integers of more than 4,300 digits are not JSON here.
pub fn decode_json<'py>(py: Python<'py>, data: &[u8]) -> Result<Bound<'py, PyAny>, DecodeError> {
    if data.is_empty() {
        return Ok(PyDict::new(py).into_any());
    }
    let mut templates = Templates::take();
    let decoded = match templates.decode(py, data) {
        Some(dict) => Ok(dict.into_any()),
        None => parse(py, data).inspect(|value| templates.note(data, value)),
    };
    templates.put_back();
    decoded
}

/// Done with what `decode_json` gave: where nobody else has it any more, the next message is written over it.
#[inline]
pub fn take_back(value: Bound<'_, PyAny>) {
    // SAFETY: it is alive.
    if unsafe { ffi::Py_REFCNT(value.as_ptr()) } != 1 {
        return;
    }
    let Ok(dict) = value.cast_into_exact::<PyDict>() else { return };
    let mut templates = Templates::take();
    templates.take_back(dict);
    templates.put_back();
}

fn parse<'py>(py: Python<'py>, data: &[u8]) -> Result<Bound<'py, PyAny>, DecodeError> {
    json::check(data)?;
    let parse = PythonParse {
        allow_inf_nan: false,
        cache_mode: StringCacheMode::Keys,
        partial_mode: PartialMode::Off,
        catch_duplicate_keys: false,
        float_mode: FloatMode::Float,
    };
    parse.python_parse(py, data).map_err(|_| DecodeError::NotJson)
}

/// `decode_json` for tests and benchmarks; raises ValueError with the reason.
#[pyfunction]
pub fn decode<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode_json(py, data).map_err(|error| PyValueError::new_err(error.as_str()))
}
