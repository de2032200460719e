//! The interface of the library: builders that start runs, and the rows of a run.

#[cfg(feature = "dns")]
mod dns;
mod error;
mod hash;
mod inputs;
mod io;
#[cfg(feature = "latency")]
mod latency;
mod options;
mod rows;
mod run;

#[cfg(feature = "dns")]
pub use dns::{Dns, DnsRecord, DnsStatus, RecordType, Resolved, UnknownRecordType, dns};
pub use error::{Error, ErrorKind};
pub use hash::{Hash, hash};
pub use io::{File, Io, Metadata};
#[cfg(feature = "latency")]
pub use latency::Latency;
pub use rows::{NotReady, Report, Row, Rows, RunEnd, Stopper};
pub use run::{Run, run};
