//! A far end that counts: it accepts any number of MQTT clients, acknowledges what must be
//! acknowledged, and tells how much arrived. It shares the processor with what it measures, so it
//! does as little as it can: one thread, large reads, no look into payloads.
//!
//! Prints the MQTT port and the control port, then ends when its standard input does.

mod beat;
mod connection;
mod control;
mod source;
mod wire;

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    process, thread,
};

use beat::Beat;
use connection::Connection;
use control::{Command, Control};
use mio::{Events, Interest, Poll, Token, event::Event, net::TcpListener};

const READ_BYTES: usize = 512 * 1024;
const CLIENTS: Token = Token(0);
const CONTROLS: Token = Token(1);

#[derive(Default)]
pub struct Totals {
    publishes: u64,
    bytes: u64,
    /// PUBACKs received for what `send` sent.
    acknowledged: u64,
}

struct Sink {
    poll: Poll,
    next_token: usize,
    buffer: Vec<u8>,
    totals: Totals,
    clients: HashMap<Token, Connection>,
    controls: HashMap<Token, Control>,
    beat: Option<Beat>,
}

fn main() -> io::Result<()> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut clients = TcpListener::bind(anywhere)?;
    let mut controls = TcpListener::bind(anywhere)?;
    let mut sink = Sink {
        poll: Poll::new()?,
        next_token: 2,
        buffer: vec![0; READ_BYTES],
        totals: Totals::default(),
        clients: HashMap::new(),
        controls: HashMap::new(),
        beat: None,
    };
    let registry = sink.poll.registry();
    registry.register(&mut clients, CLIENTS, Interest::READABLE)?;
    registry.register(&mut controls, CONTROLS, Interest::READABLE)?;
    println!("{} {}", clients.local_addr()?.port(), controls.local_addr()?.port());
    io::stdout().flush()?;
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });

    let mut events = Events::with_capacity(1024);
    loop {
        match sink.poll.poll(&mut events, sink.beat.as_ref().map(Beat::wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                CLIENTS => sink.accept_clients(&clients)?,
                CONTROLS => sink.accept_controls(&controls)?,
                token if sink.clients.contains_key(&token) => sink.serve_client(token, event),
                token => sink.serve_control(token),
            }
        }
        sink.beat();
        sink.answer_waits();
    }
}

impl Sink {
    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn accept_clients(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.set_nodelay(true);
            let token = self.token();
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.clients.insert(token, Connection::new(stream));
        }
        Ok(())
    }

    fn accept_controls(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            let token = self.token();
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            self.controls.insert(token, Control::new(stream));
        }
        Ok(())
    }

    fn serve_client(&mut self, token: Token, event: &Event) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let mut result = Ok(());
        if event.is_readable() {
            result = client.read(&mut self.buffer, &mut self.totals);
        }
        if result.is_ok() && event.is_writable() {
            result = client.write();
        }
        if result.is_err() {
            let _ = self.poll.registry().deregister(client.stream());
            self.clients.remove(&token);
        }
    }

    fn serve_control(&mut self, token: Token) {
        let Some(mut control) = self.controls.remove(&token) else {
            return;
        };
        match control.commands().and_then(|commands| self.obey(&mut control, commands)) {
            Ok(()) => {
                self.controls.insert(token, control);
            }
            Err(_) => {
                let _ = self.poll.registry().deregister(control.stream());
            }
        }
    }

    fn obey(&mut self, control: &mut Control, commands: Vec<Command>) -> io::Result<()> {
        for command in commands {
            match command {
                Command::Count => {}
                Command::Reset => self.totals = Totals::default(),
                Command::Wait(count) => {
                    control.waits_for = Some(count);
                    continue;
                }
                Command::Beat { count, every } => self.beat = Some(Beat::new(count, every)),
                Command::Send { total, qos, file } => {
                    for client in self.clients.values_mut() {
                        if client.send(total, qos, &file)? {
                            client.write()?;
                        }
                    }
                }
            }
            control.answer(&self.totals, self.clients.len())?;
        }
        Ok(())
    }

    fn beat(&mut self) {
        while self.beat.as_mut().is_some_and(Beat::strikes) {
            for client in self.clients.values_mut() {
                // A client that is gone is removed when its end of file is read.
                let _ = client.tell(beat::now_ns().to_string().as_bytes());
            }
        }
        self.beat.take_if(|beat| beat.over());
    }

    fn answer_waits(&mut self) {
        for control in self.controls.values_mut() {
            if control.waits_for.is_some_and(|count| self.totals.publishes >= count) {
                control.waits_for = None;
                // A control client that is gone is removed when its end of file is read.
                let _ = control.answer(&self.totals, self.clients.len());
            }
        }
    }
}
