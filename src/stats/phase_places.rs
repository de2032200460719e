//! The places of phases in a job's table.

use super::Phase;
use super::phase::{FIRST_OF_JOB, OF_JOB_MAX};

/// The prefix of the names of phases that are measured from the schedule of a rate.
pub(super) const SCHEDULED: &str = "scheduled-";

fn is_scheduled(phase: Phase) -> bool {
    phase.name().starts_with(SCHEDULED)
}

/// A table, with an index from a phase to its place.
#[derive(Clone, Debug)]
pub(super) struct Places {
    phases: &'static [Phase],
    /// By the id of the phase.
    places: [u8; 1 << u8::BITS],
}

/// The place of a phase that is not in the table. Tables are too short to have this place.
const ABSENT: u8 = u8::MAX;
const _: () = assert!(FIRST_OF_JOB as usize + OF_JOB_MAX as usize <= ABSENT as usize);

impl Places {
    /// The places in this table.
    ///
    /// # Panics
    /// If two phases have the same id or name, or a phase measured from a schedule is not at the end.
    pub(super) fn new(phases: &'static [Phase]) -> Self {
        let mut places = [ABSENT; _];
        for (phase, place) in phases.iter().zip(0_u8..) {
            let name = phase.name();
            let of_id = &mut places[usize::from(phase.id())];
            assert!(*of_id == ABSENT, "phase {name} has the number of another");
            *of_id = place;
            let with_name = phases.iter().filter(|other| other.name() == name);
            assert!(with_name.count() == 1, "two phases have the name {name}");
        }
        assert!(
            phases.is_sorted_by_key(|phase| is_scheduled(*phase)),
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
        let place = self.places[usize::from(phase.id())];
        if place == ABSENT {
            debug_assert!(
                phase.id() < FIRST_OF_JOB,
                "phase {} is not in the job's table",
                phase.name()
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
        let (scheduled, begun): (Vec<Phase>, Vec<Phase>) = Phase::COMMON
            .iter()
            .partition(|phase| is_scheduled(**phase));
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
}
