//! The Python module `cascade.connectors.mqtt._native`.

mod client;
mod completed;
pub mod decode;
pub mod desk;
mod dispatch;
pub mod encode;
mod inbox;
mod intake;
mod notifier;
mod options;
mod publisher;

use pyo3::prelude::*;

use crate::fork;

#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<client::Client>()?;
    module.add_class::<inbox::Inbox>()?;
    module.add_class::<notifier::Notifier>()?;
    module.add_class::<publisher::Publisher>()?;
    module.add_class::<completed::Completed>()?;
    module.add_function(wrap_pyfunction!(leave_to_parent, module)?)?;
    module.add_function(wrap_pyfunction!(encode::encode, module)?)?;
    module.add_function(wrap_pyfunction!(decode::decode, module)?)?;
    Ok(())
}

/// In a forked child: close the sockets that the parent goes on using.
#[pyfunction]
fn leave_to_parent() {
    fork::leave_to_parent();
}
