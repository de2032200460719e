//! The parts into which an item's time is divided.

/// What part of an item's time was spent on.
///
/// The phases that a run records for every job are constants of this type; a job defines its own
/// with [`Phase::of_job`]. The table of a job lists all phases that its items can have, in the order
/// of an item's life; those measured from a schedule come last. All output keeps that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    id: u8,
    name: &'static str,
}

/// The first id of those that jobs use.
const FIRST_OF_JOB: u8 = 32;

/// How many phases a job can define.
const OF_JOB_MAX: u8 = u8::MAX - FIRST_OF_JOB;

/// The prefix of the names of phases that are measured from the schedule of `--rate`.
pub(super) const SCHEDULED: &str = "scheduled-";

impl Phase {
    /// From the pull to the first submission.
    pub const QUEUE: Self = Self::common(0, "queue");
    /// A look-up of the path before it is opened.
    pub const LOOK_UP: Self = Self::common(1, "lookup");
    /// An open.
    pub const OPEN: Self = Self::common(2, "open");
    /// One read.
    pub const READ: Self = Self::common(3, "read");
    /// A query of the open file's metadata.
    pub const STAT: Self = Self::common(4, "stat");
    /// A close.
    pub const CLOSE: Self = Self::common(5, "close");
    /// From the first submission to the last completion: the service time of the item.
    pub const TOTAL: Self = Self::common(6, "total");
    /// From the result to its emission, while it waits for earlier items.
    pub const REORDER: Self = Self::common(7, "reorder");
    /// From the start that the schedule of `--rate` set for the item to its first submission.
    pub const SCHEDULED_QUEUE: Self = Self::common(8, "scheduled-queue");
    /// From the start that the schedule of `--rate` set for the item to its last completion: what
    /// a user of the measured system would have seen.
    pub const SCHEDULED_TOTAL: Self = Self::common(9, "scheduled-total");

    /// The table of a job that has no phases of its own.
    pub const COMMON: &'static [Self] = &[
        Self::QUEUE,
        Self::LOOK_UP,
        Self::OPEN,
        Self::READ,
        Self::STAT,
        Self::CLOSE,
        Self::TOTAL,
        Self::REORDER,
        Self::SCHEDULED_QUEUE,
        Self::SCHEDULED_TOTAL,
    ];

    const fn common(id: u8, name: &'static str) -> Self {
        assert!(id < FIRST_OF_JOB);
        Self { id, name }
    }

    /// A phase of a job, by a number that no other phase of the same job has, and a name.
    ///
    /// The name appears in tables, as a key in documents, as a tag in interval logs and in the names
    /// of files. The prefix `scheduled-` marks a phase that is measured from a schedule.
    ///
    /// ```
    /// # use ringmill::stats::Phase;
    /// const HANDSHAKE: Phase = Phase::of_job(0, "handshake");
    /// const PHASES: &[Phase] = &[Phase::QUEUE, HANDSHAKE, Phase::TOTAL, Phase::REORDER];
    /// ```
    ///
    /// # Panics
    /// If the number is not less than 223, or the name is empty or contains a character other than
    /// `a` to `z`, `0` to `9` and `-`. In a constant, this is an error at compile time.
    #[must_use]
    pub const fn of_job(number: u8, name: &'static str) -> Self {
        assert!(number < OF_JOB_MAX, "the number of a phase is too high");
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "the name of a phase is empty");
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'-'),
                "the name of a phase contains a character other than a-z, 0-9 and -"
            );
            at += 1;
        }
        let id = FIRST_OF_JOB + number;
        Self { id, name }
    }

    /// The name in tables, in files and as a tag of interval logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Different for each phase of a table.
    pub(super) const fn id(self) -> u8 {
        self.id
    }

    fn is_scheduled(self) -> bool {
        self.name.starts_with(SCHEDULED)
    }
}

/// A table, and the place of each phase in it, found without a search.
#[derive(Clone, Debug)]
pub(super) struct Places {
    phases: &'static [Phase],
    /// By the id of the phase.
    places: [u8; 1 << u8::BITS],
}

/// Stands for the place of a phase that is not in the table. No table is so long that it has this
/// place.
const ABSENT: u8 = u8::MAX;
const _: () = assert!(FIRST_OF_JOB as usize + OF_JOB_MAX as usize <= ABSENT as usize);

