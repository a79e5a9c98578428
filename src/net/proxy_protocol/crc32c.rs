//! CRC-32C (RFC 9260 appendix A), for the checksum a version 2 header may carry.

/// The polynomial 0x1EDC6F41, bit-reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// A header is short and comes once a connection: bit by bit is fast enough, and needs no table.
pub(super) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_algorithm_come_out() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        // RFC 3720 appendix B.4: 32 bytes of zero.
        assert_eq!(crc32c([0u8; 32].into_iter()), 0x8a91_36aa);
    }
}
