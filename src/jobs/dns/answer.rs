//! What came of a question.

use super::question::Question;
use crate::io::Transport;
use domain::base::iana::OptRcode;
use domain::base::message::{Message, RecordSection};
use domain::base::name::ParsedName;
use domain::base::rdata::UnknownRecordData;
use domain::base::record::ParsedRecord;
use domain::base::wire::ParseError;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{Rtype, Ttl};
use domain::rdata::{AllRecordData, Txt};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There are records.
    NoError,
    /// The name exists, but has no records of that type.
    NoData,
    /// There is no such name.
    NxDomain,
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
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoError => "NOERROR",
            Self::NoData => "NODATA",
            Self::NxDomain => "NXDOMAIN",
            Self::Rcode(rcode) => return rcode.fmt(f),
            Self::Timeout => "TIMEOUT",
            Self::Unreachable => "UNREACHABLE",
            Self::Truncated => "TRUNCATED",
        })
    }
}

/// What came of a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub status: Status,
    /// What was asked.
    pub question: Question,
    /// The reply as it came, if a definite one did.
    pub message: Option<Box<[u8]>>,
    /// Who sent it.
    pub server: Option<SocketAddr>,
    /// How it came.
    pub transport: Option<Transport>,
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

/// Finds a section of a message.
type Section = for<'a> fn(&'a Message<[u8]>) -> Result<RecordSection<'a, [u8]>, ParseError>;

impl Answer {
    /// The flags of the reply, by the names that RFC 1035 and RFC 4035 give them.
    #[must_use]
    pub fn flags(&self) -> Vec<&'static str> {
        let message = self.message.as_deref().map(Message::from_slice);
        let Some(Ok(message)) = message else {
            return Vec::new();
        };
        let header = message.header();
        let flags = [
            ("aa", header.aa()),
            ("rd", header.rd()),
            ("ra", header.ra()),
            ("ad", header.ad()),
            ("cd", header.cd()),
        ];
        let set = flags.into_iter().filter(|&(_, is_set)| is_set);
        set.map(|(name, _)| name).collect()
    }

    /// The records of the answer, aliases on the way to it included.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.read(Message::answer)
    }

    /// The records about who is in charge of the name.
    #[must_use]
    pub fn authorities(&self) -> Vec<Record> {
        self.read(Message::authority)
    }

    /// The records that might be asked for next. (Options of the protocol are not among them.)
    #[must_use]
    pub fn additionals(&self) -> Vec<Record> {
        let mut records = self.read(Message::additional);
        records.retain(|record| record.rtype != Rtype::OPT);
        records
    }

    fn read(&self, section: Section) -> Vec<Record> {
        let message = self.message.as_deref().map(Message::from_slice);
        let Some(Ok(message)) = message else {
            return Vec::new();
        };
        let records = section(message).into_iter().flatten().flatten();
        records.map(|record| Record::new(&record)).collect()
    }
}

impl Record {
    fn new(record: &ParsedRecord<'_, [u8]>) -> Self {
        Self {
            name: record.owner().to_string(),
            rtype: record.rtype(),
            ttl: record.ttl(),
            data: data(record),
            text: text(record),
        }
    }
}

fn text(record: &ParsedRecord<'_, [u8]>) -> Option<Vec<u8>> {
    let text = record.to_record::<Txt<_>>().ok().flatten()?;
    Some(text.data().iter().flatten().copied().collect())
}

/// The content of a record as zone files have it; in the form for unknown types (RFC 3597) if it is not
/// what its type says.
fn data(record: &ParsedRecord<'_, [u8]>) -> String {
    let known = record.to_any_record::<AllRecordData<_, ParsedName<_>>>();
    if let Ok(known) = known {
        return known
            .data()
            .display_zonefile(DisplayKind::Simple)
            .to_string();
    }
    let unknown = record.to_record::<UnknownRecordData<_>>().ok().flatten();
    unknown.map_or_else(String::new, |unknown| {
        unknown
            .data()
            .display_zonefile(DisplayKind::Simple)
            .to_string()
    })
}
