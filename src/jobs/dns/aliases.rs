//! Which records of an answer belong to the question: those of its name, and of the names it is an alias
//! of. A reply may contain others, and these may be forged.

use super::walk::Walk;
use super::wire::Section;
use domain::base::Rtype;
use domain::base::iana::Class;
use domain::base::message::Message;
use domain::base::name::{ParsedName, ToLabelIter, ToName};
use domain::base::record::ParsedRecord;
use domain::rdata::{Cname, Dname, Rrsig};
use smallvec::SmallVec;

/// The longest chain of aliases that is followed. The resolvers we know give up earlier.
const ALIASES_MAX: usize = 32;

/// A name in a message.
pub(super) type NameIn<'a> = ParsedName<&'a [u8]>;

/// The name that was asked for, the name it is an alias of, and so on.
pub(super) struct Aliases<'a> {
    /// Most answers need no allocation.
    names: SmallVec<[NameIn<'a>; 4]>,
}

impl<'a> Aliases<'a> {
    /// Follows the aliases of a reply from the name in its question.
    pub(super) fn of(message: &'a Message<[u8]>) -> Self {
        let question = message.first_question();
        let mut aliases = Self {
            names: question
                .map(|question| *question.qname())
                .into_iter()
                .collect(),
        };
        // If there is only one record, the target of an alias has none.
        if message.header_counts().ancount() > 1 {
            // One pass, unless the records are not in the order of the chain.
            while aliases.follow(message) {}
        }
        aliases
    }

    /// True if the chain has grown, and records were skipped that may now continue it.
    fn follow(&mut self, message: &'a Message<[u8]>) -> bool {
        let (mut has_followed, mut has_passed_by) = (false, false);
        let records = Walk::of(message).until(Section::Answer);
        let aliases = records.filter_map(|(_, record)| {
            record
                .filter(|record| record.rtype == Rtype::CNAME)?
                .parsed()
        });
        for record in aliases.filter(|record| record.class() == Class::IN) {
            let is_of_the_last = |name| is_same(name, &record.owner());
            if !self.names.last().is_some_and(is_of_the_last) {
                has_passed_by = true;
                continue;
            }
            let Some(target) = target(record) else {
                continue;
            };
            // Aliases may form a loop.
            if self.names.len() > ALIASES_MAX || self.has(&target) {
                return false;
            }
            self.names.push(target);
            has_followed = true;
        }
        has_followed && has_passed_by
    }

    /// The name that was asked for.
    pub(super) fn asked(&self) -> Option<&NameIn<'a>> {
        self.names.first()
    }

    /// True if a record of the answer was asked for, or explains one that was: an alias in the chain, or
    /// a signature. The class is not checked.
    pub(super) fn belongs(&self, record: &ParsedRecord<'a, [u8]>, qtype: Rtype) -> bool {
        let owner = record.owner();
        match record.rtype() {
            Rtype::DNAME if self.is_redirected_by(record) => true,
            Rtype::RRSIG => self.has(&owner) || self.is_signed_redirection(record),
            rtype if rtype == qtype || rtype == Rtype::CNAME || qtype == Rtype::ANY => {
                self.has(&owner)
            }
            _ => false,
        }
    }

    fn has(&self, name: &NameIn<'a>) -> bool {
        self.names.iter().any(|known| is_same(known, name))
    }

    /// True if this signs a DNAME above one of the names.
    fn is_signed_redirection(&self, record: &ParsedRecord<'a, [u8]>) -> bool {
        let owner = record.owner();
        let signature = record.to_record::<Rrsig<_, ParsedName<_>>>();
        matches!(signature, Ok(Some(signature)) if signature.data().type_covered() == Rtype::DNAME)
            && self.names.iter().any(|name| name.ends_with(&owner))
    }

    /// True if this DNAME makes one of the names an alias of the next (RFC 6672, 2.2).
    fn is_redirected_by(&self, record: &ParsedRecord<'a, [u8]>) -> bool {
        let owner = record.owner();
        let Ok(Some(dname)) = record.to_record::<Dname<ParsedName<_>>>() else {
            return false;
        };
        let target = dname.data().dname();
        self.names.windows(2).any(|names| {
            let [name, next] = names else { return false };
            let kept = name.label_count().saturating_sub(owner.label_count());
            kept > 0
                && name.ends_with(&owner)
                && next
                    .iter_labels()
                    .eq(name.iter_labels().take(kept).chain(target.iter_labels()))
        })
    }
}

/// The target of an alias.
fn target<'a>(record: ParsedRecord<'a, [u8]>) -> Option<NameIn<'a>> {
    let record = record.into_record::<Cname<NameIn<'a>>>().ok()??;
    Some(*record.data().cname())
}

/// True if the names are equal. Compressed names that are equal are mostly the same bytes of the message.
fn is_same(a: &NameIn<'_>, b: &NameIn<'_>) -> bool {
    let start = |name: &NameIn<'_>| name.first().as_slice().as_ptr();
    a.compose_len() == b.compose_len() && (start(a) == start(b) || a.name_eq(b))
}
