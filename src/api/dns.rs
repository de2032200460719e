//! Names and their DNS records.

use super::error::{Error, ErrorKind};
use super::inputs::Inputs;
use super::options::{Options, check_rate, common_options};
use super::rows::{Row, Rows};
use crate::jobs::dns::{
    self, Answer, DnsJob, Found, RESOLV_CONF, Settings, SharedFigures, SharedLimits, Status,
    at_once, each_once, system_servers,
};
use crate::mill::Finished;
use crate::run::{Descriptors, Plan};
use domain::base::Rtype;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Sockets for each server, all loops together: the more, the more a forger has to guess.
const SOCKETS: usize = 8;

/// Looks names up in DNS, many at a time, and gives one row for each name in their order.
///
/// Each name may be followed by a space and a type of record: `example.com MX`. An IP address asks for
/// its name. By default the servers of `/etc/resolv.conf` are asked, no more than 100 names at a time.
///
/// A row's result is a value if a server has answered, be it with a no ([`DnsStatus`]). Everything else is
/// an error: that no server has answered in time, that the servers would not (SERVFAIL, REFUSED), that it
/// is no name.
///
/// ```no_run
/// for row in ringmill::dns(["example.com", "example.com MX"]).start()? {
///     let row = row?;
///     match row.result {
///         Ok(resolved) => println!("{} {}: {:?}", row.input, resolved.status, resolved.records),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok::<(), ringmill::Error>(())
/// ```
pub fn dns<I>(names: I) -> Dns<I::IntoIter>
where
    I: IntoIterator,
    I::Item: Into<String>,
    I::IntoIter: Send + 'static,
{
    Dns {
        names: names.into_iter(),
        options: Options::new(false),
        record_type: RecordType::A,
        settings: Settings::new(Vec::new()),
    }
}

/// A run of [`dns`](dns()) before it starts.
///
/// ```no_run
/// use ringmill::RecordType;
///
/// let servers = ["127.0.0.1:53".parse().unwrap()];
/// let rows = ringmill::dns(["example.com"]).resolvers(servers).record_type(RecordType::AAAA).start()?;
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is looked up until it is started"]
pub struct Dns<I> {
    names: I,
    options: Options,
    record_type: RecordType,
    settings: Settings,
}

impl<I> Dns<I>
where
    I: Iterator + Send + 'static,
    I::Item: Into<String>,
{
    /// The servers to ask, in place of those of `/etc/resolv.conf`.
    pub fn resolvers(mut self, resolvers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.settings.servers = each_once(resolvers);
        self
    }

    /// The type of the records of names without a type of their own. The default is A.
    pub fn record_type(mut self, record_type: RecordType) -> Self {
        self.record_type = record_type;
        self
    }

    /// Attempts after the first, with other servers if there are any. The default is 5.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// The time for the first attempt; each further one has twice as much, up to a second or as much as
    /// the first. By default it follows from how long each server's replies take, and is 100 ms or more.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = Some(timeout);
        self
    }

    /// The time for a name: how long replies are waited for, all attempts together. The default is 20 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Queries to each server per second, at most: from 0.001 to 1,000,000,000. By default there is no such
    /// limit.
    pub fn rate_per_resolver(mut self, per_second: f64) -> Self {
        self.settings.rate_per_server = Some(per_second);
        self
    }

    /// Asks by TCP alone.
    pub fn tcp(mut self) -> Self {
        self.settings.streams_only = true;
        self
    }

    /// Asks from this address of the machine.
    pub fn source(mut self, address: IpAddr) -> Self {
        self.settings.source = Some(address);
        self
    }

    common_options!();

    /// Starts the run.
    ///
    /// # Errors
    /// If there is no server to ask, the limit on open files leaves no socket for each, io_uring was asked
    /// for and is not to be had, no thread can be started, or an option is out of its range.
    pub fn start(self) -> Result<Rows<String, Resolved>, Error> {
        let mut settings = self.settings;
        check_rate("rate_per_resolver", settings.rate_per_server)?;
        let names_servers = !settings.servers.is_empty();
        if !names_servers {
            let found = system_servers(Path::new(RESOLV_CONF)).map_err(Error::start)?;
            settings.servers = each_once(found.servers);
        }
        if settings.servers.is_empty() {
            let none = format_args!("{RESOLV_CONF} has no nameserver");
            return Err(Error::start(none));
        }
        let in_flight_is_said = self.options.wishes.in_flight.is_some();
        let default_type = self.record_type.0;
        let job = |plan: &Plan, descriptors: &Descriptors| {
            let (servers, loops) = (settings.servers.len(), plan.loops);
            let has_datagrams = !settings.streams_only;
            let sockets = descriptors.sockets(SOCKETS, servers, loops, has_datagrams);
            settings.sockets_per_server = sockets.map_err(Error::start)?;
            let rate = settings.rate_per_server;
            settings.rate_per_server = rate.map(|rate| plan.share_of_rate(rate));
            let at_once = at_once(plan.in_flight, in_flight_is_said, names_servers);
            Ok(DnsJob {
                asks_every_server: false,
                limits: SharedLimits::new(servers, at_once, loops),
                settings,
                default_type,
                figures: SharedFigures::default(),
                wildcards: None,
            })
        };
        let source = Inputs::new(self.names, |name: I::Item| name.into().into_bytes());
        self.options.start(job, source, to_row)
    }
}

