//! The Python module `cascade.connectors.mqtt._native`.

mod decode;
mod encode;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(encode::encode, module)?)?;
    module.add_function(wrap_pyfunction!(decode::decode, module)?)?;
    Ok(())
}
