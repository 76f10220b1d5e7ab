//! From packets to bytes, appended to a buffer.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Subscribe, SubscribeFilter, Unsubscribe};

use super::{MAX_REMAINING, first};

/// CONNECT (MQTT 3.1.1 section 3.1). A password without a username is not sent (section 3.1.2.9).
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    pub client_id: &'a str,
    pub keep_alive_s: u16,
    pub clean_session: bool,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub will: Option<WillMessage<'a>>,
}

/// What the broker publishes when the client vanishes (MQTT 3.1.1 section 3.1.2.5).
#[derive(Debug, Clone, Copy)]
pub struct WillMessage<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
}

/// A field of CONNECT that its two-byte length cannot tell (MQTT 3.1.1 section 1.5.3); names the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldTooLong(pub &'static str);

impl Display for FieldTooLong {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(field) = self;
        write!(f, "the {field} is over 65535 bytes (MQTT 3.1.1 section 1.5.3)")
    }
}

impl Error for FieldTooLong {}

/// Appends CONNECT; on an error `out` is as it was.
pub fn connect(out: &mut Vec<u8>, packet: &Connect<'_>) -> Result<(), FieldTooLong> {
    let mut flags = u8::from(packet.clean_session) << 1;
    let mut fields = vec![("identifier", packet.client_id.as_bytes())];
    if let Some(will) = &packet.will {
        flags |= 0b100 | (will.qos << 3) | (u8::from(will.retain) << 5);
        fields.push(("will's topic", will.topic.as_bytes()));
        fields.push(("will's payload", will.payload));
    }
    if let Some(username) = packet.username {
        flags |= 0x80;
        fields.push(("username", username.as_bytes()));
        if let Some(password) = packet.password {
            flags |= 0x40;
            fields.push(("password", password));
        }
    }
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(b"\0\x04MQTT\x04");
    body.push(flags);
    body.extend_from_slice(&packet.keep_alive_s.to_be_bytes());
    for (name, field) in fields {
        let size = u16::try_from(field.len()).map_err(|_| FieldTooLong(name))?;
        body.extend_from_slice(&size.to_be_bytes());
        body.extend_from_slice(field);
    }
    let (header, size) = fixed_header(first::CONNECT, body.len());
    out.extend_from_slice(&header[..size]);
    out.extend_from_slice(&body);
    Ok(())
}

/// The bytes of a whole PUBLISH frame; `None` where MQTT cannot carry it (sections 1.5.3 and 2.2.3).
#[inline]
pub fn publish_size(topic_len: usize, payload_len: usize, qos: u8) -> Option<usize> {
    let body = publish_body(topic_len, payload_len, qos)?;
    Some(1 + digits(body) + body)
}

#[inline]
fn publish_body(topic_len: usize, payload_len: usize, qos: u8) -> Option<usize> {
    let id = if qos == 0 { 0 } else { 2 };
    let body = payload_len.checked_add(2 + topic_len + id)?;
    (topic_len <= crate::topic::MAX_BYTES && body <= MAX_REMAINING).then_some(body)
}

/// Appends one PUBLISH frame and returns its size in bytes; `None`, and nothing appended, where MQTT cannot carry it.
///
/// `topic` has passed `topic::check_name`; `qos` is 0, 1 or 2. Above QoS 0 the packet identifier is 0 until `patch`.
#[inline]
pub fn publish(out: &mut Vec<u8>, topic: &[u8], payload: &[u8], qos: u8, retain: bool) -> Option<usize> {
    let body = publish_body(topic.len(), payload.len(), qos)?;
    let (header, size) = fixed_header(first::PUBLISH | (qos << 1) | u8::from(retain), body);
    let topic_len = u16::try_from(topic.len()).ok()?;
    // Just what `publish_size` said, which is what the outbox has accounted for; it is never less than `header`.
    out.reserve((size + body).max(header.len()));
    let start = out.len();
    // SAFETY: there is room for the frame, and for all five bytes of the header, of which those that it does not fill
    // are written over. All of the frame is written before the length tells of it.
    unsafe {
        let frame = out.as_mut_ptr().add(start);
        frame.cast::<[u8; 5]>().write(header);
        let mut end = frame.add(size);
        end.cast::<[u8; 2]>().write(topic_len.to_be_bytes());
        end = end.add(2);
        end.copy_from_nonoverlapping(topic.as_ptr(), topic.len());
        end = end.add(topic.len());
        if qos > 0 {
            end.cast::<[u8; 2]>().write([0, 0]);
            end = end.add(2);
        }
        end.copy_from_nonoverlapping(payload.as_ptr(), payload.len());
        out.set_len(start + size + body);
    }
    Some(size + body)
}

/// Begins a PUBLISH frame whose payload is appended behind it, at most `most` bytes; `end_publish` ends it.
///
/// Until then it is as `publish` makes it, but that its remaining length is 0, in as many bytes as `most` needs.
pub fn begin_publish(out: &mut Vec<u8>, topic: [&[u8]; 2], qos: u8, most: usize) {
    let topic_len = topic[0].len() + topic[1].len();
    let room = digits(2 + topic_len + if qos == 0 { 0 } else { 2 } + most);
    out.push(first::PUBLISH | (qos << 1));
    out.extend_from_slice(&[0x80, 0x80, 0x80, 0][4 - room..]);
    out.extend_from_slice(&(topic_len as u16).to_be_bytes());
    topic.into_iter().for_each(|part| out.extend_from_slice(part));
    if qos > 0 {
        out.extend_from_slice(&[0, 0]);
    }
}

