//! Reads a reply record by record: valid records are kept, malformed ones are reported.

use super::aliases::Aliases;
use super::presentation;
use super::status::Status;
use super::walk::{RecordAt, Walk};
use super::wire::Section;
use domain::base::Rtype;
use domain::base::iana::{Class, OptRcode};
use domain::base::message::Message;
use domain::base::name::ParsedName;
use domain::base::opt::subnet::ClientSubnet;
use domain::base::opt::{Opt, OptRecord};
use domain::base::record::ParsedRecord;
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Ns, Soa};
use std::cell::OnceCell;

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it is.
    pub section: Section,
    /// Its type, if its content does not match it. `None`: the name of its owner cannot be read; or the
    /// message ends within the record, which is then the last.
    pub rtype: Option<Rtype>,
}

/// A reply that repeats its question.
pub(super) struct Reading<'a> {
    message: &'a Message<[u8]>,
    qtype: Rtype,
    /// The names that the answer is about, found on first use.
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

    /// The records of the sections up to this one, without those that do not belong there: in the answer
    /// section, those of other names than the question's and its chain of aliases; in every section,
    /// those of other classes, and OPT.
    pub(super) fn records_until(
        self,
        last: Section,
    ) -> impl Iterator<Item = (Section, Result<ParsedRecord<'a, [u8]>, Malformed>)> {
        let records = Walk::of(self.message).until(last);
        records.filter_map(move |(section, record)| Some((section, self.judged(section, record)?)))
    }

    /// A record, or why it cannot be read; `None` if it does not belong in this section.
    fn judged(
        &self,
        section: Section,
        record: Option<RecordAt<'a>>,
    ) -> Option<Result<ParsedRecord<'a, [u8]>, Malformed>> {
        let malformed = |rtype| Some(Err(Malformed { section, rtype }));
        let Some((at, record)) = record.and_then(|at| Some((at, at.parsed()?))) else {
            return malformed(None);
        };
        let belongs = record.class() == Class::IN
            && match section {
                Section::Answer => self.is_of_answer(at, &record),
                _ => record.rtype() != Rtype::OPT,
            };
        match belongs {
            false => None,
            true if !fits(&record) => malformed(Some(record.rtype())),
            true => Some(Ok(record)),
        }
    }

    fn is_of_answer(&self, at: RecordAt<'a>, record: &ParsedRecord<'a, [u8]>) -> bool {
        let is_plain = self.is_data(record.rtype()) && at.has_questions_name();
        is_plain || self.aliases().belongs(record, self.qtype)
    }

    fn is_data(&self, rtype: Rtype) -> bool {
        rtype == self.qtype || rtype == Rtype::CNAME || self.qtype == Rtype::ANY
    }

    /// True if the owner of this record is the name that was asked for or a parent of it.
    fn is_above(&self, record: &ParsedRecord<'a, [u8]>) -> bool {
        let owner = record.owner();
        let asked = self.aliases().asked();
        record.class() == Class::IN && asked.is_some_and(|asked| asked.ends_with(&owner))
    }
}

/// What a reply means: its code, and the status that follows from its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The code in the header of a reply, extended by the first OPT record, if that can be read.
    pub(super) rcode: OptRcode,
    /// The status, if the code is not an error.
    pub(super) status: Status,
}

/// The outcome of a reply that repeats its question.
pub(super) fn outcome(message: &Message<[u8]>, qtype: Rtype) -> Outcome {
    let reading = Reading::new(message, qtype);
    let (mut has_data, mut is_malformed) = (false, false);
    let mut authority = Authority::new(message);
    let mut opt = None;
    for (section, record) in Walk::of(message) {
        match section {
            Section::Answer => match reading.judged(section, record) {
                // Signatures and DNAMEs only accompany other records.
                Some(Ok(record)) => has_data |= reading.is_data(record.rtype()),
                Some(Err(_)) => is_malformed = true,
                None => {}
            },
            Section::Authority if !has_data && !authority.is_final => {
                let record = record.and_then(RecordAt::parsed);
                authority.note(record.filter(|record| reading.is_above(record)));
            }
            Section::Additional if opt.is_none() => {
                opt = record.filter(|record| record.rtype == Rtype::OPT);
            }
            Section::Authority | Section::Additional => {}
        }
    }
    let status = match (has_data, is_malformed) {
        (true, _) => Status::NoError,
        (false, true) => Status::Malformed,
        (false, false) if authority.is_referral() => Status::Referral,
        (false, false) => Status::NoData,
    };
    let rcode = match opt.and_then(options) {
        Some(options) => options.rcode(message.header()),
        None => OptRcode::from(message.header().rcode()),
    };
    Outcome { rcode, status }
}

/// Whether a reply without an answer names other servers to ask (RFC 2308, 2.2).
struct Authority {
    names_servers: bool,
    is_final: bool,
}

impl Authority {
    fn new(message: &Message<[u8]>) -> Self {
        Self {
            names_servers: false,
            is_final: message.header().aa(),
        }
    }

    /// A record of the question's name or of a parent of it.
    fn note(&mut self, record: Option<ParsedRecord<'_, [u8]>>) {
        match record.map(|record| record.rtype()) {
            // It says how long the negative answer is valid.
            Some(Rtype::SOA) => self.is_final = true,
            Some(Rtype::NS) => self.names_servers = true,
            _ => {}
        }
    }

    fn is_referral(&self) -> bool {
        self.names_servers && !self.is_final
    }
}

/// The client network that an answer is for (RFC 7871), from the first OPT record, if that can be read.
pub(super) fn client_subnet(message: &Message<[u8]>) -> Option<ClientSubnet> {
    let mut records = Walk::of(message);
    let opt = records.find_map(|(section, record)| {
        record.filter(|record| section == Section::Additional && record.rtype == Rtype::OPT)
    });
    options(opt?)?.opt().client_subnet()
}

fn options(opt: RecordAt<'_>) -> Option<OptRecord<&[u8]>> {
    let record = opt.parsed()?;
    let opt = record.to_record::<Opt<_>>().ok().flatten();
    opt.map(OptRecord::from)
}

/// True if the content of a record matches its type.
fn fits(record: &ParsedRecord<'_, [u8]>) -> bool {
    match record.rtype() {
        // Most records are of these types; parsed like this, they need no `AllRecordData`, which is
        // large.
        Rtype::A => record.to_record::<A>().is_ok(),
        Rtype::AAAA => record.to_record::<Aaaa>().is_ok(),
        Rtype::CNAME => record.to_record::<Cname<ParsedName<_>>>().is_ok(),
        Rtype::NS => record.to_record::<Ns<ParsedName<_>>>().is_ok(),
        Rtype::SOA => record.to_record::<Soa<ParsedName<_>>>().is_ok(),
        rtype if presentation::writes(rtype) => {
            presentation::write(&mut Vec::new(), record).is_some()
        }
        _ => record
            .to_any_record::<AllRecordData<_, ParsedName<_>>>()
            .is_ok(),
    }
}
