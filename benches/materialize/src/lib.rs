//! The same futures, in input order, through `materialize` and its alternatives.

pub mod contenders;
pub mod workloads;

pub use contenders::Contender;
pub use workloads::Workload;
