//! After the faults: connected again, everything through, nothing missing, and a clean end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::consumer::{Consumer, Pace};
use crate::link::Way;
use crate::net::Weather;
use crate::run::{Broken, Run};
use crate::schedule::Qos;

impl Run<'_> {
    /// The faults end, and with them the links that cannot be mended.
    pub fn heal(&mut self) {
        let mut world = self.world.lock();
        world.note(|| "the faults end".into());
        world.broker.heal();
        for number in 0..world.links.len() {
            let link = &mut world.links[number];
            link.cut_behind_packet = false;
            for way in [Way::ToBroker, Way::ToClient] {
                let pipe = link.pipe(way);
                (pipe.stalled_until, pipe.cut_in) = (Instant::now(), None);
            }
            if link.held && !link.reset && (link.up.swallows || link.silent) {
                world.reset(number, true);
            }
        }
        world.change_weather(Weather::FAIR);
        world.broker_speaks();
        drop(world);
        for consumer in &mut self.consumers {
            consumer.pace = Pace::Eager;
        }
        // The program is alive, and promises no beat.
        self.core.beat(Duration::ZERO);
    }

    /// Connected within the longest delay and a second, then everything that waits is through.
    pub async fn recovers(&mut self) -> Result<(), Broken> {
        self.pass(self.schedule.config.reconnect_max_delay.as_millis() as u64 + 1_000).await?;
        self.demand(self.connected, "not connected again in time")?;
        self.flush();
        self.until(60_000, "everything is flushed", |run| run.flushes.is_empty()).await?;
        self.demand(!self.waits_for_room, "nobody was told of room")?;
        let waiting = self.consumers.iter().position(|consumer| !consumer.is_answered());
        self.demand(waiting.is_none(), &format!("subscription {waiting:?} waits for an answer"))?;
        self.pass(10_000).await?;
        let unsettled = self.world.lock().broker.live_session().and_then(|session| session.unsettled());
        self.demand(unsettled.is_none(), &format!("the session is not settled: {unsettled:?}"))
    }

    /// What is subscribed to is, and messages go both ways.
    pub async fn works(&mut self) -> Result<(), Broken> {
        let wanted: BTreeSet<String> = self.subscribed().flat_map(Consumer::filters).collect();
        let active: BTreeSet<String> = self
            .world
            .lock()
            .broker
            .live_session()
            .map(|session| session.filters.keys().cloned().collect())
            .unwrap_or_default();
        self.demand(active == wanted, &format!("subscribed to {active:?}, not {wanted:?}"))?;
        let first = self.remote.len() as u64;
        for slot in 0..3 {
            self.publish_remotely(slot, 20, 1, false);
        }
        self.until(2_000, "a message to every subscription", |run| {
            run.subscribed().all(|consumer| consumer.has(first + u64::from(consumer.slot)))
        })
        .await?;
        // Nothing but the message itself wakes the driver.
        self.publish(20, Qos::Only(1), true);
        self.until(200, "a message out of idleness", |run| run.world.lock().ledger.waiting(0).is_none()).await?;
        self.publish(20, Qos::Only(1), false);
        let linger_ms = self.schedule.config.limits.batch.map_or(0, |batching| batching.linger_ms);
        self.until(200 + linger_ms, "an event out of idleness", |run| run.world.lock().ledger.has_newest()).await?;
        self.pass(3_000).await?;
        self.demand(self.connected, "a connection that nothing disturbs has ended")
    }

    pub async fn ends(&mut self) -> Result<(), Broken> {
        let goodbyes = self.world.lock().broker.goodbyes;
        self.stop(2_000, true, None).await?;
        let said = self.world.lock().broker.goodbyes - goodbyes;
        self.demand(said == 1, "no DISCONNECT at the end")?;
        let forgotten = std::mem::take(&mut self.world.lock().broker.forgotten);
        for consumer in self.subscribed() {
            if let Some(number) = consumer.missing(&forgotten) {
                return self.demand(false, &format!("message {number} never came to its subscription"));
            }
        }
        let dropped: u64 = self.core.outbox.lock().counters().dropped().map(|(_, count)| count).sum();
        let (waited_for, missing) = {
            let world = self.world.lock();
            let waited_for = world.ledger.missing().find(|(_, item)| item.token != 0).map(|(number, _)| number);
            (waited_for, world.ledger.missing().count() as u64)
        };
        self.demand(waited_for.is_none(), &format!("message {waited_for:?} never arrived"))?;
        self.demand(missing <= dropped, &format!("{missing} messages never arrived, {dropped} were dropped"))?;
        let unsettled = self.world.lock().ledger.waiting(0);
        self.demand(unsettled.is_none(), &format!("nobody was told of token {unsettled:?}"))
    }

    fn subscribed(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().filter(|consumer| consumer.subscribed)
    }
}
