//! Numbers of a line in text.

use std::time::Duration;

pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three digits behind the point.
pub(super) fn millis(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push(b'.');
    digits(out, micros % 1000);
}

/// Three digits.
pub(super) fn digits(out: &mut Vec<u8>, below_1000: u64) {
    out.extend([below_1000 / 100 % 10, below_1000 / 10 % 10, below_1000 % 10].map(|digit| b'0' + digit as u8));
}

/// Sixteen digits.
pub(super) fn hex(out: &mut Vec<u8>, id: u64) {
    // The high digits of the bytes, and the low ones, each in a byte of its own.
    let (high, low) = (letters((id >> 4) & NIBBLES).to_be_bytes(), letters(id & NIBBLES).to_be_bytes());
    let digits: [u8; 16] = std::array::from_fn(|at| if at % 2 == 0 { high[at / 2] } else { low[at / 2] });
    out.extend_from_slice(&digits);
}

/// The low half of each byte.
const NIBBLES: u64 = 0x0f0f_0f0f_0f0f_0f0f;

/// A letter for each byte, which is below 16.
fn letters(nibbles: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // 1 where it is ten or more: `a` lies 39 behind what would follow `9`.
    let above = ((nibbles + 6 * ONES) >> 4) & ONES;
    nibbles + 0x30 * ONES + above * 39
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_sixteen_digits() {
        for id in [0, 9, 10, 0xab, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            let mut out = Vec::new();
            hex(&mut out, id);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{id:016x}"));
        }
    }
}
