//! DNS records of names.

use super::error::{Error, ErrorKind};
use super::inputs::Inputs;
use super::options::{Options, check_rate, common_options};
use super::rows::{Row, Rows};
use crate::jobs::dns::{
    self, Answer, DnsJob, Found, RESOLV_CONF, Settings, SharedLimits, SharedServerStats, Status,
    each_once, queries_in_flight_max, system_servers,
};
use crate::mill::Finished;
use crate::run::{Descriptors, Plan};
use domain::base::Rtype;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Sockets for each server, all loops together. The more there are, the harder it is to forge a reply.
const SOCKETS: usize = 8;

/// Looks up names in DNS, many at a time, and yields one row for each name in input order.
///
/// A name may be followed by a space and a record type: `example.com MX`. For an IP address, the name of the
/// address (PTR) is looked up. Names that are not ASCII are converted by IDNA.
///
/// By default the servers of `/etc/resolv.conf` are queried, with at most 100 queries in flight at each.
/// Servers set by [`Dns::resolvers`] get at most 4,096, or as many as [`Dns::in_flight`] allows if it is
/// set. Within these limits the number adapts to each server.
///
/// The result of a row is a value if a server answered, even if the answer is that there are no records
/// ([`DnsStatus`]). It is an error if no server answered in time, if all servers failed or refused (SERVFAIL,
/// REFUSED), or if the input is not a domain name.
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

/// Builder of a run of [`dns`](dns()).
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
    /// Sets the servers to query, instead of those of `/etc/resolv.conf`. Duplicates are removed. An empty
    /// list stands for those of `/etc/resolv.conf`.
    ///
    /// ```no_run
    /// let servers = ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
    /// let rows = ringmill::dns(["example.com"]).resolvers(servers).start()?;
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn resolvers(mut self, resolvers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.settings.servers = each_once(resolvers);
        self
    }

    /// Sets the record type to look up for names that are not followed by one. The default is A. For IP
    /// addresses it remains PTR.
    ///
    /// ```no_run
    /// use ringmill::RecordType;
    ///
    /// let names = ["example.com", "example.com TXT"];
    /// let mut types = Vec::new();
    /// for row in ringmill::dns(names).record_type(RecordType::MX).start()? {
    ///     types.push(row?.result?.record_type);
    /// }
    /// assert_eq!(types, [RecordType::MX, RecordType::TXT]);
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn record_type(mut self, record_type: RecordType) -> Self {
        self.record_type = record_type;
        self
    }

    /// Sets the number of attempts after the first, at other servers if there are any. The default is 5.
    ///
    /// ```
    /// use std::net::UdpSocket;
    /// use std::time::Duration;
    ///
    /// // A server that never replies.
    /// let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    /// let lookups = ringmill::dns(["example.com"]).resolvers([silent.local_addr().unwrap()]);
    /// for row in lookups.retries(1).attempt_timeout(Duration::from_millis(20)).start()? {
    ///     let error = row?.result.unwrap_err();
    ///     assert!(error.to_string().contains("2 queries"), "{error}");
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// Sets the time to wait for the reply to the first attempt. It doubles with each further attempt, up to
    /// one second, or up to the first if that is longer. By default it is estimated for each server from the
    /// times of its replies, between 100 ms and 5 s; before the first reply it is 500 ms.
    ///
    /// ```
    /// use ringmill::ErrorKind;
    /// use std::net::UdpSocket;
    /// use std::time::Duration;
    ///
    /// let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    /// let lookups = ringmill::dns(["example.com"]).resolvers([silent.local_addr().unwrap()]);
    /// for row in lookups.attempt_timeout(Duration::from_millis(10)).retries(0).start()? {
    ///     assert_eq!(row?.result.unwrap_err().kind(), ErrorKind::TimedOut);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = Some(timeout);
        self
    }

    /// Sets the time to wait for replies for one name, all attempts together. The default is 20 s. The time
    /// that a name waits before its query can be sent does not count.
    ///
    /// ```
    /// use ringmill::ErrorKind;
    /// use std::net::UdpSocket;
    /// use std::time::Duration;
    ///
    /// let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    /// let lookups = ringmill::dns(["example.com"]).resolvers([silent.local_addr().unwrap()]);
    /// for row in lookups.timeout(Duration::from_millis(50)).start()? {
    ///     assert_eq!(row?.result.unwrap_err().kind(), ErrorKind::TimedOut);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Limits the queries to each server, in queries per second: from 0.001 to 1,000,000,000. By default the
    /// rate is not limited.
    ///
    /// With a rate out of range, `start` returns an error.
    ///
    /// ```
    /// let slow = ringmill::dns(["example.com"]).rate_per_resolver(50.0);
    ///
    /// let error = slow.rate_per_resolver(0.0).start().unwrap_err();
    /// assert_eq!(error.kind(), ringmill::ErrorKind::Start);
    /// ```
    pub fn rate_per_resolver(mut self, per_second: f64) -> Self {
        self.settings.rate_per_server = Some(per_second);
        self
    }

    /// Sends all queries over TCP. By default they are sent over UDP, and over TCP only if a reply does not
    /// fit into a datagram.
    ///
    /// ```no_run
    /// for row in ringmill::dns(["example.com TXT"]).tcp().start()? {
    ///     println!("{:?}", row?.result?.records);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn tcp(mut self) -> Self {
        self.settings.streams_only = true;
        self
    }

    /// Sets the local address from which queries are sent. It must be an address of this machine, of the same
    /// family as the addresses of the servers; otherwise the rows are errors, because no server is reachable.
    /// By default the system chooses it.
    ///
    /// ```no_run
    /// let from = "192.0.2.10".parse().unwrap();
    /// for row in ringmill::dns(["example.com"]).source(from).start()? {
    ///     println!("{:?}", row?.result?.records);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn source(mut self, address: IpAddr) -> Self {
        self.settings.source = Some(address);
        self
    }

    common_options!();

    /// Starts the run: its threads begin to pull and look up names before the first row is taken.
    ///
    /// # Errors
    /// An error of the kind [`Start`](ErrorKind::Start) if an option is out of its range, if no servers are
    /// set and `/etc/resolv.conf` cannot be read or has none, if the limit on open files leaves no socket for
    /// each server, if [`Engine::Uring`](crate::Engine::Uring) was set and io_uring is not available, or if
    /// no thread can be started.
    ///
    /// ```
    /// let servers = ["127.0.0.1:53".parse().unwrap()];
    /// for row in ringmill::dns(["no..name"]).resolvers(servers).start()? {
    ///     assert_eq!(row?.result.unwrap_err().kind(), ringmill::ErrorKind::InvalidInput);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn start(self) -> Result<Rows<String, Resolved>, Error> {
        let mut settings = self.settings;
        check_rate("rate_per_resolver", settings.rate_per_server)?;
        let has_own_servers = !settings.servers.is_empty();
        if !has_own_servers {
            let found = system_servers(Path::new(RESOLV_CONF)).map_err(Error::start)?;
            settings.servers = each_once(found.servers);
        }
        if settings.servers.is_empty() {
            let none = format_args!("{RESOLV_CONF} has no nameserver");
            return Err(Error::start(none));
        }
        let in_flight_is_set = self.options.request.in_flight.is_some();
        let default_type = self.record_type.0;
        let job = |plan: &Plan, descriptors: &Descriptors| {
            let (servers, loops) = (settings.servers.len(), plan.loops);
            let has_datagrams = !settings.streams_only;
            let sockets = descriptors.sockets(SOCKETS, servers, loops, has_datagrams);
            settings.sockets_per_server = sockets.map_err(Error::start)?;
            let rate = settings.rate_per_server;
            settings.rate_per_server = rate.map(|rate| plan.share_of_rate(rate));
            let queries_in_flight_max =
                queries_in_flight_max(plan.in_flight, in_flight_is_set, has_own_servers);
            Ok(DnsJob {
                asks_every_server: false,
                limits: SharedLimits::new(servers, queries_in_flight_max, loops),
                settings,
                default_type,
                server_stats: SharedServerStats::default(),
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

/// The error of a name that no server has answered.
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

/// The DNS answer for a name.
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
    /// Whether the name and such records exist.
    pub status: DnsStatus,
    /// The record type that was looked up.
    pub record_type: RecordType,
    /// The records of the answer section, aliases (CNAME) included.
    pub records: Vec<DnsRecord>,
    /// The server that answered.
    pub resolver: Option<SocketAddr>,
    /// The number of queries sent for the name.
    pub attempts: u32,
    /// The time from the query that was answered to its reply.
    pub round_trip: Option<Duration>,
}

/// Whether the name and records of the requested type exist.
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
    /// There are records, or only aliases that lead to none.
    NoError,
    /// The name exists, but has no records of that type.
    NoData,
    /// The name does not exist.
    NxDomain,
}

impl fmt::Display for DnsStatus {
    /// `NOERROR`, `NODATA` or `NXDOMAIN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoError => "NOERROR",
            Self::NoData => "NODATA",
            Self::NxDomain => "NXDOMAIN",
        })
    }
}

