//! How long fewer items were in flight than the limit allowed, and why.

use crate::mill::HeldBack;
use crate::stats::HeldBackTimes;
use std::time::Duration;

/// Adds up the times of one loop, by cause.
#[derive(Default)]
pub(super) struct Shortfall {
    times: HeldBackTimes,
    since: Option<(Duration, Cause)>,
}

#[derive(Clone, Copy)]
enum Cause {
    Mill(HeldBack),
    Pressure,
}

impl Shortfall {
    /// Records the outcome of an exchange with the mill. The time since the last exchange is added to the
    /// cause that was recorded there.
    pub(super) fn note(&mut self, by_mill: Option<HeldBack>, under_pressure: bool, now: Duration) {
        if let Some((since, cause)) = self.since {
            let time = match cause {
                Cause::Mill(HeldBack::Input) => &mut self.times.input,
                Cause::Mill(HeldBack::Window) => &mut self.times.window,
                Cause::Mill(HeldBack::Rate) => &mut self.times.rate,
                Cause::Pressure => &mut self.times.pressure,
            };
            *time += now.saturating_sub(since);
        }
        let cause = match by_mill {
            Some(held_back) => Some(Cause::Mill(held_back)),
            None => under_pressure.then_some(Cause::Pressure),
        };
        self.since = cause.map(|cause| (now, cause));
    }

    pub(super) fn times(&self) -> HeldBackTimes {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_the_time_until_the_next_exchange() {
        let mut shortfall = Shortfall::default();
        let ms = Duration::from_millis;
        shortfall.note(Some(HeldBack::Window), true, ms(5));
        shortfall.note(None, true, ms(7));
        shortfall.note(None, false, ms(10));
        shortfall.note(Some(HeldBack::Rate), false, ms(15));
        shortfall.note(Some(HeldBack::Input), false, ms(16));
        shortfall.note(None, false, ms(20));
        let times = HeldBackTimes {
            input: ms(4),
            window: ms(2),
            pressure: ms(3),
            rate: ms(1),
        };
        assert_eq!(shortfall.times(), times);
    }
}
