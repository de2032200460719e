//! Reads a reply record by record: what is good is kept, and of what is not it is said what it was.

use super::aliases::Aliases;
use super::answer::Status;
use super::presentation;
use domain::base::Rtype;
use domain::base::iana::{Class, OptRcode};
use domain::base::message::{Message, RecordSection};
use domain::base::name::ParsedName;
use domain::base::opt::subnet::ClientSubnet;
use domain::base::opt::{Opt, OptRecord};
use domain::base::record::ParsedRecord;
use domain::rdata::{A, Aaaa, AllRecordData, Cname};
use std::cell::OnceCell;

/// A section of a reply that has records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who is in charge.
    Authority,
    /// What might be asked for next.
    Additional,
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it is.
    pub section: Section,
    /// Its type, if its content does not fit that. Otherwise it has no owner's name, or the message ends
    /// in it, and nothing after it in its section is read.
    pub rtype: Option<Rtype>,
}

impl Section {
    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Authority => "authority",
            Self::Additional => "additional",
        }
    }

    /// Its records, if what is before it can be read.
    fn of(self, message: &Message<[u8]>) -> Option<RecordSection<'_, [u8]>> {
        let section = match self {
            Self::Answer => message.answer(),
            Self::Authority => message.authority(),
            Self::Additional => message.additional(),
        };
        section.ok()
    }
}

/// A reply that repeats its question.
pub(super) struct Reading<'a> {
    message: &'a Message<[u8]>,
    qtype: Rtype,
    /// Which names the answer is about. Followed once it is asked for.
    aliases: OnceCell<Aliases<'a>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(message: &'a Message<[u8]>, qtype: Rtype) -> Self {
        Self {
            message,
            qtype,
            aliases: OnceCell::new(),
        }
    }

    fn aliases(&self) -> &Aliases<'a> {
        self.aliases.get_or_init(|| Aliases::of(self.message))
    }

    /// The records of a section, without those that do not belong: in the answer what is neither the
    /// question's name nor an alias on the way; everywhere other classes, and options of the protocol.
    pub(super) fn records(
        self,
        section: Section,
    ) -> impl Iterator<Item = Result<ParsedRecord<'a, [u8]>, Malformed>> {
        let records = section.of(self.message).into_iter().flatten();
        records.filter_map(move |record| self.judged(section, record.ok()))
    }

    /// A record, or what of it cannot be read, if it belongs here.
    fn judged(
        &self,
        section: Section,
        record: Option<ParsedRecord<'a, [u8]>>,
    ) -> Option<Result<ParsedRecord<'a, [u8]>, Malformed>> {
        let malformed = |rtype| Some(Err(Malformed { section, rtype }));
        let Some(record) = record else {
            return malformed(None);
        };
        let belongs = match section {
            Section::Answer => self.aliases().belongs(&record, self.qtype),
            _ => record.class() == Class::IN && record.rtype() != Rtype::OPT,
        };
        match belongs {
            false => None,
            true if !fits(&record) => malformed(Some(record.rtype())),
            true => Some(Ok(record)),
        }
    }

    /// What a reply without an error comes to.
    pub(super) fn status(&self) -> Status {
        let (mut is_there, mut is_malformed) = (false, false);
        for record in Section::Answer.of(self.message).into_iter().flatten() {
            match self.judged(Section::Answer, record.ok()) {
                // Signatures and DNAMEs come with others.
                Some(Ok(record)) => is_there |= self.is_data(record.rtype()),
                Some(Err(_)) => is_malformed = true,
                None => {}
            }
        }
        match (is_there, is_malformed) {
            (true, _) => Status::NoError,
            (false, true) => Status::Malformed,
            (false, false) if self.is_referral() => Status::Referral,
            (false, false) => Status::NoData,
        }
    }

    fn is_data(&self, rtype: Rtype) -> bool {
        rtype == self.qtype || rtype == Rtype::CNAME || self.qtype == Rtype::ANY
    }

    /// True if a reply without an answer names other servers to ask (RFC 2308, 2.2).
    fn is_referral(&self) -> bool {
        if self.message.header().aa() {
            return false;
        }
        let mut names_servers = false;
        for record in Section::Authority.of(self.message).into_iter().flatten() {
            let Ok(record) = record else { break };
            let owner = record.owner();
            let is_above = |asked: &ParsedName<&[u8]>| asked.ends_with(&owner);
            if record.class() != Class::IN || !self.aliases().asked().is_some_and(is_above) {
                continue;
            }
            match record.rtype() {
                // It says for how long there is nothing.
                Rtype::SOA => return false,
                Rtype::NS => names_servers = true,
                _ => {}
            }
        }
        names_servers
    }
}

/// The code in the header of a reply, extended by the first OPT record that can be read.
pub(super) fn rcode(message: &Message<[u8]>) -> OptRcode {
    match opt(message) {
        Some(opt) => opt.rcode(message.header()),
        None => OptRcode::from(message.header().rcode()),
    }
}

/// The network for whose clients an answer is meant (RFC 7871), by the same record.
pub(super) fn client_subnet(message: &Message<[u8]>) -> Option<ClientSubnet> {
    opt(message)?.opt().client_subnet()
}

fn opt(message: &Message<[u8]>) -> Option<OptRecord<&[u8]>> {
    let additional = Section::Additional.of(message);
    let mut records = additional.into_iter().flatten().flatten();
    let opt = records.find(|record| record.rtype() == Rtype::OPT);
    let opt = opt.as_ref();
    let opt = opt.and_then(|record| record.to_record::<Opt<_>>().ok().flatten());
    opt.map(OptRecord::from)
}

/// True if the content of a record is what its type says.
fn fits(record: &ParsedRecord<'_, [u8]>) -> bool {
    match record.rtype() {
        // Most are addresses and aliases, for which there need not be room for all types.
        Rtype::A => record.to_record::<A>().is_ok(),
        Rtype::AAAA => record.to_record::<Aaaa>().is_ok(),
        Rtype::CNAME => record.to_record::<Cname<ParsedName<_>>>().is_ok(),
        rtype if presentation::writes(rtype) => {
            presentation::write(&mut Vec::new(), record).is_some()
        }
        _ => record
            .to_any_record::<AllRecordData<_, ParsedName<_>>>()
            .is_ok(),
    }
}
