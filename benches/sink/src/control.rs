//! The second port: a line in, a line of JSON out.
//!
//! `count` | `reset` | `wait N` (answered when N publishes have arrived) | `send N QOS FILE` |
//! `beat N MICROSECONDS`

use std::{
    io::{self, ErrorKind, Read, Write},
    path::PathBuf,
    time::Duration,
};

use mio::net::TcpStream;

use crate::Totals;

pub enum Command {
    Count,
    Reset,
    Wait(u64),
    Send { total: u64, qos: u8, file: PathBuf },
    Beat { count: u64, every: Duration },
}

pub struct Control {
    stream: TcpStream,
    line: Vec<u8>,
    /// The count that this client waits for.
    pub waits_for: Option<u64>,
}

impl Control {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, line: Vec::new(), waits_for: None }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The commands that have arrived; a line that is none of them ends the connection.
    pub fn commands(&mut self) -> io::Result<Vec<Command>> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(got) => self.line.extend_from_slice(&chunk[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut commands = Vec::new();
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            commands.push(parse(text.trim_end()).ok_or(ErrorKind::InvalidInput)?);
        }
        Ok(commands)
    }

    pub fn answer(&mut self, totals: &Totals, connections: usize) -> io::Result<()> {
        let Totals { publishes, bytes, acknowledged } = totals;
        writeln!(
            self.stream,
            r#"{{"publishes": {publishes}, "bytes": {bytes}, "acknowledged": {acknowledged}, "connections": {connections}}}"#
        )
    }
}

fn parse(line: &str) -> Option<Command> {
    let mut words = line.splitn(4, ' ');
    match (words.next()?, words.next(), words.next(), words.next()) {
        ("count", None, ..) => Some(Command::Count),
        ("reset", None, ..) => Some(Command::Reset),
        ("wait", Some(count), None, _) => Some(Command::Wait(count.parse().ok()?)),
        ("send", Some(total), Some(qos), Some(file)) => Some(Command::Send {
            total: total.parse().ok()?,
            qos: qos.parse().ok().filter(|qos| *qos < 2)?,
            file: file.into(),
        }),
        ("beat", Some(count), Some(micros), None) => {
            Some(Command::Beat { count: count.parse().ok()?, every: Duration::from_micros(micros.parse().ok()?) })
        }
        _ => None,
    }
}
