//! What a payload must be before it is read as JSON: strict UTF-8, and not nested too deeply.

use memchr::memchr_iter;

/// How deeply arrays and objects may be nested, both ways.
pub const MAX_DEPTH: usize = 128;

/// Why a payload cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    NotUtf8,
    NotJson,
    TooDeep,
}

impl DecodeError {
    /// The reason as it is counted and logged, on both backends.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
        }
    }
}

/// Refuse bytes that no parser should be given; what passes may still not be JSON.
///
/// # Errors
/// [`DecodeError::NotUtf8`] for anything but strict UTF-8 (RFC 3629), [`DecodeError::TooDeep`] for
/// more than [`MAX_DEPTH`] brackets open at once.
pub fn check(data: &[u8]) -> Result<(), DecodeError> {
    if std::str::from_utf8(data).is_err() {
        return Err(DecodeError::NotUtf8);
    }
    // Brackets within strings count here too: enough to tell that a usual message is not deep.
    if data.len() > MAX_DEPTH
        && memchr_iter(b'[', data).count() + memchr_iter(b'{', data).count() > MAX_DEPTH
        && is_deep(data)
    {
        return Err(DecodeError::TooDeep);
    }
    Ok(())
}

/// Whether more than [`MAX_DEPTH`] brackets outside strings are open at once.
#[cold]
fn is_deep(data: &[u8]) -> bool {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut bytes = data.iter();
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (true, b'\\') => {
                bytes.next();
            }
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use jiter::JsonValue;
    use serde_json::Value;

    use super::*;

    #[test]
    fn vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/json_decode.json")).unwrap();
        for vector in vectors.as_array().unwrap() {
            let data = content(vector);
            let read = match check(&data) {
                // An empty payload is an empty object, which is the caller's business.
                Ok(()) if data.is_empty() => Ok(()),
                Ok(()) => JsonValue::parse(&data, false).map(|_| ()).map_err(|_| DecodeError::NotJson),
                Err(error) => Err(error),
            };
            assert_eq!(read.err().map(DecodeError::as_str), vector["refused"].as_str(), "{}", vector["name"]);
        }
    }

    fn content(vector: &Value) -> Vec<u8> {
        if let Some(hex) = vector["hex"].as_str() {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(byte).collect()
        } else if let Some(text) = vector["text"].as_str() {
            text.into()
        } else {
            let part = |part: &Value| part[0].as_str().unwrap().repeat(part[1].as_u64().unwrap().try_into().unwrap());
            vector["parts"].as_array().unwrap().iter().map(part).collect::<String>().into()
        }
    }
}