/// A DNS record.
///
/// ```no_run
/// # let record: ringmill::DnsRecord = todo!();
/// println!("{} {} {} {}", record.name, record.ttl_s, record.record_type, record.data);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsRecord {
    /// The name that the record belongs to.
    pub name: String,
    /// The type of the record.
    pub record_type: RecordType,
    /// The time to live: how long the record may be cached, in seconds.
    pub ttl_s: u32,
    /// The data in the format of zone files (RFC 1035, section 5; RFC 3597 for types that have no format of
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

/// A type of DNS record. It is parsed from a name in upper or lower case, or from `TYPE` and a number
/// (RFC 3597).
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
    /// The name of an IP address.
    pub const PTR: Self = Self(Rtype::PTR);
    /// The start of a zone of authority.
    pub const SOA: Self = Self(Rtype::SOA);
    /// The host and port of a service.
    pub const SRV: Self = Self(Rtype::SRV);
    /// Text.
    pub const TXT: Self = Self(Rtype::TXT);
    /// How to reach an HTTPS service.
    pub const HTTPS: Self = Self(Rtype::HTTPS);

    /// Returns the type with this number (RFC 1035, section 3.2.2).
    ///
    /// ```
    /// use ringmill::RecordType;
    ///
    /// assert_eq!(RecordType::from_number(28), RecordType::AAAA);
    /// assert_eq!(RecordType::from_number(65280).to_string(), "TYPE65280");
    /// ```
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        Self(Rtype::from_int(number))
    }

    /// Returns the number of the type.
    ///
    /// ```
    /// assert_eq!(ringmill::RecordType::TXT.number(), 16);
    /// ```
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

/// The error of parsing a [`RecordType`]: the text is not the name of one.
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

    /// Parses a name in upper or lower case, or `TYPE` and a number (RFC 3597).
    fn from_str(word: &str) -> Result<Self, UnknownRecordType> {
        let known = dns::parse_type(word.as_bytes());
        known.map(Self).map_err(|_| UnknownRecordType)
    }
}
