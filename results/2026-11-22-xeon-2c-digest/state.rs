//! Where a hasher's state should lie: BLAKE3's 1920 bytes boxed or in the enum, and a hasher made
//! anew for each message or reused. 512 hashers are alive at once, as with 512 files in flight.
//!
//! `boxed` is `src/digest/`; `unboxed` is a copy of it in which the variant is
//! `Blake3(blake3::Hasher)`.

use std::hint::black_box;
use std::time::Instant;

mod boxed;
mod unboxed;

const HASHERS: usize = 512;
const ROUNDS: usize = 400;

type Run = (String, Box<dyn FnMut()>);

macro_rules! runs {
    ($module:ident, $size:expr) => {{
        use $module::{Algorithm, Hasher};
        let mut runs: Vec<Run> = Vec::new();
        for algorithm in Algorithm::ALL {
            let name = |what: &str| format!("{},{algorithm},{what}", stringify!($module));
            let message = vec![7_u8; $size];
            let mut slots: Vec<Option<Hasher>> = (0..HASHERS).map(|_| None).collect();
            runs.push((
                name("new for each message"),
                Box::new(move || {
                    for slot in &mut slots {
                        *slot = Some(Hasher::new(algorithm));
                    }
                    for slot in &mut slots {
                        let mut hasher = slot.take().unwrap();
                        hasher.update(black_box(&message));
                        black_box(hasher.finalize());
                    }
                }),
            ));
            let message = vec![7_u8; $size];
            let mut kept: Vec<Hasher> = (0..HASHERS).map(|_| Hasher::new(algorithm)).collect();
            runs.push((
                name("reused"),
                Box::new(move || {
                    for hasher in &mut kept {
                        hasher.update(black_box(&message));
                        black_box(hasher.finalize_reset());
                    }
                }),
            ));
            let message = vec![7_u8; $size];
            runs.push((
                name("Algorithm::digest"),
                Box::new(move || {
                    for _ in 0..HASHERS {
                        black_box(algorithm.digest(black_box(&message)));
                    }
                }),
            ));
        }
        runs
    }};
}

fn main() {
    println!(
        "# bytes of a Hasher: boxed {}, unboxed {}",
        size_of::<boxed::Hasher>(),
        size_of::<unboxed::Hasher>()
    );
    println!("state,algorithm,use,bytes,min_ns,median_ns");
    for size in [64, 4096] {
        let mut runs = runs!(boxed, size);
        runs.extend(runs!(unboxed, size));
        let mut samples = vec![Vec::with_capacity(ROUNDS); runs.len()];
        for _ in 0..ROUNDS {
            for ((_, run), samples) in runs.iter_mut().zip(&mut samples) {
                let start = Instant::now();
                run();
                samples.push(start.elapsed().as_secs_f64() * 1e9 / HASHERS as f64);
            }
        }
        for ((name, _), samples) in runs.iter().zip(&mut samples) {
            samples.sort_by(f64::total_cmp);
            println!("{name},{size},{:.1},{:.1}", samples[0], samples[ROUNDS / 2]);
        }
    }
}
