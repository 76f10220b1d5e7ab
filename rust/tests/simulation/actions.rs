//! What a schedule does to a client, to the network and to the broker.

use std::sync::Arc;
use std::time::Duration;

use cascade_mqtt_core::core::Command;
use cascade_mqtt_core::inbox::Inbox;
use cascade_mqtt_core::outbox::{Limits, Message, OnFull, Rejection};
use cascade_mqtt_core::topic::BATCH;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::consumer::{self, Consumer};
use crate::ledger::{self, Fate, Windows};
use crate::net::Dialler;
use crate::run::{Broken, LOOK_MS, Run};
use crate::schedule::{Action, Qos, TOP};
use crate::session::Delivery;

impl Run<'_> {
    pub fn start(&mut self) {
        let mut world = self.world.lock();
        world.forget_dials();
        world.broker.client_is_new = true;
        let Limits { in_flight, in_flight_qos2, .. } = self.schedule.config.limits;
        // Every stop may leave as many open as the window of QoS 2 lets in.
        let identifiers = world.ledger.windows.identifiers.max(in_flight) + in_flight_qos2;
        world.ledger.windows = Windows { all: in_flight, exactly_once: in_flight_qos2, identifiers };
        drop(world);
        self.stopped = false;
        self.core.start_on(&Handle::current(), Dialler(Arc::clone(&self.world)), None);
    }

    pub async fn act(&mut self, action: &Action) -> Result<(), Broken> {
        let now = Instant::now();
        let after = |ms: u64| now + Duration::from_millis(ms);
        let newest = self.world.lock().links.len().checked_sub(1);
        match *action {
            Action::Publish { messages, size, qos, tracked } => {
                for _ in 0..messages {
                    self.publish(size, qos, tracked);
                }
            }
            Action::Withdraw => self.withdraw(),
            Action::Flush => self.flush(),
            Action::Subscribe { slot, qos } => self.subscribe(slot, qos),
            Action::Unsubscribe { which } => self.unsubscribe(which),
            Action::Read { which, pace } => {
                if let Some(consumer) = nth(&mut self.consumers, which) {
                    consumer.pace = pace;
                }
            }
            Action::Beat { alive_ms } => self.core.beat(Duration::from_millis(alive_ms)),
            Action::Remote { slot, messages, size, qos, batched: true, .. } => {
                self.publish_batch_remotely(slot, messages, size.min(500), qos);
            }
            Action::Remote { slot, messages, size, qos, retain, .. } => {
                for _ in 0..messages {
                    self.publish_remotely(slot, size, qos, retain);
                }
            }
            Action::Weather(ref weather) => self.world.lock().change_weather(weather.clone()),
            Action::Withhold { answer, for_ms } => self.world.lock().broker.withhold(answer, after(for_ms)),
            Action::Refuse { code, for_ms } => self.world.lock().broker.refuse(code, after(for_ms)),
            Action::Poison { above } => {
                let mut world = self.world.lock();
                world.broker.largest = Some(above);
                world.ledger.poison = Some(world.ledger.poison.map_or(above, |before| before.min(above)));
            }
            Action::Repeat => {
                let mut world = self.world.lock();
                world.broker.repeat();
                world.broker_speaks();
            }
            Action::Restart { keeps, polite, for_ms } => {
                let mut world = self.world.lock();
                world.broker.restart(after(for_ms), keeps);
                for number in 0..world.links.len() {
                    match polite {
                        true => world.broker_closes(number),
                        false => world.reset(number, true),
                    }
                }
            }
            Action::Stop { timeout_ms, polite, hurried_after_ms, for_ms } => {
                self.stop(timeout_ms, polite, hurried_after_ms).await?;
                self.pass(for_ms).await?;
                self.start();
            }
            Action::Cut { .. }
            | Action::CutBehindPacket
            | Action::Reset { .. }
            | Action::Close
            | Action::HalfOpen
            | Action::Stall { .. } => {
                if let Some(number) = newest {
                    self.harm(number, action);
                }
            }
        }
        Ok(())
    }

    fn harm(&self, number: usize, action: &Action) {
        let mut world = self.world.lock();
        let link = &mut world.links[number];
        match *action {
            Action::Cut { way, after } => link.pipe(way).cut_in = Some(after),
            Action::CutBehindPacket => link.cut_behind_packet = true,
            Action::Stall { way, for_ms } => {
                link.pipe(way).stalled_until = Instant::now() + Duration::from_millis(for_ms);
            }
            Action::HalfOpen => (link.up.swallows, link.down.swallows) = (true, true),
            Action::Reset { noticed } => world.reset(number, noticed),
            _ => world.broker_closes(number),
        }
    }

    pub fn publish(&mut self, size: usize, qos: Qos, tracked: bool) {
        let mut world = self.world.lock();
        let number = world.ledger.next();
        let qos = match qos {
            Qos::Only(qos) => qos,
            Qos::Mixed => world.rng.u8(..=TOP),
        };
        let [retain, priority] = [0; 2].map(|_| world.rng.u8(..10) == 0);
        let track = tracked && qos > 0;
        let batches = self.schedule.config.limits.batch.is_some();
        let event = batches && !(retain || priority || track) && world.rng.u8(..8) > 0;
        let payload = if event { ledger::event(number, size) } else { ledger::payload(number, size) };
        let topic = ledger::topic(number);
        let message = Message { topic: topic.as_bytes(), payload: &payload, qos, retain, priority };
        let born_ms = world.now_ms() as u32;
        let offered = match event {
            true => self.core.outbox.lock().offer_event(&message, born_ms),
            false => self.core.outbox.lock().offer(&message, track, born_ms),
        };
        world.ledger.offered(&message, size, event, offered.map(|(token, _)| token));
        drop(world);
        let waits = self.schedule.config.limits.on_full == OnFull::Wait;
        self.waits_for_room |= waits && offered == Err(Rejection::QueueFull);
        self.core.tell_outcomes();
        if let Ok((_, true)) = offered {
            self.core.bell.driver.notify_one();
        }
    }

    fn withdraw(&mut self) {
        let mut world = self.world.lock();
        let which = world.rng.usize(..1000);
        let Some(token) = world.ledger.waiting(which) else { return };
        drop(world);
        // What is settled already may not have been fetched.
        self.fetch_events();
        let withdrawn = self.core.withdraw(token);
        let mut world = self.world.lock();
        if withdrawn && let Err(why) = world.ledger.settled(token, Fate::Withdrawn) {
            world.fail(&why);
        }
    }

    pub fn flush(&mut self) {
        let behind = self.world.lock().ledger.next();
        self.flushes.push((self.core.begin_flush(), behind));
    }

    fn subscribe(&mut self, slot: u8, qos: u8) {
        let config = &self.schedule.config;
        let number = self.consumers.len() as u32;
        let bell = Arc::clone(&self.core.bell);
        let batches = number % 2 == 1;
        let filter = if number % 3 == 2 { consumer::topic(slot) } else { consumer::filter(slot) };
        let inbox = Arc::new(Inbox::new(number, batches, config.max_inbox_bytes, config.max_inbox_messages, bell));
        self.consumers.push(Consumer::new(slot, filter.clone(), Arc::clone(&inbox), self.remote.len() as u64));
        self.core.command(Command::Subscribe { inbox, filter, qos });
    }

    fn unsubscribe(&mut self, which: usize) {
        if let Some(consumer) = nth(&mut self.consumers, which)
            && std::mem::take(&mut consumer.subscribed)
        {
            self.core.command(Command::Unsubscribe { subscription: consumer.inbox.subscription });
        }
    }

    pub fn publish_remotely(&mut self, slot: u8, size: usize, qos: u8, retain: bool) {
        let number = self.remote.len() as u64;
        let delivery = Delivery { number, events: 0, topic: consumer::topic(slot), qos, retain, size };
        let mut world = self.world.lock();
        if world.broker.publish(&delivery) {
            let matching = self.consumers.iter_mut().filter(|consumer| consumer.subscribed && consumer.slot == slot);
            matching.for_each(|consumer| consumer.expect(number));
        }
        world.broker_speaks();
        self.remote.push(delivery);
    }

    fn publish_batch_remotely(&mut self, slot: u8, events: usize, size: usize, qos: u8) {
        let first = self.remote.len() as u64;
        let numbers = first..first + events as u64;
        let topic = format!("{}{BATCH}", consumer::topic(slot));
        let delivery = Delivery { number: first, events: events as u64, topic, qos, retain: false, size };
        let mut world = self.world.lock();
        if world.broker.publish(&delivery) {
            let matching = self.consumers.iter_mut().filter(|consumer| consumer.subscribed && consumer.slot == slot);
            for consumer in matching.filter(|consumer| consumer.has_batches()) {
                numbers.clone().for_each(|number| consumer.expect(number));
            }
        }
        world.broker_speaks();
        self.remote.extend(numbers.map(|number| Delivery { number, ..delivery.clone() }));
    }

    pub async fn stop(&mut self, timeout_ms: u64, polite: bool, hurried_after_ms: Option<u64>) -> Result<(), Broken> {
        let timeout = Duration::from_millis(timeout_ms);
        self.core.command(Command::Stop { timeout, goodbye: polite });
        let mut limit_ms = timeout_ms;
        if let Some(after_ms) = hurried_after_ms.filter(|after_ms| *after_ms < timeout_ms) {
            self.pass(after_ms).await?;
            self.core.command(Command::Stop { timeout: Duration::ZERO, goodbye: false });
            limit_ms = 0;
        }
        self.until(limit_ms + 2 * LOOK_MS, "the stop is over", |run| run.stopped).await?;
        let rest = {
            let outbox = self.core.outbox.lock();
            (outbox.queued_events(), outbox.in_flight_events())
        };
        self.demand(rest == (0, 0), &format!("{rest:?} are left after a stop"))
    }
}

fn nth(consumers: &mut [Consumer], which: usize) -> Option<&mut Consumer> {
    let place = which.checked_rem(consumers.len())?;
    consumers.get_mut(place)
}
