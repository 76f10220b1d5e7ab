//! Finds the message that the broker ends its connections for, so that it alone is given up.
//!
//! A connection that the broker ends soon after a replay began is a death. After three in a row the replay is
//! probed: sent one message at a time, and nothing else. What was alone in flight at two deaths in a row is the
//! culprit. So is the QoS 0 message that was part-written at three ends in a row, each soon after the start.

const SOON_MS: u64 = 5_000;
const DEATHS: u8 = 3;
const ALONE: u8 = 2;
const TORN: u8 = 3;

/// What is in flight while nothing else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The oldest unacknowledged message.
    Message,
    /// PUBRELs.
    Releases,
}

/// What the broker dies of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Culprits {
    pub alone: Option<Alone>,
    /// The segment whose first message was part-written.
    pub torn: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Poison {
    replaying: bool,
    deaths: u8,
    probing: bool,
    ready: bool,
    /// What was alone in flight at the last death, and how many times in a row.
    suspect: Option<(Alone, u8)>,
    /// The segment whose first message was part-written, and how many times in a row.
    torn: Option<(u64, u8)>,
    /// Whether that was on this connection.
    torn_here: bool,
}

impl Poison {
    /// CONNACK came; `replay`: what a former connection left unacknowledged is sent again.
    pub fn connected(&mut self, replay: bool) {
        (self.replaying, self.ready, self.torn_here) = (replay, false, false);
        self.probing = replay && (self.probing || self.deaths >= DEATHS);
    }

    /// The replay goes out one message at a time.
    pub fn is_probing(&self) -> bool {
        self.probing
    }

    /// While probing: whether a message may go out, once nothing is in flight.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// SUBSCRIBE and PINGREQ are answered: whatever the broker dies of from here on, it is not of a connection alone.
    pub fn answered(&mut self) {
        self.ready = true;
    }

    /// The broker lived through what was in flight.
    pub fn acknowledged(&mut self) {
        self.suspect = None;
    }

    /// While probing: everything is through.
    pub fn replayed(&mut self) {
        (self.probing, self.deaths) = (false, 0);
    }

    /// The connection broke inside a QoS 0 message, the first one of a segment if `first`.
    pub fn torn(&mut self, number: u64, first: bool) {
        let before = self.torn.filter(|torn| first && torn.0 == number);
        self.torn = Some((number, before.map_or(1, |torn| torn.1 + 1)));
        self.torn_here = true;
    }

    /// The connection is gone, `lasted_ms` after CONNACK. `by_peer`: the broker closed or reset it; time-outs of ours
    /// say nothing of any message.
    pub fn ended(&mut self, by_peer: bool, lasted_ms: u64, alone: Option<Alone>) -> Culprits {
        let soon = by_peer && lasted_ms < SOON_MS;
        if !(soon && self.torn_here) {
            self.torn = None;
        }
        let torn = self.torn.take_if(|torn| torn.1 >= TORN).map(|torn| torn.0);
        if !self.probing {
            self.deaths = if soon && self.replaying { self.deaths + 1 } else { 0 };
            return Culprits { alone: None, torn };
        }
        let alone = alone.filter(|_| by_peer && self.ready);
        let before = self.suspect.filter(|suspect| Some(suspect.0) == alone);
        self.suspect = alone.map(|alone| (alone, before.map_or(1, |suspect| suspect.1 + 1)));
        Culprits { alone: self.suspect.take_if(|suspect| suspect.1 >= ALONE).map(|suspect| suspect.0), torn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: u64 = SOON_MS - 1;

    fn probing() -> Poison {
        let mut poison = Poison::default();
        for _ in 0..DEATHS {
            poison.connected(true);
            assert!(!poison.is_probing());
            assert_eq!(poison.ended(true, SOON, None), Culprits::default());
        }
        poison.connected(true);
        assert!(poison.is_probing());
        poison
    }

    #[test]
    fn three_deaths_in_a_row_begin_the_search() {
        for (by_peer, lasted_ms, replay) in [(false, SOON, true), (true, SOON_MS, true), (true, SOON, false)] {
            let mut poison = Poison::default();
            for end in [(true, SOON, true), (true, SOON, true), (by_peer, lasted_ms, replay), (true, SOON, true)] {
                poison.connected(end.2);
                poison.ended(end.0, end.1, None);
            }
            poison.connected(true);
            assert!(!poison.is_probing(), "{by_peer} {lasted_ms} {replay}");
        }
        probing();
    }

    #[test]
    fn who_is_alone_twice_in_a_row_is_the_culprit() {
        for alone in [Alone::Message, Alone::Releases] {
            let mut poison = probing();
            poison.answered();
            // However long it took.
            assert_eq!(poison.ended(true, 100_000, Some(alone)).alone, None);
            poison.connected(true);
            poison.answered();
            assert_eq!(poison.ended(true, SOON, Some(alone)).alone, Some(alone));
            poison.connected(true);
            assert!(poison.is_probing(), "until the replay is through");
            poison.replayed();
            assert!(!poison.is_probing());
        }
    }

    #[test]
    fn what_the_broker_lived_through_is_innocent() {
        type Between = fn(&mut Poison);
        let between: [Between; 5] = [
            Poison::acknowledged,
            |poison| assert_eq!(poison.ended(true, SOON, None).alone, None),
            |poison| assert_eq!(poison.ended(true, SOON, Some(Alone::Releases)).alone, None),
            |poison| assert_eq!(poison.ended(false, SOON, Some(Alone::Message)).alone, None),
            |poison| {
                poison.connected(true);
                assert_eq!(poison.ended(true, SOON, Some(Alone::Message)).alone, None, "it was not sent");
            },
        ];
        for what in between {
            let mut poison = probing();
            poison.answered();
            poison.ended(true, SOON, Some(Alone::Message));
            poison.connected(true);
            poison.answered();
            what(&mut poison);
            poison.connected(true);
            poison.answered();
            assert_eq!(poison.ended(true, SOON, Some(Alone::Message)).alone, None);
        }
    }

    #[test]
    fn torn_three_times_in_a_row() {
        let mut poison = Poison::default();
        let mut tear = |number, first, by_peer, lasted_ms| {
            poison.connected(false);
            poison.torn(number, first);
            poison.ended(by_peer, lasted_ms, None).torn
        };
        assert_eq!(tear(5, false, true, SOON), None);
        assert_eq!(tear(5, true, true, SOON), None);
        assert_eq!(tear(5, true, true, SOON), Some(5));
        // Another message of the segment, another segment, an end of our own, one that came late.
        for other in [(5, false, true, SOON), (6, true, true, SOON), (5, true, false, SOON), (5, true, true, SOON_MS)] {
            assert_eq!(tear(5, false, true, SOON), None);
            assert_eq!(tear(5, true, true, SOON), None);
            assert_eq!(tear(other.0, other.1, other.2, other.3), None);
        }
    }

    #[test]
    fn an_end_between_messages_begins_the_count_anew() {
        let mut poison = Poison::default();
        for torn in [true, true, false, true, true] {
            poison.connected(false);
            if torn {
                poison.torn(5, true);
            }
            assert_eq!(poison.ended(true, SOON, None), Culprits::default());
        }
    }
}
