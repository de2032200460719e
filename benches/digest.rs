//! The digest algorithms on the bytes of a small file and of a large read.
//!
//! `one shot` is used for a file that fits into one buffer. `reused hasher` is used for a file that is
//! read in pieces, here one piece, and reuses the state of an earlier file. `each of 4` is one message
//! of four that are computed together.

use std::hint::black_box;
use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use ringmill::digest::{Algorithm, Hasher};

const SIZES: [(&str, usize); 2] = [("4 KiB", 4 << 10), ("1 MiB", 1 << 20)];

fn digests(c: &mut Criterion) {
    for (size_name, size) in SIZES {
        let message: Vec<u8> = (0..=250).cycle().take(size).collect();
        let mut group = c.benchmark_group(size_name);
        group.throughput(Throughput::Bytes(size as u64));
        for algorithm in Algorithm::ALL {
            group.bench_function(BenchmarkId::new("one shot", algorithm), |b| {
                b.iter(|| algorithm.digest(black_box(&message)));
            });
            if algorithm.group_len() > 1 {
                each_of::<2>(&mut group, algorithm, &message);
                each_of::<3>(&mut group, algorithm, &message);
                each_of::<4>(&mut group, algorithm, &message);
            }
            let mut hasher = Hasher::new(algorithm);
            group.bench_function(BenchmarkId::new("reused hasher", algorithm), |b| {
                b.iter(|| {
                    hasher.update(black_box(&message));
                    hasher.finalize_reset()
                });
            });
        }
        group.finish();
    }
}

/// The time for one message in a group of `N`.
fn each_of<const N: usize>(
    group: &mut BenchmarkGroup<WallTime>,
    algorithm: Algorithm,
    message: &[u8],
) {
    let messages: [Vec<u8>; N] = std::array::from_fn(|_| message.to_vec());
    let name = BenchmarkId::new(format!("each of {N}"), algorithm);
    group.bench_function(name, |b| {
        b.iter_custom(|groups| {
            let started = Instant::now();
            for _ in 0..groups {
                let messages = messages.each_ref().map(|message| &message[..]);
                black_box(algorithm.digest_group(black_box(messages)));
            }
            started.elapsed() / N as u32
        });
    });
}

fn hex(c: &mut Criterion) {
    let digest = Algorithm::Sha256.digest(b"");
    let mut line = Vec::with_capacity(128);
    c.bench_function("hex of 32 bytes", |b| {
        b.iter(|| {
            line.clear();
            black_box(&digest).write_hex(&mut line);
            black_box(line.len())
        });
    });
}

criterion_group!(benches, digests, hex);
criterion_main!(benches);
