//! The options of `ringmill dns` about what queries say and how they are sent.

use crate::jobs::dns::QueryOptions;
use clap::Args;

/// What queries say and how they are sent.
#[derive(Debug, Args)]
pub(super) struct QueryArguments {
    /// Do not ask for recursion (RD = 0): servers answer only with what they know themselves.
    #[arg(long, help_heading = "Queries")]
    no_recurse: bool,
}

impl QueryArguments {
    /// What queries say.
    pub(super) fn options(&self) -> QueryOptions {
        QueryOptions {
            recursion_desired: !self.no_recurse,
        }
    }
}
