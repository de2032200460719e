//! Whether a name has its records from a wildcard (RFC 4592): a random sibling of it then has the same
//! records.

use super::parent::Parent;
use super::siblings::Content;
use crate::jobs::shared_facts::{self, SharedFacts};

/// The known contents of siblings, shared by all loops of a run: a few megabytes at most.
#[derive(Clone, Debug, Default)]
pub struct SharedWildcards(SharedFacts<Parent, Content>);

/// The result of an inquiry for the content of siblings.
pub(super) type End = shared_facts::End<Content>;

/// What an item that needs the content of siblings has to do.
pub(super) type Step = shared_facts::Step<Parent, Content>;

impl SharedWildcards {
    /// What to do to get the content of siblings below this parent.
    pub(super) fn begin(&self, parent: &Parent) -> Step {
        self.0.begin(parent, |_| true)
    }
}
