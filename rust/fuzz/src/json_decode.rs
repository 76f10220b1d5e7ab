//! JSON to Python objects, beside the json module and the fallback's decoder: messages, one behind the other, with
//! record separators between them (RFC 7464).
#![no_main]

mod reference;

use cascade_mqtt_core::python::decode::{decode_json, take_back};
use libfuzzer_sys::fuzz_target;
use pyo3::prelude::*;
use reference::{afresh, fallback, json_module, outcome};

fuzz_target!(|data: &[u8]| afresh(|py| data.split(|&byte| byte == 0x1E).for_each(|message| compare(py, message))));

fn compare(py: Python<'_>, data: &[u8]) {
    let value = decode_json(py, data);
    let ours = value.as_ref().map(exactly).map_err(|error| error.as_str().to_owned());
    let theirs = json_module(py).call_method1("decode", (data,));
    let theirs = outcome(py, theirs).map(|value| exactly(&value));
    assert_eq!(ours.as_ref().ok(), theirs.as_ref().ok(), "the json module");
    let theirs = fallback(py).call_method1("decode_json", (data,));
    assert_eq!(ours, outcome(py, theirs).map(|value| exactly(&value)), "the fallback");
    // As after a callback: the next message may be written over this one.
    let _ = value.map(take_back);
}

/// A text in which 1, 1.0 and True differ, and 0.0 and -0.0.
fn exactly(value: &Bound<'_, PyAny>) -> String {
    value.repr().expect("it is made of JSON").to_string_lossy().into_owned()
}
