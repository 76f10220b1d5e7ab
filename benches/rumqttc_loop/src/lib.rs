//! rumqttc's own client and event loop on a thread, fed by this project's encoder.
//!
//! The peer that tells what the outbox of the core is worth: same encoding, same protocol codec,
//! other queue and other writer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cascade_mqtt_core::python::{desk::Desk, encode::encode_payload};
use pyo3::{
    exceptions::{PyConnectionError, PyRuntimeError, PyValueError},
    prelude::*,
};
use rumqttc::{AsyncClient, ClientError, Event, EventLoop, MqttOptions, Outgoing, Packet};

const MAX_BYTES: usize = 1024 * 1024;

#[pyclass]
struct Publisher {
    client: AsyncClient,
    taken: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

#[pymethods]
impl Publisher {
    /// Connects; `capacity` is that of the channel to the event loop, in messages.
    #[new]
    fn new(py: Python<'_>, host: &str, port: u16, capacity: usize) -> PyResult<Self> {
        let mut options = MqttOptions::new("rumqttc-loop", host, port);
        options.set_inflight(u16::MAX - 1);
        // Its default leaves Nagle's algorithm on: 1.8 times as fast here, since it flushes each message.
        let (client, event_loop) = AsyncClient::new(options, capacity);

        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let (connected, wait) = mpsc::channel();
        let thread = thread::spawn(move || run(event_loop, &counter, &connected));
        py.detach(move || wait.recv_timeout(Duration::from_secs(5)))
            .map_err(|_| PyConnectionError::new_err("no connection within 5 s"))?;
        Ok(Self { client, taken, thread: Some(thread) })
    }

    /// False where the channel is full.
    fn publish(&self, topic: &str, payload: &Bound<'_, PyAny>, qos: u8) -> PyResult<bool> {
        let qos = rumqttc::qos(qos).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let mut bytes = Vec::with_capacity(512);
        let encode = |desk: &mut Desk| encode_payload(payload, None, MAX_BYTES, &mut desk.shapes, &mut bytes);
        Desk::at(payload.py(), encode).map_err(|error| PyValueError::new_err(format!("{error:?}")))?;
        match self.client.try_publish(topic, qos, false, bytes) {
            Ok(()) => Ok(true),
            Err(ClientError::TryRequest(_)) if self.thread.is_some() => Ok(false),
            Err(error) => Err(PyRuntimeError::new_err(error.to_string())),
        }
    }

    /// Publishes that the event loop has taken from the channel.
    fn count(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Disconnects behind what is queued.
    fn close(&mut self, py: Python<'_>) {
        if let Some(thread) = self.thread.take() {
            py.detach(|| {
                while !thread.is_finished() && self.client.try_disconnect().is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
                let _ = thread.join();
            });
        }
    }
}

fn run(mut event_loop: EventLoop, taken: &AtomicU64, connected: &mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        loop {
            match event_loop.poll().await {
                Ok(Event::Outgoing(Outgoing::Publish(_))) => {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let _ = connected.send(());
                }
                Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    });
}

#[pymodule]
mod rumqttc_loop {
    #[pymodule_export]
    use super::Publisher;
}
