//! The result of a question.

use super::message;
use super::question::Question;
use super::reading::{Malformed, Reading};
use super::status::Status;
use super::text;
use super::wire::Section;
use crate::io::Transport;
use domain::base::header::Header;
use domain::base::iana::Rcode;
use domain::base::message::Message;
use domain::base::opt::subnet::ClientSubnet;
use domain::base::record::ParsedRecord;
use domain::base::{Rtype, Ttl};
use domain::rdata::Txt;
use std::net::SocketAddr;
use std::time::Duration;

/// The result of a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub status: Status,
    /// The type of records that was asked for.
    pub qtype: Rtype,
    pub(super) subject: Subject,
    /// The server that sent it.
    pub server: Option<SocketAddr>,
    /// Its transport.
    pub transport: Option<Transport>,
    /// The client network that the answer is for, according to the server (RFC 7871), if the query asked
    /// for that.
    pub subnet: Option<ClientSubnet>,
    /// The last reply that was not an answer, if there was one.
    pub last_reply: Option<Box<LastReply>>,
    /// Queries sent for it.
    pub attempts: u32,
    /// The time from the query that was answered to its reply.
    pub round_trip: Option<Duration>,
    /// The time from the question to the first query: until a server had room for it.
    pub wait: Duration,
    /// The time from the question to its end, including waiting and all attempts.
    pub time: Duration,
    /// When it ended, by the clock of the resolver's caller.
    pub ended_at: Duration,
    /// Whether the records come from a wildcard, if that was requested.
    pub wildcard: Option<Wildcard>,
}

/// Whether a name has its records from a wildcard (RFC 4592).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// A random sibling of the name has the same records.
    Yes,
    /// The sibling has other records, or none.
    No,
    /// The records of the sibling could not be determined.
    Unknown,
}

/// A reply that is not an answer: enough to identify the server at fault.
#[derive(Clone, Debug)]
pub struct LastReply {
    /// The server that sent it.
    pub server: SocketAddr,
    /// Its transport.
    pub transport: Transport,
    /// Its response code, as in the header.
    pub rcode: Rcode,
    header: Header,
}

impl LastReply {
    pub(super) fn new(server: SocketAddr, transport: Transport, message: &[u8]) -> Self {
        let message = Message::from_slice(message).expect("it was judged before");
        Self {
            server,
            transport,
            rcode: message.header().rcode(),
            header: message.header(),
        }
    }

    /// Its flags, by the names that RFC 1035 and RFC 4035 give them.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        flags(self.header)
    }
}

/// The question, or the reply that ended it. The reply repeats the question, which then need not be moved
/// to another thread, where freeing it is slow.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// The reply as received, except that its question has its original case.
    Reply(Box<[u8]>),
    /// There is no such reply.
    Question(Question),
}

/// A record of an answer as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its owner name.
    pub name: String,
    /// Its type.
    pub rtype: Rtype,
    /// Its time to live.
    pub ttl: Ttl,
    /// Its content in zone-file format.
    pub data: String,
    /// The concatenated bytes of its strings, if it is a TXT record.
    pub text: Option<Vec<u8>>,
}

impl Answer {
    /// The name that was asked for, in wire format, in the case of the first question.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match &self.subject {
            Subject::Reply(message) => message::name(message),
            Subject::Question(question) => question.name(),
        }
    }

    /// The reply that ended the question, if there was one.
    #[must_use]
    pub fn message(&self) -> Option<&Message<[u8]>> {
        match &self.subject {
            Subject::Reply(message) => Message::from_slice(message).ok(),
            Subject::Question(_) => None,
        }
    }

    /// The flags of the reply, by the names that RFC 1035 and RFC 4035 give them.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        flags(self.message().map(Message::header).unwrap_or_default())
    }

    /// The records of the answer section, including the chain of aliases.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.read(Section::Answer)
    }

    /// The records of the authority section.
    #[must_use]
    pub fn authorities(&self) -> Vec<Record> {
        self.read(Section::Authority)
    }

    /// The records of the additional section, without OPT (RFC 6891).
    #[must_use]
    pub fn additionals(&self) -> Vec<Record> {
        self.read(Section::Additional)
    }

    /// The records that the methods above leave out, because they cannot be read.
    #[must_use]
    pub fn malformed(&self) -> Vec<Malformed> {
        let records = self.parsed_until(Section::Additional);
        records.filter_map(|(_, record)| record.err()).collect()
    }

    /// Appends the content of each record of the answer in zone-file format, preceded by what `before`
    /// appends for its type. It creates no [`Record`]s.
    pub fn write_data(&self, out: &mut Vec<u8>, mut before: impl FnMut(&mut Vec<u8>, Rtype)) {
        for record in self.parsed(Section::Answer) {
            before(out, record.rtype());
            text::write_data(out, &record);
        }
    }

    fn read(&self, section: Section) -> Vec<Record> {
        let records = self.parsed(section);
        records.map(|record| Record::new(&record)).collect()
    }

    /// The records of a section that can be read.
    pub(super) fn parsed(&self, section: Section) -> impl Iterator<Item = ParsedRecord<'_, [u8]>> {
        let records = self.parsed_until(section);
        records.filter_map(move |(of, record)| record.ok().filter(|_| of == section))
    }

    /// The records of the sections up to this one.
    pub(super) fn parsed_until(
        &self,
        last: Section,
    ) -> impl Iterator<Item = (Section, Result<ParsedRecord<'_, [u8]>, Malformed>)> {
        let message = self.message().into_iter();
        message.flat_map(move |message| Reading::new(message, self.qtype).records_until(last))
    }
}

impl Record {
    fn new(record: &ParsedRecord<'_, [u8]>) -> Self {
        let mut data = Vec::new();
        text::write_data(&mut data, record);
        Self {
            name: text::name(&record.owner()),
            rtype: record.rtype(),
            ttl: record.ttl(),
            data: text::into_string(data),
            text: strings(record),
        }
    }
}

/// The flags of the third and fourth octets of a header, by their names.
const FLAGS: [(u16, &str); 5] = [
    (0x400, "aa"),
    (0x100, "rd"),
    (0x80, "ra"),
    (0x20, "ad"),
    (0x10, "cd"),
];

fn flags(header: Header) -> impl Iterator<Item = &'static str> {
    let octets = header.as_slice();
    let bits = u16::from_be_bytes([octets[2], octets[3]]);
    let set = FLAGS.iter().filter(move |(flag, _)| bits & flag != 0);
    set.map(|&(_, name)| name)
}

pub(super) fn strings(record: &ParsedRecord<'_, [u8]>) -> Option<Vec<u8>> {
    let text = record.to_record::<Txt<_>>().ok().flatten()?;
    Some(text.data().iter().flatten().copied().collect())
}
