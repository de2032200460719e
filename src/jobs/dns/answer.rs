//! What came of a question.

use super::message;
use super::question::Question;
use super::reading::{Malformed, Reading, Section};
use super::text;
use crate::io::Transport;
use domain::base::header::Header;
use domain::base::iana::{OptRcode, Rcode};
use domain::base::message::Message;
use domain::base::opt::subnet::ClientSubnet;
use domain::base::record::ParsedRecord;
use domain::base::{Rtype, Ttl};
use domain::rdata::Txt;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There are records, or aliases that lead to none.
    NoError,
    /// The name exists, but has no records of that type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// The server has no answer, and names others that may have one.
    Referral,
    /// Nothing of what was said to be an answer can be read.
    Malformed,
    /// No server would answer; the last one said this.
    Rcode(OptRcode),
    /// No server answered in time.
    Timeout,
    /// Nobody listens where servers should.
    Unreachable,
    /// The answer did not fit, not even into a stream.
    Truncated,
}

impl Status {
    /// True if the question has been answered, be it with a no.
    #[must_use]
    pub fn is_definite(self) -> bool {
        matches!(self, Self::NoError | Self::NoData | Self::NxDomain)
    }

    /// Its name, unless it is the server's to say.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NoError => "NOERROR",
            Self::NoData => "NODATA",
            Self::NxDomain => "NXDOMAIN",
            Self::Referral => "REFERRAL",
            Self::Malformed => "MALFORMED",
            Self::Rcode(_) => return None,
            Self::Timeout => "TIMEOUT",
            Self::Unreachable => "UNREACHABLE",
            Self::Truncated => "TRUNCATED",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.name()) {
            (Self::Rcode(rcode), _) => rcode.fmt(f),
            (_, name) => f.write_str(name.unwrap_or_default()),
        }
    }
}

/// What came of a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub status: Status,
    /// The type of records that was asked for.
    pub qtype: Rtype,
    pub(super) subject: Subject,
    /// Who sent it.
    pub server: Option<SocketAddr>,
    /// How it came.
    pub transport: Option<Transport>,
    /// The network for whose clients the server says that the answer is (RFC 7871), if a query asked for that.
    pub subnet: Option<ClientSubnet>,
    /// What was said last instead of an answer, if anything was.
    pub last_reply: Option<Box<LastReply>>,
    /// Queries sent for it.
    pub attempts: u32,
    /// From the last query to the reply.
    pub round_trip: Option<Duration>,
    /// From the question to the first query: until a server had room for it.
    pub wait: Duration,
    /// From the question to the end, waiting and all attempts included.
    pub time: Duration,
    /// When it ended, by the clock of whoever ran the resolver.
    pub ended_at: Duration,
    /// Whether the records come from a wildcard, if that was to be found out.
    pub wildcard: Option<Wildcard>,
}

/// Whether a name has its records from a wildcard (RFC 4592).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// A random name beside it has the same records.
    Yes,
    /// It has others, or none.
    No,
    /// What a random name has could not be found out.
    Unknown,
}

/// A reply that is no answer: enough to find the server that is to blame.
#[derive(Clone, Debug)]
pub struct LastReply {
    /// Who sent it.
    pub server: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// Its code, as it stands in the header.
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

/// What was asked, and the reply if one came that ends it. That repeats the question, which then need not
/// go with it to another thread, where to free it takes long.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// The reply as it came, but for the case of its question.
    Reply(Box<[u8]>),
    /// There is none.
    Question(Question),
}

/// A record of an answer, for people and programs to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: String,
    /// Its type.
    pub rtype: Rtype,
    /// How long it may be kept.
    pub ttl: Ttl,
    /// Its content, as zone files have it.
    pub data: String,
    /// The bytes of its strings, one after another, if it is a text (TXT).
    pub text: Option<Vec<u8>>,
}

impl Answer {
    /// The name that was asked about, in wire format, spelled as whoever asked first did.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match &self.subject {
            Subject::Reply(message) => message::name(message),
            Subject::Question(question) => question.name(),
        }
    }

    /// The reply, if one came that ends it.
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

    /// The records of the answer, aliases on the way to it included.
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

    /// The records of the reply that are not among those, because they cannot be read.
    #[must_use]
    pub fn malformed(&self) -> Vec<Malformed> {
        let records = self.parsed_until(Section::Additional);
        records.filter_map(|(_, record)| record.err()).collect()
    }

    /// Appends the content of each record of the answer to a text, as zone files have it, after what
    /// `before` appends for its type. It makes no [`Record`]s.
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
