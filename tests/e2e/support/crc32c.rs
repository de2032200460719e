//! CRC-32C bit by bit: an oracle that is slow, small and independent of any crate.

/// The reversed Castagnoli polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of some bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !feed(!0, bytes)
}

/// The checksum of `zeros` zero bytes followed by `tail`.
pub fn crc32c_of_zeros_then(zeros: u64, tail: &[u8]) -> u32 {
    // Feeding zeros is a linear map over GF(2): square it for each bit of their number.
    let mut map: [u32; 32] = std::array::from_fn(|bit| feed(1 << bit, &[0]));
    let mut state = !0;
    for bit in 0..u64::BITS - zeros.leading_zeros() {
        if zeros >> bit & 1 == 1 {
            state = apply(&map, state);
        }
        map = map.map(|column| apply(&map, column));
    }
    !feed(state, tail)
}

fn feed(mut state: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        state ^= u32::from(byte);
        for _ in 0..8 {
            state = (state >> 1) ^ if state & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    state
}

fn apply(map: &[u32; 32], vector: u32) -> u32 {
    (0..32)
        .filter(|bit| vector >> bit & 1 == 1)
        .fold(0, |sum, bit| sum ^ map[bit])
}

#[test]
fn the_oracle_knows_the_published_values() {
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    for zeros in [0, 1, 31, 1000, 4096] {
        let whole = [vec![0; zeros], b"tail".to_vec()].concat();
        assert_eq!(
            crc32c_of_zeros_then(zeros as u64, b"tail"),
            crc32c(&whole),
            "{zeros} zeros"
        );
    }
}
