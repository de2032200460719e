//! Which records of an answer belong to the question: those of its name, and of what that is an alias
//! of. Whoever answers may add others, and they may be forged.

use super::reading::Section;
use super::walk::Walk;
use domain::base::Rtype;
use domain::base::iana::Class;
use domain::base::message::Message;
use domain::base::name::{ParsedName, ToLabelIter, ToName};
use domain::base::record::ParsedRecord;
use domain::rdata::{Cname, Dname, Rrsig};
use smallvec::SmallVec;

/// Aliases of aliases that are followed. The resolvers we know give up earlier.
const ALIASES_MAX: usize = 32;

/// A name in a message.
pub(super) type NameIn<'a> = ParsedName<&'a [u8]>;

/// The name that was asked, what it is an alias of, and so on.
pub(super) struct Aliases<'a> {
    /// As many as most have come without an allocation.
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
        // What a single record is an alias of has none.
        if message.header_counts().ancount() > 1 {
            // Once, but for aliases in another order than that in which they are followed.
            while aliases.follow(message) {}
        }
        aliases
    }

    /// True if it has come further, and there is more that it may have passed by.
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
            // Aliases may lead round in a circle.
            if self.names.len() > ALIASES_MAX || self.has(&target) {
                return false;
            }
            self.names.push(target);
            has_followed = true;
        }
        has_followed && has_passed_by
    }

    /// The name that was asked.
    pub(super) fn asked(&self) -> Option<&NameIn<'a>> {
        self.names.first()
    }

    /// True if a record of the answer, in its class, is one that was asked for, or says why another is: an
    /// alias on the way to it, or a signature.
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

/// What an alias is an alias of.
fn target<'a>(record: ParsedRecord<'a, [u8]>) -> Option<NameIn<'a>> {
    let record = record.into_record::<Cname<NameIn<'a>>>().ok()??;
    Some(*record.data().cname())
}

/// True if the names are equal. Where names are compressed, most that are equal are the same bytes.
fn is_same(a: &NameIn<'_>, b: &NameIn<'_>) -> bool {
    let start = |name: &NameIn<'_>| name.first().as_slice().as_ptr();
    a.compose_len() == b.compose_len() && (start(a) == start(b) || a.name_eq(b))
}