impl Places {
    /// The places in this table.
    ///
    /// # Panics
    /// If two phases have the same id or name, or one measured from a schedule is not at the end.
    pub(super) fn new(phases: &'static [Phase]) -> Self {
        let mut places = [ABSENT; _];
        for (phase, place) in phases.iter().zip(0_u8..) {
            let name = phase.name;
            let of_id = &mut places[usize::from(phase.id)];
            assert!(*of_id == ABSENT, "phase {name} has the number of another");
            *of_id = place;
            let with_name = phases.iter().filter(|other| other.name == name);
            assert!(with_name.count() == 1, "two phases have the name {name}");
        }
        assert!(
            phases.is_sorted_by_key(|phase| phase.is_scheduled()),
            "the phases measured from a schedule are not the last"
        );
        Self { phases, places }
    }

    pub(super) fn phases(&self) -> &'static [Phase] {
        self.phases
    }

    /// The place of a phase; `None` if it is not in the table.
    ///
    /// A table may omit common phases, which are then not recorded. If a phase of the job is
    /// missing, that is a bug.
    #[inline]
    pub(super) fn get(&self, phase: Phase) -> Option<usize> {
        let place = self.places[usize::from(phase.id)];
        if place == ABSENT {
            debug_assert!(
                phase.id < FIRST_OF_JOB,
                "phase {} is not in the job's table",
                phase.name
            );
            return None;
        }
        let place = usize::from(place);
        debug_assert_eq!(self.phases[place], phase, "not the phase of the table");
        Some(place)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A table of all common phases and as many of a job as it can define.
    pub(in crate::stats) fn longest_table() -> &'static [Phase] {
        let own = (0..OF_JOB_MAX).map(|number| {
            let name = format!("own-{number}");
            Phase::of_job(number, name.leak())
        });
        let (scheduled, begun): (Vec<Phase>, Vec<Phase>) =
            Phase::COMMON.iter().partition(|phase| phase.is_scheduled());
        let table = begun.into_iter().chain(own).chain(scheduled);
        table.collect::<Vec<_>>().leak()
    }

    #[test]
    fn each_phase_has_its_place() {
        for table in [Phase::COMMON, longest_table(), &[]] {
            let places = Places::new(table);
            for (place, &phase) in table.iter().enumerate() {
                assert_eq!(places.get(phase), Some(place));
            }
        }
        assert_eq!(longest_table().len(), Phase::COMMON.len() + 223);
        assert_eq!(Places::new(&[Phase::TOTAL]).get(Phase::QUEUE), None);
    }

    const OWN: Phase = Phase::of_job(0, "own");

    #[test]
    #[cfg_attr(
        debug_assertions,
        should_panic(expected = "phase own is not in the job's table")
    )]
    fn a_phase_of_a_job_is_in_its_table() {
        assert_eq!(Places::new(Phase::COMMON).get(OWN), None);
    }

    #[test]
    #[cfg_attr(
        debug_assertions,
        should_panic(expected = "not the phase of the table")
    )]
    fn a_phase_of_another_job_is_noticed() {
        const OTHER: Phase = Phase::of_job(0, "other");
        assert_eq!(Places::new(&[OWN]).get(OTHER), Some(0));
    }

    #[test]
    #[should_panic(expected = "phase other has the number of another")]
    fn numbers_differ() {
        const OTHER: Phase = Phase::of_job(0, "other");
        Places::new(&[OWN, OTHER]);
    }

    #[test]
    #[should_panic(expected = "two phases have the name total")]
    fn names_differ() {
        const TOTAL: Phase = Phase::of_job(0, "total");
        Places::new(&[Phase::TOTAL, TOTAL]);
    }

    #[test]
    #[should_panic(expected = "the phases measured from a schedule are not the last")]
    fn scheduled_phases_come_last() {
        Places::new(&[Phase::SCHEDULED_TOTAL, Phase::TOTAL]);
    }

    #[test]
    #[should_panic(expected = "contains a character other than")]
    fn names_are_valid_tags() {
        let _ = Phase::of_job(0, "a,b");
    }
}
