//! Names, filters and ids beside the words of the specification (MQTT 3.1.1 section 4.7), level by level.
//!
//! The input is a filter and a topic with a line feed between them.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;

use cascade_mqtt_core::topic::{TopicError, check_filter, check_name, encode_id, matches};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// The id that each level was made of.
    static LEVELS: RefCell<HashMap<String, String>> = RefCell::default();
}

fuzz_target!(|text: &str| {
    let (filter, topic) = text.split_once('\n').unwrap_or((text, text));
    for text in [filter, topic] {
        assert_eq!(check_name(text).err(), broken_name(text), "{text:?}");
        assert_eq!(check_filter(text).err(), broken_filter(text), "{text:?}");
        is_one_level(text);
    }
    if check_filter(filter).is_ok() && check_name(topic).is_ok() {
        assert_eq!(matches(filter, topic), by_levels(filter, topic), "{filter:?} {topic:?}");
    }
});

fn broken_text(text: &str) -> Option<TopicError> {
    match text.len() {
        0 => Some(TopicError::Empty),
        1..=65_535 => text.chars().any(|char| char == '\0').then_some(TopicError::Nul),
        size => Some(TopicError::TooLong(size)),
    }
}

fn broken_name(name: &str) -> Option<TopicError> {
    broken_text(name).or_else(|| name.chars().any(|char| char == '+' || char == '#').then_some(TopicError::Wildcard))
}

fn broken_filter(filter: &str) -> Option<TopicError> {
    let levels: Vec<&str> = filter.split('/').collect();
    let broken = |(place, level): (usize, &&str)| {
        if level.contains('#') && (*level != "#" || place + 1 < levels.len()) {
            Some(TopicError::Hash)
        } else {
            (level.contains('+') && *level != "+").then_some(TopicError::Plus)
        }
    };
    broken_text(filter).or_else(|| levels.iter().enumerate().find_map(broken))
}

fn by_levels(filter: &str, topic: &str) -> bool {
    let mut filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    // A shared subscription needs a filter behind its group (MQTT 5.0 section 4.8.2).
    if filter[0] == "$share" && filter.len() > 2 && filter[2..] != [""] {
        filter.drain(..2);
    }
    if topic[0].starts_with('$') && ["+", "#"].contains(&filter[0]) {
        return false;
    }
    let same = |(wanted, level): (&&str, &&str)| *wanted == "+" || wanted == level;
    match filter.split_last() {
        Some((&"#", parents)) => parents.len() <= topic.len() && parents.iter().zip(&topic).all(same),
        _ => filter.len() == topic.len() && filter.iter().zip(&topic).all(same),
    }
}

/// Another id never has the same level, and a level is a topic, or part of one, without wildcards.
fn is_one_level(id: &str) {
    let level = encode_id(id);
    assert!(!level.contains(['/', '+', '#']) && !level.contains(char::is_control) && !level.starts_with('@'), "{id:?}");
    LEVELS.with_borrow_mut(|levels| {
        if levels.len() > 10_000 {
            levels.clear();
        }
        assert_eq!(levels.entry(level).or_insert_with(|| id.to_owned()), id);
    });
}
