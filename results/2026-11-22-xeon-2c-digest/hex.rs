//! Ways to append a digest in hexadecimal to a line.

use std::hint::black_box;
use std::time::Instant;

const DIGITS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [digits[i >> 4], digits[i & 15]];
        i += 1;
    }
    table
};

#[inline(never)]
fn table_into_array(bytes: &[u8], out: &mut Vec<u8>) {
    let mut hex = [[0; 2]; 64];
    for (pair, &byte) in hex.iter_mut().zip(bytes) {
        *pair = DIGITS[usize::from(byte)];
    }
    out.extend_from_slice(&hex.as_flattened()[..2 * bytes.len()]);
}

#[inline(never)]
fn table_extend(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().flat_map(|&byte| DIGITS[usize::from(byte)]));
}

#[inline(never)]
fn const_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let mut hex = [0; 128];
    let hex = &mut hex[..2 * bytes.len()];
    const_hex::encode_to_slice(bytes, hex).unwrap();
    out.extend_from_slice(hex);
}

fn main() {
    type Append = fn(&[u8], &mut Vec<u8>);
    let ways: [(&str, Append); 3] = [
        ("table into array", table_into_array),
        ("table, extend", table_extend),
        ("const-hex 1.19", const_hex),
    ];
    let digest: [u8; 64] = std::array::from_fn(|i| (i * 37 + 11) as u8);
    println!("way;bytes;min_ns");
    for len in [4, 8, 16, 20, 32, 64] {
        let mut out = Vec::with_capacity(256);
        let mut best = [f64::MAX; 3];
        for _ in 0..300 {
            for ((_, append), best) in ways.iter().zip(&mut best) {
                let start = Instant::now();
                for _ in 0..1000 {
                    out.clear();
                    append(black_box(&digest[..len]), &mut out);
                    black_box(&out);
                }
                *best = best.min(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        for ((name, _), best) in ways.iter().zip(best) {
            println!("{name};{len};{best:.1}");
        }
    }
}
