//! What must hold at every moment, and what the client tells.

use cascade_mqtt_core::events::{Event, Level};
use cascade_mqtt_core::outbox::OnFull;

use crate::ledger::Fate;
use crate::run::{Broken, Run};

impl Run<'_> {
    /// Everything that must hold at every moment.
    pub fn look(&mut self) -> Result<(), Broken> {
        {
            let mut world = self.world.lock();
            world.broker.tick();
            world.broker_speaks();
            let lost = world.ledger.sessions_lost;
            for consumer in &mut self.consumers {
                if let Err(why) = consumer.look(&self.remote, lost) {
                    world.fail(&why);
                }
            }
        }
        self.fetch_events();
        self.check_account()?;
        if self.world.lock().failure.is_some() { Err(Broken) } else { Ok(()) }
    }

    fn check_account(&self) -> Result<(), Broken> {
        let submitted = self.world.lock().ledger.next();
        let limits = &self.schedule.config.limits;
        let outbox = self.core.outbox.lock();
        let counters = outbox.counters();
        let rejected: u64 = counters.rejected().map(|(_, count)| count).sum();
        let dropped: u64 = counters.dropped().map(|(_, count)| count).sum();
        let kept = (outbox.queued_events() + outbox.in_flight_events()) as u64;
        let accounted = counters.written + counters.acknowledged + dropped + kept;
        let allocated = outbox.allocated();
        let holds = submitted == counters.submitted
            && counters.submitted == counters.accepted + rejected
            && counters.accepted == accounted
            && allocated <= limits.queued_bytes
            && (limits.batch.is_some() || outbox.in_flight_events() <= limits.in_flight)
            && (limits.on_full == OnFull::DropOldest || counters.dropped().all(|(reason, _)| reason != "queue_full"));
        drop(outbox);
        self.demand(
            holds,
            &format!(
                "the account is wrong: {submitted} submitted, {accounted} of them accounted for, {allocated} bytes"
            ),
        )
    }

    pub fn fetch_events(&mut self) {
        for event in self.core.events.take() {
            let mut world = self.world.lock();
            world.note(|| format!("  {event:?}"));
            let outcome = match event {
                Event::Acknowledged { token } => world.ledger.settled(token, Fate::Acknowledged),
                Event::GivenUp { token, why: "rejected_by_peer" } => world.ledger.settled(token, Fate::Rejected),
                Event::GivenUp { token, .. } => world.ledger.settled(token, Fate::GivenUp),
                Event::Flushed { token } => match self.flushes.iter().position(|flush| flush.0 == token) {
                    None => Err(format!("flush {token} ended twice")),
                    Some(place) => match world.ledger.waiting_before(self.flushes.swap_remove(place).1) {
                        0 => Ok(()),
                        left => Err(format!("flush {token} ended while {left} waited")),
                    },
                },
                Event::Log { level: Level::Error, line } => Err(line),
                Event::Subscribed { subscription, .. } => self.consumers[subscription as usize].answered(true),
                Event::Unsubscribed { subscription } => self.consumers[subscription as usize].answered(false),
                Event::Space => {
                    self.waits_for_room = false;
                    Ok(())
                }
                Event::Connected { .. } => {
                    self.connected = true;
                    Ok(())
                }
                Event::Disconnected { .. } | Event::Failed { .. } => {
                    self.connected = false;
                    Ok(())
                }
                Event::Stopped => {
                    (self.connected, self.stopped) = (false, true);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(why) = outcome {
                world.fail(&why);
            }
        }
    }
}