/// Ends the frame that begins at `start` and is the last of `out`: its remaining length is told in no more bytes than
/// it needs (MQTT 3.1.1 section 2.2.3).
pub fn end_publish(out: &mut Vec<u8>, start: usize) {
    let body = start + header_len(&out[start..]);
    let (header, size) = fixed_header(out[start], out.len() - body);
    let spare = body - start - size;
    if spare > 0 {
        out.copy_within(body.., body - spare);
        out.truncate(out.len() - spare);
    }
    out[start..start + size].copy_from_slice(&header[..size]);
}

/// Gives a PUBLISH frame above QoS 0, made by `publish`, its identifier and its DUP flag (MQTT 3.1.1 section 3.3.1.1).
#[inline]
pub fn patch(frame: &mut [u8], packet_id: u16, dup: bool) {
    debug_assert!(frame[0] & 0b0110 != 0, "a QoS 0 frame has no packet identifier");
    let id = topic_range(frame).end;
    frame[id..id + 2].copy_from_slice(&packet_id.to_be_bytes());
    frame[0] = frame[0] & !first::DUP | if dup { first::DUP } else { 0 };
}

/// The topic of a PUBLISH frame made by `publish`.
#[inline]
pub fn topic_of(frame: &[u8]) -> &[u8] {
    &frame[topic_range(frame)]
}

/// The payload of a PUBLISH frame.
pub fn payload_of(frame: &[u8]) -> &[u8] {
    &frame[topic_range(frame).end + if qos(frame) > 0 { 2 } else { 0 }..]
}

/// The size of the fixed header.
#[inline]
fn header_len(frame: &[u8]) -> usize {
    2 + frame[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count()
}

#[inline]
fn topic_range(frame: &[u8]) -> Range<usize> {
    let size = header_len(frame);
    let topic = size + 2;
    topic..topic + usize::from(u16::from_be_bytes([frame[size], frame[size + 1]]))
}

/// How many bytes a remaining length takes (MQTT 3.1.1 section 2.2.3).
#[inline]
fn digits(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The fixed header in a buffer, and how much of that it fills.
#[inline]
fn fixed_header(first: u8, mut length: usize) -> ([u8; 5], usize) {
    let mut header = [first, 0, 0, 0, 0];
    let last = digits(length);
    for byte in &mut header[1..last] {
        *byte = length as u8 | 0x80;
        length >>= 7;
    }
    header[last] = length as u8;
    (header, last + 1)
}

/// The QoS of a PUBLISH frame (MQTT 3.1.1 section 3.3.1.2).
#[inline]
pub fn qos(frame: &[u8]) -> u8 {
    (frame[0] >> 1) & 3
}

/// Appends PUBACK (MQTT 3.1.1 section 3.4).
#[inline]
pub fn puback(out: &mut Vec<u8>, packet_id: u16) {
    acknowledgement(out, first::PUBACK, packet_id);
}

/// Appends PUBREC (MQTT 3.1.1 section 3.5).
#[inline]
pub fn pubrec(out: &mut Vec<u8>, packet_id: u16) {
    acknowledgement(out, first::PUBREC, packet_id);
}

/// Appends PUBREL (MQTT 3.1.1 section 3.6).
#[inline]
pub fn pubrel(out: &mut Vec<u8>, packet_id: u16) {
    acknowledgement(out, first::PUBREL, packet_id);
}

/// Appends PUBCOMP (MQTT 3.1.1 section 3.7).
#[inline]
pub fn pubcomp(out: &mut Vec<u8>, packet_id: u16) {
    acknowledgement(out, first::PUBCOMP, packet_id);
}

#[inline]
fn acknowledgement(out: &mut Vec<u8>, first: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// Appends SUBSCRIBE for one filter, which has passed `topic::check_filter` (MQTT 3.1.1 section 3.8).
pub fn subscribe(out: &mut Vec<u8>, packet_id: u16, filter: &str, qos: u8) {
    let qos = match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let filters = vec![SubscribeFilter::new(filter.to_owned(), qos)];
    append(out, &Packet::Subscribe(Subscribe { pkid: packet_id, filters }));
}

/// Appends UNSUBSCRIBE for one filter, which has passed `topic::check_filter` (MQTT 3.1.1 section 3.10).
pub fn unsubscribe(out: &mut Vec<u8>, packet_id: u16, filter: &str) {
    let topics = vec![filter.to_owned()];
    append(out, &Packet::Unsubscribe(Unsubscribe { pkid: packet_id, topics }));
}

/// Appends PINGREQ (MQTT 3.1.1 section 3.12).
pub fn pingreq(out: &mut Vec<u8>) {
    append(out, &Packet::PingReq);
}

/// Appends DISCONNECT (MQTT 3.1.1 section 3.14).
pub fn disconnect(out: &mut Vec<u8>) {
    append(out, &Packet::Disconnect);
}

fn append(out: &mut Vec<u8>, packet: &Packet) {
    let mut bytes = BytesMut::new();
    packet
        .write(&mut bytes, MAX_REMAINING)
        .expect("the codec fails over 256 MiB only, and these packets hold one filter at most");
    out.extend_from_slice(&bytes);
}
