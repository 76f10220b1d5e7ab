//! The little of MQTT that a counting far end reads and writes: no socket here.

/// One whole packet: the first byte, and what follows the remaining length.
pub struct Packet<'a> {
    pub first: u8,
    pub body: &'a [u8],
}

#[derive(Debug, PartialEq)]
pub struct Malformed;

impl Packet<'_> {
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    pub fn qos(&self) -> u8 {
        (self.first >> 1) & 3
    }

    /// The packet id of a PUBLISH of QoS 1 or 2: it stands behind the topic.
    pub fn publish_id(&self) -> Result<u16, Malformed> {
        let topic = usize::from(u16_at(self.body, 0)?);
        u16_at(self.body, 2 + topic)
    }
}

/// The packet at the start of `bytes` and its size; `None` until it is whole.
pub fn first_packet(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some((start, size)) = extent(bytes)? else { return Ok(None) };
    Ok(bytes.get(start..size).map(|body| (Packet { first: bytes[0], body }, size)))
}

/// The size of the PUBLISH of QoS 0 at the start of `bytes`: nothing else of it has to be seen.
pub fn discardable_size(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match bytes.first() {
        Some(first) if first & 0xf6 == 0x30 => Ok(extent(bytes)?.map(|(_, size)| size)),
        _ => Ok(None),
    }
}

/// Where the body of the first packet begins, and its end; `None` until its length is there.
#[inline(always)]
fn extent(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (place, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let start = place + 2;
            return Ok(Some((start, start + length)));
        }
    }
    if bytes.len() < 5 { Ok(None) } else { Err(Malformed) }
}

pub fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Malformed),
    }
}

pub fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Protocol level of a CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5.
pub fn connect_level(body: &[u8]) -> Result<u8, Malformed> {
    let name = usize::from(u16_at(body, 0)?);
    body.get(2 + name).copied().ok_or(Malformed)
}

/// The filters of a SUBSCRIBE or UNSUBSCRIBE; each is followed by `options` bytes, 1 or 0.
pub fn filters(body: &[u8], level: u8, options: usize) -> Result<Vec<&[u8]>, Malformed> {
    let mut at = 2;
    if level == 5 {
        // Properties of a subscription are shorter than 128 bytes in every client measured here.
        at += 1 + usize::from(*body.get(at).ok_or(Malformed)?);
    }
    let mut found = Vec::new();
    while at < body.len() {
        let end = at + 2 + usize::from(u16_at(body, at)?);
        found.push(body.get(at + 2..end).ok_or(Malformed)?);
        at = end + options;
    }
    Ok(found)
}
