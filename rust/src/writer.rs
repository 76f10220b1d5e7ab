//! What goes out, in which order: control packets at the next frame boundary, then events, buffer by
//! buffer, each written whole.

use std::io;

use crate::compression;
use crate::core::Core;
use crate::outbox::{Pending, Segment, Span};
use crate::sync;
use crate::transport::Stream;

/// No connector writes more than this in one turn of the I/O thread.
const TURN_BYTES: usize = 256 * 1024;

enum Current {
    /// QoS 0: forgotten once written.
    Telemetry(Segment),
    /// QoS 1: kept by the outbox until acknowledged.
    Tracked(Span),
}

/// Why the writer stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing to write; producers wake the driver.
    Idle,
    /// A little to write, worth waiting a moment for more.
    Lingering,
    /// The socket takes no more now.
    Blocked,
    /// The turn is over, there is more.
    TurnOver,
}

#[derive(Default)]
pub struct Writer {
    current: Option<Current>,
    position: usize,
    control_position: usize,
    tracked_last: bool,
}

impl Writer {
    /// Write until there is nothing, the socket blocks, or the turn is over. With `urgent` a little
    /// is enough.
    pub fn pump(
        &mut self,
        core: &Core,
        control: &mut Vec<u8>,
        stream: &impl Stream,
        now_ms: u64,
        mut urgent: bool,
    ) -> io::Result<(Stopped, usize)> {
        let mut total = 0;
        loop {
            if total >= TURN_BYTES {
                return Ok((Stopped::TurnOver, total));
            }
            if self.current.is_none() && control.is_empty() {
                if let Some(stopped) = self.take_next(core, now_ms, urgent) {
                    return Ok((stopped, total));
                }
                urgent = false;
            }
            let wrote = match self.write_some(core, control, stream) {
                Ok(wrote) => wrote,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Stopped::Blocked, total));
                }
                Err(error) => return Err(error),
            };
            total += wrote;
            self.finish_current(core);
        }
    }

    /// Whether everything that was begun is written, so that a connection may end politely.
    pub fn at_boundary(&self) -> bool {
        self.current.is_none()
    }

    /// The connection is gone: what was not wholly written goes back to be sent from its start.
    pub fn give_back(&mut self, core: &Core) {
        if let Some(Current::Telemetry(segment)) = self.current.take() {
            core.outbox.lock().give_back(segment, self.position);
        }
    }

    fn take_next(&mut self, core: &Core, now_ms: u64, urgent: bool) -> Option<Stopped> {
        match core.outbox.lock().pending(now_ms) {
            Pending::Nothing => return Some(Stopped::Idle),
            Pending::Little if !urgent => return Some(Stopped::Lingering),
            _ => {}
        }
        // The lanes take turns; within a lane the order is that of acceptance.
        self.tracked_last = !self.tracked_last;
        let first = if self.tracked_last { take_tracked } else { take_telemetry };
        let second = if self.tracked_last { take_telemetry } else { take_tracked };
        let Some((current, position)) = first(core).or_else(|| second(core)) else {
            return Some(Stopped::Idle);
        };
        self.current = Some(current);
        self.position = position;
        None
    }

    fn write_some(&mut self, core: &Core, control: &mut Vec<u8>, stream: &impl Stream) -> io::Result<usize> {
        let limit = match &self.current {
            None => self.position,
            // A control packet that was begun is ended first.
            Some(_) if self.control_position > 0 => self.position,
            Some(current) if control.is_empty() => current.end(),
            Some(current) => current.boundary(core, self.position),
        };
        if self.position == limit && !control.is_empty() {
            return self.write_control(control, stream);
        }
        let Some(current) = &self.current else {
            return Ok(0);
        };
        let wrote = stream.try_write(&current.bytes()[self.position..limit])?;
        self.position += wrote;
        Ok(wrote)
    }

    /// Write control packets alone, as much as the socket takes.
    pub fn write_control(&mut self, control: &mut Vec<u8>, stream: &impl Stream) -> io::Result<usize> {
        let wrote = stream.try_write(&control[self.control_position..])?;
        self.control_position += wrote;
        if self.control_position == control.len() {
            control.clear();
            self.control_position = 0;
        }
        Ok(wrote)
    }

    fn finish_current(&mut self, core: &Core) {
        if self.current.as_ref().is_none_or(|current| self.position < current.end()) {
            return;
        }
        match self.current.take() {
            Some(Current::Telemetry(segment)) => core.outbox.lock().written(segment),
            Some(Current::Tracked(span)) => core.outbox.lock().retain(span),
            None => {}
        }
        self.position = 0;
    }
}

fn take_telemetry(core: &Core) -> Option<(Current, usize)> {
    let mut segment = core.outbox.lock().take_telemetry()?;
    if core.config.limits.compresses() {
        segment.pack(compression::shorten);
    }
    Some((Current::Telemetry(segment), 0))
}

fn take_tracked(core: &Core) -> Option<(Current, usize)> {
    // Compressed before it has its first identifier: what is sent again is the same bytes.
    if core.config.limits.compresses() {
        let unsent = core.outbox.lock().take_unsent();
        if let Some(mut segment) = unsent {
            segment.pack(compression::shorten);
            core.outbox.lock().begin(segment);
        }
    }
    let mut span = core.outbox.lock().take_acknowledged()?;
    loop {
        sync::let_others_in();
        if !core.outbox.lock().lengthen(&mut span) {
            break;
        }
    }
    let start = span.start;
    Some((Current::Tracked(span), start))
}

impl Current {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Telemetry(segment) => &segment.bytes,
            Self::Tracked(span) => &span.bytes,
        }
    }

    fn end(&self) -> usize {
        match self {
            Self::Telemetry(segment) => segment.bytes.len(),
            Self::Tracked(span) => span.end,
        }
    }

    fn boundary(&self, core: &Core, position: usize) -> usize {
        match self {
            Self::Telemetry(segment) => segment.boundary(position),
            Self::Tracked(span) => core.outbox.lock().boundary(span, position),
        }
    }
}