fn to_row(finished: Finished<Found>) -> Row<String, Resolved> {
    let Finished { item, result, .. } = finished;
    let name = item.bytes();
    let result = match result {
        Err(error) => Err(Error::of_item(&error, name)),
        Ok(Err(invalid)) => Err(Error::new(
            ErrorKind::InvalidInput,
            "resolve",
            name,
            invalid,
        )),
        Ok(Ok(answer)) => Resolved::of(&answer).ok_or_else(|| unanswered(&answer, name)),
    };
    Row {
        index: item.index(),
        input: String::from_utf8_lossy(name).into_owned(),
        result,
    }
}

/// What the servers made of a name that none of them has answered.
fn unanswered(answer: &Answer, name: &[u8]) -> Error {
    let kind = match answer.status {
        Status::Timeout => ErrorKind::TimedOut,
        _ => ErrorKind::Unanswered,
    };
    let (status, attempts) = (answer.status, answer.attempts);
    let last = (answer.last_reply.as_ref()).map(|last| format!(" from {}", last.server));
    let last = last.unwrap_or_default();
    let cause = format_args!("{status}{last}, {attempts} queries");
    Error::new(kind, "resolve", name, cause)
}

/// What DNS has for a name.
///
/// ```no_run
/// for row in ringmill::dns(["example.com"]).start()? {
///     for record in row?.result?.records {
///         println!("{} {} {}", record.name, record.record_type, record.data);
///     }
/// }
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// What the answer is.
    pub status: DnsStatus,
    /// The type that was asked for.
    pub record_type: RecordType,
    /// The records of the answer, aliases on the way to it included. There are none where the answer is a
    /// no.
    pub records: Vec<DnsRecord>,
    /// The server that gave it.
    pub resolver: Option<SocketAddr>,
    /// Queries sent for it.
    pub attempts: u32,
    /// From the last query to the reply.
    pub round_trip: Option<Duration>,
}

/// What an answer is.
///
/// ```no_run
/// use ringmill::DnsStatus;
///
/// let rows = ringmill::dns(["no-such-name.example"]).start()?;
/// for row in rows {
///     assert_eq!(row?.result?.status, DnsStatus::NxDomain);
/// }
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DnsStatus {
    /// There are records, or aliases that lead to none.
    NoError,
    /// The name exists, but has no records of that type.
    NoData,
    /// There is no such name.
    NxDomain,
}

impl fmt::Display for DnsStatus {
    /// As it is usually written: `NOERROR`, `NODATA`, `NXDOMAIN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoError => "NOERROR",
            Self::NoData => "NODATA",
            Self::NxDomain => "NXDOMAIN",
        })
    }
}

/// A record of an answer.
///
/// ```no_run
/// # let record: ringmill::DnsRecord = todo!();
/// println!("{} {} {} {}", record.name, record.ttl_s, record.record_type, record.data);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsRecord {
    /// Whose it is.
    pub name: String,
    /// Its type.
    pub record_type: RecordType,
    /// How long it may be kept, in seconds.
    pub ttl_s: u32,
    /// Its content, as zone files have it (RFC 1035, section 5; RFC 3597 for types without a form of
    /// their own).
    pub data: String,
}

impl Resolved {
    /// `None` if no server has answered.
    fn of(answer: &Answer) -> Option<Self> {
        let status = match answer.status {
            Status::NoError => DnsStatus::NoError,
            Status::NoData => DnsStatus::NoData,
            Status::NxDomain => DnsStatus::NxDomain,
            _ => return None,
        };
        let records = answer.records().into_iter().map(|record| DnsRecord {
            name: record.name,
            record_type: RecordType(record.rtype),
            ttl_s: record.ttl.as_secs(),
            data: record.data,
        });
        Some(Self {
            status,
            record_type: RecordType(answer.qtype),
            records: records.collect(),
            resolver: answer.server,
            attempts: answer.attempts,
            round_trip: answer.round_trip,
        })
    }
}

/// A type of DNS records, by its name or its number.
///
/// ```
/// use ringmill::RecordType;
///
/// assert_eq!("mx".parse(), Ok(RecordType::MX));
/// assert_eq!(RecordType::MX.number(), 15);
/// assert_eq!("TYPE65280".parse::<RecordType>().unwrap().to_string(), "TYPE65280");
/// assert!("NONESUCH".parse::<RecordType>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordType(Rtype);

impl RecordType {
    /// An IPv4 address.
    pub const A: Self = Self(Rtype::A);
    /// An IPv6 address.
    pub const AAAA: Self = Self(Rtype::AAAA);
    /// An alias.
    pub const CNAME: Self = Self(Rtype::CNAME);
    /// A mail server.
    pub const MX: Self = Self(Rtype::MX);
    /// A name server.
    pub const NS: Self = Self(Rtype::NS);
    /// The name of an address.
    pub const PTR: Self = Self(Rtype::PTR);
    /// The start of a zone.
    pub const SOA: Self = Self(Rtype::SOA);
    /// A service.
    pub const SRV: Self = Self(Rtype::SRV);
    /// A text.
    pub const TXT: Self = Self(Rtype::TXT);
    /// How to reach an HTTPS service.
    pub const HTTPS: Self = Self(Rtype::HTTPS);

    /// The type with this number (RFC 1035, section 3.2.2).
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        Self(Rtype::from_int(number))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.to_int()
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A word that is no type of DNS records.
///
/// ```
/// let error = "NONESUCH".parse::<ringmill::RecordType>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown type of record");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRecordType;

impl fmt::Display for UnknownRecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown type of record")
    }
}

impl std::error::Error for UnknownRecordType {}

impl FromStr for RecordType {
    type Err = UnknownRecordType;

    /// A name in any case, or `TYPE` and a number (RFC 3597).
    fn from_str(word: &str) -> Result<Self, UnknownRecordType> {
        let known = dns::parse_type(word.as_bytes());
        known.map(Self).map_err(|_| UnknownRecordType)
    }
}
