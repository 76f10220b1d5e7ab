//! Numbers in JSON text that 64 bits hold; the others are left to the parser.

use super::scan::Leaf;

/// More digits than these may not fit into 64 bits.
const MAX_DIGITS: usize = 18;
/// The powers of ten, and with them the integers of up to 53 bits, that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
const EXACT: u64 = 1 << 53;

/// The number that begins here, and where it ends (RFC 8259 section 6).
#[inline]
pub fn number(data: &[u8], at: usize) -> Option<(Leaf<'_>, usize)> {
    let negative = data[at] == b'-';
    let first = at + usize::from(negative);
    let (whole, mut end) = digits(data, first, 0);
    let size = end - first;
    if size == 0 || size > MAX_DIGITS || (size > 1 && data[first] == b'0') {
        return None;
    }
    if !matches!(data.get(end), Some(b'.' | b'e' | b'E')) {
        let whole = whole.cast_signed();
        return Some((Leaf::Int(if negative { -whole } else { whole }), end));
    }
    let (mut all, mut places) = (whole, 0);
    if data[end] == b'.' {
        let point = end;
        (all, end) = digits(data, point + 1, whole);
        places = end - point - 1;
        if places == 0 {
            return None;
        }
    }
    if let Some(b'e' | b'E') = data.get(end) {
        let signed = end + 1 + usize::from(matches!(data.get(end + 1), Some(b'+' | b'-')));
        let (_, exponent) = digits(data, signed, 0);
        return (exponent > signed).then(|| general(data, at, exponent))?;
    }
    if size + places > MAX_DIGITS || all > EXACT {
        return general(data, at, end);
    }
    // Both are exact, so one division rounds as reading the text would (IEEE 754 section 4.3).
    let float = all as f64 / POWERS[places];
    Some((Leaf::Float(if negative { -float } else { float }), end))
}

/// The digits from here on behind those of `value`, wrapping, and where they end.
#[inline]
fn digits(data: &[u8], from: usize, mut value: u64) -> (u64, usize) {
    let mut end = from;
    while let Some(digit) = data.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        end += 1;
    }
    (value, end)
}

#[cold]
fn general(data: &[u8], at: usize, end: usize) -> Option<(Leaf<'_>, usize)> {
    let float: f64 = std::str::from_utf8(&data[at..end]).ok()?.parse().ok()?;
    float.is_finite().then_some((Leaf::Float(float), end))
}
