//! Topic names and filters: validation, matching, and ids made safe for a topic level.

use std::error::Error;
use std::fmt::{self, Display, Formatter, Write};

use memchr::{memchr, memchr2, memchr3};

/// What the topic of a batch has behind that of its events.
pub const BATCH: &str = "/@batch";

/// What a two-byte length can say (MQTT 3.1.1 section 1.5.3).
pub const MAX_BYTES: usize = 65_535;

/// The rule of MQTT 3.1.1 that a topic breaks. The words are those of the Python face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicError {
    Empty,
    TooLong(usize),
    Nul,
    Wildcard,
    Hash,
    Plus,
}

impl Display for TopicError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (rule, section) = match self {
            Self::Empty => ("a topic must not be empty", "4.7.3"),
            Self::TooLong(size) => {
                return write!(f, "a topic of {size} bytes is over {MAX_BYTES} (MQTT 3.1.1 section 4.7.3)");
            }
            Self::Nul => ("a topic must not hold U+0000", "4.7.3"),
            Self::Wildcard => ("a topic to publish to must not hold the wildcards + and #", "4.7.1"),
            Self::Hash => ("# must be the last level of a topic filter, alone", "4.7.1.2"),
            Self::Plus => ("+ must stand alone in a level of a topic filter", "4.7.1.3"),
        };
        write!(f, "{rule} (MQTT 3.1.1 section {section})")
    }
}

impl Error for TopicError {}

/// The topic of the events in the batches on this topic, if it is one of batches.
pub fn of_batch(topic: &str) -> Option<&str> {
    topic.strip_suffix(BATCH).filter(|topic| !topic.is_empty())
}

/// Whether a message can be published to `topic`, which is UTF-8 (MQTT 3.1.1 section 4.7).
#[inline]
pub fn check_name(topic: impl AsRef<[u8]>) -> Result<(), TopicError> {
    let topic = topic.as_ref();
    if topic.is_empty() || topic.len() > MAX_BYTES || memchr3(b'+', b'#', 0, topic).is_some() {
        return Err(broken_by_name(topic));
    }
    Ok(())
}

#[cold]
fn broken_by_name(topic: &[u8]) -> TopicError {
    check_text(topic).err().unwrap_or(TopicError::Wildcard)
}

/// Whether `filter`, which is UTF-8, can be subscribed to (MQTT 3.1.1 section 4.7.1).
pub fn check_filter(filter: impl AsRef<[u8]>) -> Result<(), TopicError> {
    let filter = filter.as_ref();
    check_text(filter)?;
    let mut levels = filter.split(|&byte| byte == b'/').peekable();
    while let Some(level) = levels.next() {
        if memchr(b'#', level).is_some() && (level != b"#" || levels.peek().is_some()) {
            return Err(TopicError::Hash);
        }
        if memchr(b'+', level).is_some() && level != b"+" {
            return Err(TopicError::Plus);
        }
    }
    Ok(())
}

fn check_text(text: &[u8]) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        size if size > MAX_BYTES => Err(TopicError::TooLong(size)),
        _ if memchr(0, text).is_some() => Err(TopicError::Nul),
        _ => Ok(()),
    }
}

/// Whether a valid filter matches a valid topic (MQTT 3.1.1 section 4.7).
///
/// `a/#` matches `a`; a wildcard in the first level does not match a topic that begins with `$`.
/// `$share/{group}/{filter}` matches what `{filter}` does (MQTT 5.0 section 4.8.2; brokers grant it
/// to 3.1.1 clients too).
pub fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (unshared(filter).as_bytes(), topic.as_bytes());
    if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        return false;
    }
    // Most filters are one literal run, or one and `#`.
    let literal = memchr2(b'+', b'#', filter).unwrap_or(filter.len());
    let Some(topic) = topic.strip_prefix(&filter[..literal]) else {
        return filter.strip_suffix(b"/#") == Some(topic);
    };
    // In a valid filter a wildcard fills its level, so bytes can be compared without finding the levels first.
    let filter = &filter[literal..];
    let mut at = 0;
    for (place, &wanted) in filter.iter().enumerate() {
        match wanted {
            b'#' => return true,
            b'+' => at = memchr(b'/', &topic[at..]).map_or(topic.len(), |size| at + size),
            _ if topic.get(at) == Some(&wanted) => at += 1,
            _ => return at == topic.len() && &filter[place..] == b"/#",
        }
    }
    at == topic.len()
}

fn unshared(filter: &str) -> &str {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((_group, inner)) if !inner.is_empty() => inner,
        _ => filter,
    }
}

/// An id as one topic level: `+ # / %`, control characters and a leading `@` percent-encoded (RFC 3986 section 2.1).
///
/// `@` at the front of a level is kept for the protocol's own topics.
pub fn encode_id(id: &str) -> String {
    let mut level = String::with_capacity(id.len());
    for (place, char) in id.char_indices() {
        if matches!(char, '+' | '#' | '/' | '%') || char.is_control() || (place == 0 && char == '@') {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                write!(level, "%{byte:02X}").expect("a String takes all that is written");
            }
        } else {
            level.push(char);
        }
    }
    level
}
