//! Unpredictable random numbers.

#[cfg(test)]
use crate::io::sim;

/// How many random bytes are fetched at once. Asking the kernel for each number would cost more than the
/// query.
const POOL_LEN: usize = 1024;

/// Random numbers from the kernel, or from a seed in tests.
pub(super) struct Random {
    pool: [u8; POOL_LEN],
    used: usize,
    #[cfg(test)]
    source: Option<sim::Random>,
}

impl Random {
    pub(super) fn new() -> Self {
        Self {
            pool: [0; POOL_LEN],
            used: POOL_LEN,
            #[cfg(test)]
            source: None,
        }
    }

    #[cfg(test)]
    pub(super) fn seeded(seed: u64) -> Self {
        Self {
            source: Some(sim::Random::new(seed)),
            ..Self::new()
        }
    }

    pub(super) fn next_u16(&mut self) -> u16 {
        if self.used + 2 > POOL_LEN {
            self.fill();
        }
        let bytes = [self.pool[self.used], self.pool[self.used + 1]];
        self.used += 2;
        u16::from_ne_bytes(bytes)
    }

    fn fill(&mut self) {
        self.used = 0;
        #[cfg(test)]
        if let Some(source) = &mut self.source {
            for bytes in self.pool.chunks_exact_mut(8) {
                bytes.copy_from_slice(&source.next_u64().to_ne_bytes());
            }
            return;
        }
        getrandom::fill(&mut self.pool).expect("the kernel has random numbers");
    }
}
