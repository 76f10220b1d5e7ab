use cascade_mqtt_core::topic::{TopicError, check_filter, check_name, encode_id, matches};
use serde_json::Value;

mod vectors;

fn text(case: &Value, key: &str) -> String {
    let times = case["times"].as_u64().unwrap_or(1);
    case[key].as_str().expect(key).repeat(times as usize)
}

fn check(list: &str, check: impl Fn(&str) -> Result<(), TopicError>) {
    for case in vectors::cases(&vectors::load("topics.json"), list) {
        let found = check(&text(case, "topic")).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), case["error"].as_str(), "{case}");
    }
}

#[test]
fn names_are_checked() {
    check("names", |topic| check_name(topic));
}

#[test]
fn filters_are_checked() {
    check("filters", |filter| check_filter(filter));
}

#[test]
fn filters_match_topics() {
    for case in vectors::cases(&vectors::load("topics.json"), "matches") {
        let found = matches(&text(case, "filter"), &text(case, "topic"));
        assert_eq!(Some(found), case["matches"].as_bool(), "{case}");
    }
}

#[test]
fn ids_become_one_level() {
    for case in vectors::cases(&vectors::load("topics.json"), "ids") {
        let level = encode_id(&text(case, "id"));
        assert_eq!(level, text(case, "level"), "{case}");
        assert!(level.is_empty() || check_name(&level).is_ok() && !level.contains('/'), "{case}");
    }
}

/// Level by level, as the specification words it, for topics and filters drawn from a small alphabet.
#[test]
fn matching_agrees_with_the_definition() {
    fn by_levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            ([wanted, filter @ ..], [level, topic @ ..]) => {
                (*wanted == "+" || wanted == level) && by_levels(filter, topic)
            }
            _ => false,
        }
    }
    fn draw(random: &mut fastrand::Rng, levels: &[&str]) -> String {
        let count = random.usize(1..5);
        let drawn: Vec<_> = (0..count).map(|_| levels[random.usize(..levels.len())]).collect();
        drawn.join("/")
    }
    let mut random = fastrand::Rng::with_seed(3);
    let mut hits = 0;
    for _ in 0..50_000 {
        let topic = draw(&mut random, &["", "a", "é", "aa", "$a"]);
        let filter = draw(&mut random, &["", "a", "é", "aa", "$a", "+", "#"]);
        if check_name(&topic).is_err() || check_filter(&filter).is_err() {
            continue;
        }
        let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
        let levels: (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        let expected = !hidden && by_levels(&levels.0, &levels.1);
        assert_eq!(matches(&filter, &topic), expected, "{filter:?} {topic:?}");
        hits += usize::from(expected);
    }
    assert!(hits > 1_000, "the draw must reach both answers");
}
