//! A mistake in the core ends one start; it does not leave anybody waiting, and the next start works.

use std::sync::Arc;
use std::time::Duration;

use cascade_mqtt_core::config::Config;
use cascade_mqtt_core::core::Core;
use cascade_mqtt_core::error::ConnectFailure;
use cascade_mqtt_core::events::{Event, Level};
use cascade_mqtt_core::outbox::{Message, Rejection};
use cascade_mqtt_core::sync::Mutex;
use cascade_mqtt_core::transport::Network;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::net::{Dialler, Wire};
use crate::schedule::Schedule;
use crate::world::World;

struct Mistaken;

impl Network for Mistaken {
    type Stream = Wire;

    async fn dial(&mut self, _config: &Config) -> Result<Wire, ConnectFailure> {
        panic!("a mistake");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_start_and_the_next_one_works() {
    let core = Core::new(Schedule::from_seed(0).config);
    core.start_on(&Handle::current(), Mistaken, None);
    let message = Message { topic: b"a", payload: b"", qos: 1, retain: false, priority: false };
    let (token, _) = core.outbox.lock().offer(&message, true, 0).expect("it is started");
    let flush = core.begin_flush();
    sleep(Duration::from_secs(1)).await;
    let events = Vec::from(core.events.take());
    let why = "internal error: a mistake".to_owned();
    let expected = [
        Event::Log { level: Level::Error, line: format!("the connector stops: {why}") },
        Event::Failed { permanent: true, why },
        Event::GivenUp { token, why: "closed" },
        Event::Flushed { token: flush },
        Event::Stopped,
    ];
    assert_eq!(events, expected);
    assert_eq!(core.outbox.lock().offer(&message, true, 0), Err(Rejection::Closed));

    let world = Arc::new(Mutex::new(World::new(0, Duration::ZERO, false)));
    core.start_on(&Handle::current(), Dialler(world), None);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(core.events.take(), [Event::Connected { session_present: false }]);
}
