//! Runs a job: one thread for the source, one for each loop, and the caller's thread for the results. If
//! no thread can be started, the caller's does everything.

mod credentials;
mod descriptors;
mod emitter;
mod event_loop;
mod fit;
mod loops;
mod open_files;
mod plan;
mod ready;
mod report;
mod running;
mod scheduling;
mod shortfall;
mod single_threaded;
mod sink;
mod source_thread;
mod stop;
mod tasks;
mod workers;

pub use crate::io::Held;
pub(crate) use emitter::Step;
pub use event_loop::{EventLoop, LoopLimits, Turn};
pub use fit::Engine;
pub(crate) use fit::{PlanError, PlanRequest};
pub(crate) use open_files::Descriptors;
#[cfg(feature = "cli")]
pub(crate) use open_files::soft_limit;
pub use plan::{EngineKind, Plan};
pub use report::{End, Report, RunError};
pub(crate) use running::Running;
pub use running::run;
pub use sink::Sink;
pub use stop::Stop;
pub use tasks::{Tasks, tasks_of};
pub use workers::{WorkerContext, Workers};

#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod tests;
