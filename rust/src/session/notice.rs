//! What a session has to say.

/// What the owner of the session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Subscribed {
        subscription: u32,
        code: u8,
    },
    /// The retained messages of a subscription have arrived.
    Retained {
        subscription: u32,
    },
    Unsubscribed {
        subscription: u32,
    },
    /// The filter of batches beside a subscription's own.
    BatchesRefused {
        filter: String,
    },
    /// The broker did not answer a SUBSCRIBE.
    Unanswered {
        filter: String,
    },
}

/// Why the session cannot go on over this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// No answer to PINGREQ in half a keep-alive.
    KeepAlive,
    /// An acknowledgement of nothing that was sent, or with the wrong number of return codes.
    Unexpected(&'static str),
}
