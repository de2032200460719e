//! Compares hash crates on one message the way a file is hashed: new state, one update, finalize.
//!
//! usage: compare [--rounds N] [--filter TEXT] [--label TEXT] [SIZE]...
//!
//! Every round visits every candidate once for about a millisecond, so that a burst of other work
//! on the machine hits all candidates alike. One CSV row per candidate and size: the minimum and
//! the median over the rounds, in nanoseconds per message.

use std::ffi::c_void;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Hashes one message; returns the first 8 digest bytes, to compare candidates with.
type HashFn = fn(&[u8]) -> u64;

struct Candidate {
    algorithm: &'static str,
    name: &'static str,
    run: HashFn,
}

struct Options {
    rounds: usize,
    filter: String,
    label: String,
    sizes: Vec<usize>,
}

fn head(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

macro_rules! rustcrypto {
    ($ty:ty) => {
        |m| {
            use sha2::Digest;
            let mut h = <$ty>::new();
            h.update(m);
            head(&h.finalize())
        }
    };
}

macro_rules! ring_like {
    ($krate:ident, $alg:ident) => {
        |m| {
            let mut c = $krate::digest::Context::new(&$krate::digest::$alg);
            c.update(m);
            head(c.finish().as_ref())
        }
    };
}

macro_rules! ring_like_once {
    ($krate:ident, $alg:ident) => {
        |m| head($krate::digest::digest(&$krate::digest::$alg, m).as_ref())
    };
}

macro_rules! openssl_old {
    ($ty:ident) => {
        |m| {
            let mut h = openssl::sha::$ty::new();
            h.update(m);
            head(&h.finish())
        }
    };
}

macro_rules! graviola_sha2 {
    ($ty:ident) => {
        |m| {
            use graviola::hashing::{Hash, HashContext};
            let mut h = graviola::hashing::$ty::new();
            h.update(m);
            head(h.finish().as_ref())
        }
    };
}

macro_rules! rscrypto_digest {
    ($ty:ident) => {
        |m| {
            #[allow(unused_imports)] // some of the types have these as inherent methods too
            use rscrypto::Digest;
            let mut h = rscrypto::$ty::new();
            h.update(m);
            head(h.finalize().as_ref())
        }
    };
}

fn openssl_md5(m: &[u8]) -> u64 {
    let mut h = openssl::hash::Hasher::new(openssl::hash::MessageDigest::md5()).unwrap();
    h.update(m).unwrap();
    head(&h.finish().unwrap())
}

fn fast_md5_stream(m: &[u8]) -> u64 {
    let mut h = fast_md5::Md5::new();
    h.update(m);
    head(&h.finalize())
}

fn md5_stream(m: &[u8]) -> u64 {
    let mut h = md5::Context::new();
    h.consume(m);
    head(&h.finalize().0)
}

fn blake3_stream(m: &[u8]) -> u64 {
    let mut h = blake3::Hasher::new();
    h.update(m);
    head(h.finalize().as_bytes())
}

/// Streaming as with a read window of `N` bytes.
fn blake3_pieces<const N: usize>(m: &[u8]) -> u64 {
    let mut h = blake3::Hasher::new();
    for piece in m.chunks(N) {
        h.update(piece);
    }
    head(h.finalize().as_bytes())
}

fn twox_stream(m: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut h = twox_hash::XxHash3_64::new();
    h.write(m);
    h.finish()
}

/// The state as the project keeps it: the standard secret by reference, nothing allocated.
fn twox_raw_stream(m: &[u8]) -> u64 {
    use std::hash::Hasher;
    use twox_hash::xxhash3_64::{RawHasher, SecretBuffer};
    let mut h = RawHasher::new(SecretBuffer::default());
    h.write(m);
    h.finish()
}

fn twox128_stream(m: &[u8]) -> u64 {
    let mut h = twox_hash::XxHash3_128::new();
    h.write(m);
    (h.finish_128() >> 64) as u64
}

fn xxhash_rust_stream(m: &[u8]) -> u64 {
    let mut h = xxhash_rust::xxh3::Xxh3Default::new();
    h.update(m);
    h.digest()
}

fn xxhash_rust_with_secret_stream(m: &[u8]) -> u64 {
    let mut h = xxhash_rust::xxh3::Xxh3::new();
    h.update(m);
    h.digest()
}

fn xxhash_rust128_stream(m: &[u8]) -> u64 {
    let mut h = xxhash_rust::xxh3::Xxh3Default::new();
    h.update(m);
    (h.digest128() >> 64) as u64
}

fn xxhash_c_once(m: &[u8]) -> u64 {
    // SAFETY: pointer and length are those of one slice.
    unsafe { xxhash_c_sys::XXH3_64bits(m.as_ptr().cast::<c_void>(), m.len()) }
}

fn xxhash_c128_once(m: &[u8]) -> u64 {
    // SAFETY: pointer and length are those of one slice.
    unsafe { xxhash_c_sys::XXH3_128bits(m.as_ptr().cast::<c_void>(), m.len()).high64 }
}

fn xxhash_c_stream(m: &[u8]) -> u64 {
    // SAFETY: the state is created, used and freed here.
    unsafe {
        let s = xxhash_c_sys::XXH3_createState();
        xxhash_c_sys::XXH3_64bits_reset(s);
        xxhash_c_sys::XXH3_64bits_update(s, m.as_ptr().cast::<c_void>(), m.len());
        let digest = xxhash_c_sys::XXH3_64bits_digest(s);
        xxhash_c_sys::XXH3_freeState(s);
        digest
    }
}

fn rscrypto_xxh3_once(m: &[u8]) -> u64 {
    use rscrypto::FastHash;
    rscrypto::Xxh3::hash(m)
}

fn rscrypto_xxh3_128_once(m: &[u8]) -> u64 {
    use rscrypto::FastHash;
    (rscrypto::Xxh3_128::hash(m) >> 64) as u64
}

fn crc_fast_once(m: &[u8]) -> u64 {
    u64::from(crc_fast::crc32_iscsi(m))
}

fn crc_fast_stream(m: &[u8]) -> u64 {
    let mut h = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    h.update(m);
    h.finalize()
}

fn rscrypto_crc32c(m: &[u8]) -> u64 {
    use rscrypto::Checksum;
    let mut h = rscrypto::Crc32C::new();
    h.update(m);
    u64::from(h.finalize())
}

fn candidates() -> Vec<Candidate> {
    let table: &[(&'static str, &'static str, HashFn)] = &[
        ("sha256", "sha2", rustcrypto!(sha2::Sha256)),
        ("sha256", "ring", ring_like!(ring, SHA256)),
        ("sha256", "ring digest()", ring_like_once!(ring, SHA256)),
        ("sha256", "aws-lc-rs", ring_like!(aws_lc_rs, SHA256)),
        (
            "sha256",
            "aws-lc-rs digest()",
            ring_like_once!(aws_lc_rs, SHA256),
        ),
        ("sha256", "graviola", graviola_sha2!(Sha256)),
        ("sha256", "rscrypto", rscrypto_digest!(Sha256)),
        ("sha256", "openssl", openssl_old!(Sha256)),
        ("sha512", "sha2", rustcrypto!(sha2::Sha512)),
        ("sha512", "ring", ring_like!(ring, SHA512)),
        ("sha512", "ring digest()", ring_like_once!(ring, SHA512)),
        ("sha512", "aws-lc-rs", ring_like!(aws_lc_rs, SHA512)),
        (
            "sha512",
            "aws-lc-rs digest()",
            ring_like_once!(aws_lc_rs, SHA512),
        ),
        ("sha512", "graviola", graviola_sha2!(Sha512)),
        ("sha512", "rscrypto", rscrypto_digest!(Sha512)),
        ("sha512", "openssl", openssl_old!(Sha512)),
        ("sha1", "sha1", rustcrypto!(sha1::Sha1)),
        ("sha1", "ring", ring_like!(ring, SHA1_FOR_LEGACY_USE_ONLY)),
        (
            "sha1",
            "ring digest()",
            ring_like_once!(ring, SHA1_FOR_LEGACY_USE_ONLY),
        ),
        (
            "sha1",
            "aws-lc-rs",
            ring_like!(aws_lc_rs, SHA1_FOR_LEGACY_USE_ONLY),
        ),
        ("sha1", "openssl", openssl_old!(Sha1)),
        ("md5", "md-5", rustcrypto!(md_5::Md5)),
        ("md5", "fast-md5", fast_md5_stream),
        ("md5", "md5", md5_stream),
        ("md5", "openssl", openssl_md5),
        ("blake3", "blake3", blake3_stream),
        ("blake3", "blake3 hash()", |m| {
            head(blake3::hash(m).as_bytes())
        }),
        (
            "blake3",
            "blake3 in pieces of 4 KiB",
            blake3_pieces::<{ 4 << 10 }>,
        ),
        (
            "blake3",
            "blake3 in pieces of 16 KiB",
            blake3_pieces::<{ 16 << 10 }>,
        ),
        (
            "blake3",
            "blake3 in pieces of 64 KiB",
            blake3_pieces::<{ 64 << 10 }>,
        ),
        (
            "blake3",
            "blake3 in pieces of 128 KiB",
            blake3_pieces::<{ 128 << 10 }>,
        ),
        (
            "blake3",
            "blake3 in pieces of 256 KiB",
            blake3_pieces::<{ 256 << 10 }>,
        ),
        ("blake3", "rscrypto", rscrypto_digest!(Blake3)),
        ("xxh3", "xxhash-rust", xxhash_rust_stream),
        ("xxh3", "xxhash-rust Xxh3", xxhash_rust_with_secret_stream),
        ("xxh3", "xxhash-rust xxh3_64()", |m| {
            xxhash_rust::xxh3::xxh3_64(m)
        }),
        ("xxh3", "twox-hash", twox_stream),
        ("xxh3", "twox-hash RawHasher", twox_raw_stream),
        ("xxh3", "twox-hash oneshot()", |m| {
            twox_hash::XxHash3_64::oneshot(m)
        }),
        ("xxh3", "xxh3 (one shot only)", |m| {
            xxh3::hash64_with_seed(m, 0)
        }),
        ("xxh3", "rscrypto (one shot)", rscrypto_xxh3_once),
        ("xxh3", "xxhash-c-sys", xxhash_c_stream),
        ("xxh3", "xxhash-c-sys XXH3_64bits()", xxhash_c_once),
        ("xxh128", "xxhash-rust", xxhash_rust128_stream),
        ("xxh128", "xxhash-rust xxh3_128()", |m| {
            (xxhash_rust::xxh3::xxh3_128(m) >> 64) as u64
        }),
        ("xxh128", "twox-hash", twox128_stream),
        ("xxh128", "twox-hash oneshot()", |m| {
            (twox_hash::XxHash3_128::oneshot(m) >> 64) as u64
        }),
        ("xxh128", "xxh3 (one shot only)", |m| {
            (xxh3::hash128_with_seed(m, 0) >> 64) as u64
        }),
        ("xxh128", "rscrypto (one shot)", rscrypto_xxh3_128_once),
        ("xxh128", "xxhash-c-sys XXH3_128bits()", xxhash_c128_once),
        ("crc32c", "crc-fast", crc_fast_stream),
        ("crc32c", "crc-fast crc32_iscsi()", crc_fast_once),
        ("crc32c", "crc32c", |m| {
            u64::from(crc32c::crc32c_append(0, m))
        }),
        ("crc32c", "rscrypto", rscrypto_crc32c),
    ];
    let make = |&(algorithm, name, run)| Candidate {
        algorithm,
        name,
        run,
    };
    table.iter().map(make).collect()
}

fn parse_options() -> Options {
    let mut options = Options {
        rounds: 100,
        filter: String::new(),
        label: String::new(),
        sizes: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("the option needs a value");
        match arg.as_str() {
            "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
            "--filter" => options.filter = value(),
            "--label" => options.label = value(),
            size => options.sizes.push(size.parse().expect("a size in bytes")),
        }
    }
    if options.sizes.is_empty() {
        options.sizes = vec![4 << 10, 1 << 20];
    }
    options
}

/// Bytes that no algorithm could profit from: a 64-bit linear congruential sequence.
fn message(size: usize) -> Vec<u8> {
    let mut x = 1_u64;
    let mut next = || {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// Runs of the candidate that take about a millisecond.
fn calibrate(run: HashFn, message: &[u8]) -> u32 {
    let mut count = 1;
    loop {
        let elapsed = time(run, message, count);
        if elapsed >= Duration::from_micros(800) || count > 1 << 24 {
            return count;
        }
        count *= 2;
    }
}

fn time(run: HashFn, message: &[u8], count: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        black_box(run(black_box(message)));
    }
    start.elapsed()
}

fn check_agreement(candidates: &[Candidate], message: &[u8]) {
    for pair in candidates.windows(2) {
        let [a, b] = pair else { unreachable!() };
        if a.algorithm == b.algorithm {
            assert_eq!(
                (a.run)(message),
                (b.run)(message),
                "{} and {} differ",
                a.name,
                b.name
            );
        }
    }
}

fn measure(candidates: &[Candidate], message: &[u8], rounds: usize) -> Vec<Vec<f64>> {
    let counts: Vec<u32> = candidates
        .iter()
        .map(|c| calibrate(c.run, message))
        .collect();
    let mut samples = vec![Vec::with_capacity(rounds); candidates.len()];
    for _ in 0..rounds {
        for ((candidate, &count), samples) in candidates.iter().zip(&counts).zip(&mut samples) {
            let elapsed = time(candidate.run, message, count);
            samples.push(elapsed.as_secs_f64() * 1e9 / f64::from(count));
        }
    }
    samples
}

fn main() {
    let options = parse_options();
    let mut candidates = candidates();
    candidates
        .retain(|c| c.algorithm.contains(&options.filter) || c.name.contains(&options.filter));
    println!("build,algorithm,candidate,bytes,rounds,min_ns,median_ns,gb_per_s_at_min");
    for &size in &options.sizes {
        let message = message(size);
        check_agreement(&candidates, &message);
        for (c, mut samples) in
            candidates
                .iter()
                .zip(measure(&candidates, &message, options.rounds))
        {
            samples.sort_by(f64::total_cmp);
            let (min, median) = (samples[0], samples[samples.len() / 2]);
            println!(
                "{},{},{},{size},{},{min:.1},{median:.1},{:.3}",
                options.label,
                c.algorithm,
                c.name,
                options.rounds,
                size as f64 / min
            );
        }
    }
}
