//! JSON to Python objects, beside the json module and the fallback's decoder.
#![no_main]

mod reference;

use cascade_mqtt_core::python::decode::decode_json;
use libfuzzer_sys::fuzz_target;
use pyo3::prelude::*;
use reference::{fallback, json_module, outcome};

fuzz_target!(|data: &[u8]| Python::attach(|py| {
    let ours = decode_json(py, data).map_err(|error| error.as_str().to_owned());
    let theirs = |module: &Bound<'_, PyModule>, function: &str| {
        outcome(py, module.getattr(function).and_then(|decode| decode.call1((data,)))).map(|value| exactly(&value))
    };
    let ours = ours.map(|value| exactly(&value));
    assert_eq!(ours.as_ref().ok(), theirs(json_module(py), "decode").as_ref().ok(), "the json module");
    assert_eq!(ours, theirs(fallback(py), "decode_json"), "the fallback");
}));

/// A text in which 1, 1.0 and True differ, and 0.0 and -0.0.
fn exactly(value: &Bound<'_, PyAny>) -> String {
    value.repr().expect("it is made of JSON").to_string_lossy().into_owned()
}
