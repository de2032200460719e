//! Numbers nobody can guess.

/// Random bytes kept at hand. To ask the kernel for each would cost more than the query.
const POOL_LEN: usize = 1024;

/// Gives random numbers, from the kernel unless a test wants the same ones each time.
pub(super) struct Random {
    pool: [u8; POOL_LEN],
    used: usize,
    #[cfg(test)]
    seed: Option<u64>,
}

impl Random {
    pub(super) fn new() -> Self {
        Self {
            pool: [0; POOL_LEN],
            used: POOL_LEN,
            #[cfg(test)]
            seed: None,
        }
    }

    #[cfg(test)]
    pub(super) fn seeded(seed: u64) -> Self {
        Self {
            seed: Some(seed),
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
        if let Some(seed) = &mut self.seed {
            // SplitMix64, https://prng.di.unimi.it/splitmix64.c.
            for bytes in self.pool.chunks_exact_mut(8) {
                *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *seed;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                bytes.copy_from_slice(&(z ^ (z >> 31)).to_ne_bytes());
            }
            return;
        }
        getrandom::fill(&mut self.pool).expect("the kernel has random numbers");
    }
}
