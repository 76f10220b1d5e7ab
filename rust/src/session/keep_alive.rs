//! Keep-alive: when PINGREQ is due, and when its answer is overdue (MQTT 3.1.1 section 3.1.2.10).

/// Times are milliseconds of the session's clock.
#[derive(Debug, Default)]
pub struct KeepAlive {
    /// 0 turns it off.
    interval_ms: u64,
    /// Reading was paused by us, so an unread PINGRESP is no one's fault.
    paused: bool,
    sent: u64,
    answered: u64,
    unanswered_since_ms: Option<u64>,
    last_ping_ms: u64,
    last_sent_ms: u64,
    last_received_ms: u64,
}

impl KeepAlive {
    /// A connection begins.
    pub fn new(interval_ms: u64, now: u64) -> Self {
        Self { interval_ms, last_sent_ms: now, last_received_ms: now, ..Self::default() }
    }

    /// PINGREQs so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// PINGREQs that are answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    pub fn ping_goes_out(&mut self, now: u64) {
        self.sent += 1;
        self.last_ping_ms = now;
        self.unanswered_since_ms.get_or_insert(now);
    }

    pub fn pingresp(&mut self, now: u64) {
        self.answered = self.sent.min(self.answered + 1);
        self.unanswered_since_ms = (self.answered < self.sent).then_some(now);
    }

    pub fn bytes_came(&mut self, now: u64) {
        self.last_received_ms = now;
    }

    pub fn bytes_left(&mut self, now: u64) {
        self.last_sent_ms = now;
    }

    pub fn set_paused(&mut self, now: u64, paused: bool) {
        if self.paused && !paused {
            self.last_received_ms = now;
            self.unanswered_since_ms = self.unanswered_since_ms.map(|_| now);
        }
        self.paused = paused;
    }

    /// No answer to PINGREQ in half a keep-alive.
    pub fn is_overdue(&self, now: u64) -> bool {
        self.interval_ms > 0 && self.overdue_at().is_some_and(|at| now >= at)
    }

    pub fn is_due(&self, now: u64) -> bool {
        self.interval_ms > 0 && now >= self.due_at()
    }

    /// When there is something to do next.
    pub fn deadline(&self) -> Option<u64> {
        let due = self.due_at();
        (self.interval_ms > 0).then(|| self.overdue_at().map_or(due, |overdue| due.min(overdue)))
    }

    fn overdue_at(&self) -> Option<u64> {
        self.unanswered_since_ms.filter(|_| !self.paused).map(|since| since + self.interval_ms / 2)
    }

    /// With one unanswered, which a pause of ours can make last, the broker must hear from us none the less.
    fn due_at(&self) -> u64 {
        let idle_since = match self.unanswered_since_ms {
            None => self.last_sent_ms.min(self.last_received_ms),
            Some(_) => self.last_sent_ms.max(self.last_ping_ms),
        };
        idle_since + self.interval_ms
    }
}
