//! The files in tests/vectors, which pytest reads too.

use std::path::Path;

use serde_json::Value;

pub fn load(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cases of one list, none of which may be empty: a renamed key must not pass for a green test.
pub fn cases<'a>(vectors: &'a Value, list: &str) -> &'a [Value] {
    match vectors[list].as_array() {
        Some(cases) if !cases.is_empty() => cases,
        _ => panic!("no cases under {list:?}"),
    }
}
