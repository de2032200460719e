//! SHA-256 of several messages at once (crate tape-sha256) against one after another (sha2).

use std::hint::black_box;
use std::time::Instant;

use sha2::Digest;

const LEN_BYTES: usize = 4096;
const ROUNDS: usize = 500;

fn main() {
    println!(
        "# back end {}, {} lanes",
        tape_sha256::backend(),
        tape_sha256::lane_width()
    );
    println!("batch,tape_sha256_min_ns_per_message,sha2_min_ns_per_message");
    for count in [1, 2, 4, 8, 16, 32] {
        let messages: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; LEN_BYTES]).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let mut digests = vec![[0; 32]; count];
        tape_sha256::hash_many(&messages, &mut digests);
        for (message, digest) in messages.iter().zip(&digests) {
            assert_eq!(&sha2::Sha256::digest(message)[..], digest);
        }
        let (mut batch, mut single) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            tape_sha256::hash_many(black_box(&messages), &mut digests);
            batch = batch.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            for message in &messages {
                black_box(sha2::Sha256::digest(message));
            }
            single = single.min(start.elapsed().as_secs_f64());
        }
        let per_message = 1e9 / count as f64;
        println!(
            "{count},{:.0},{:.0}",
            batch * per_message,
            single * per_message
        );
    }
}
