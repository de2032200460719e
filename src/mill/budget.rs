//! How many items may be in flight within the limit on open files.

/// Descriptors kept free for other files of the process (a list, a file that is loaded when needed).
const RESERVE: usize = 3;

/// Descriptors each loop needs for itself: its ring or epoll instance, its wake-up and a directory.
const PER_LOOP: usize = 3;

/// How many items and loops the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Items in flight, all loops together.
    pub in_flight: usize,
    /// Event loops.
    pub loops: usize,
}

/// Fits the wanted numbers into the limit on open files. Each item holds one descriptor.
///
/// At least one item and one loop always remain; they then use the reserve. See [`DESCRIPTORS_MIN`].
#[must_use]
pub fn fit(wanted: Budget, descriptors_max: usize, descriptors_in_use: usize) -> Budget {
    let free = descriptors_left(descriptors_max, descriptors_in_use, 0);
    // A second loop must not take the descriptors that the items of the first need.
    let loops = wanted.loops.min(free / (4 * PER_LOOP)).max(1);
    let in_flight = wanted
        .in_flight
        .min(free.saturating_sub(loops * PER_LOOP))
        .max(1);
    Budget {
        in_flight,
        loops: loops.min(in_flight),
    }
}

/// The fewest free descriptors with which a file can be opened: for the output, a loop's wake-up and the
/// file.
pub const DESCRIPTORS_MIN: usize = 3;

/// Descriptors that are left after the reserve and those of this number of loops.
#[must_use]
pub fn descriptors_left(descriptors_max: usize, descriptors_in_use: usize, loops: usize) -> usize {
    descriptors_max.saturating_sub(descriptors_in_use + RESERVE + loops * PER_LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tight_limit_leaves_one_loop_and_a_few_items() {
        let wanted = Budget {
            in_flight: 512,
            loops: 2,
        };
        assert_eq!(
            fit(wanted, 16, 4),
            Budget {
                in_flight: 6,
                loops: 1
            }
        );
        assert_eq!(fit(wanted, 1024, 4), wanted);
    }

    proptest! {
        /// I7: whatever the limits, the budget is kept if one item fits at all.
        #[test]
        fn the_limit_is_kept(
            in_flight in 1_usize..5000,
            loops in 1_usize..64,
            max in 10_usize..5000,
            in_use in 3_usize..5000,
        ) {
            let budget = fit(Budget { in_flight, loops }, max, in_use);
            prop_assert!(budget.in_flight >= 1 && budget.in_flight <= in_flight);
            prop_assert!(budget.loops >= 1 && budget.loops <= loops.min(budget.in_flight));
            if in_use + RESERVE + PER_LOOP < max {
                prop_assert!(in_use + budget.loops * PER_LOOP + budget.in_flight <= max);
            }
        }
    }
}
