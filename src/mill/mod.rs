//! The mill: the state that the source, the loops and the emitter share, behind one lock. It does no
//! input or output and has no clock.

pub mod budget;
mod exchange;
mod feed;
mod output;
mod pace;
mod parts;
#[cfg(test)]
mod parts_tests;
mod state;
#[cfg(test)]
mod window_tests;

pub use exchange::{Ask, Directive, Exchange, HeldBack};
pub use feed::Feed;
pub use output::{Output, Ready};
pub use pace::{Pace, RATES_PER_S, Schedule};
pub use parts::Part;
pub use ringmill_materialize::{Order, Window};
pub use state::{Counters, Finished, Mill, PART_BYTES_DEFAULT};
