//! The addresses in an answer, and how long it is valid.

use super::answer::Answer;
use super::status::Status;
use super::wire::Section;
use domain::base::name::ParsedName;
use domain::rdata::{A, Aaaa, Soa};
use std::net::IpAddr;
use std::time::Duration;

/// The longest time to live that is respected (RFC 8767, section 4, recommends a maximum of days).
const VALIDITY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Answer {
    /// The addresses of the answer, in its order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.parsed(Section::Answer).filter_map(|record| {
            if let Ok(Some(address)) = record.to_record::<A>() {
                return Some(address.data().addr().into());
            }
            let address = record.to_record::<Aaaa>().ok()??;
            Some(address.data().addr().into())
        })
    }

    /// How long the answer may be used again: the shortest time to live of its records or, if the name or
    /// the record type does not exist, what the zone says for that (RFC 2308, section 5). `None` if nothing
    /// says so.
    #[must_use]
    pub fn valid_for(&self) -> Option<Duration> {
        let records = self.parsed(Section::Answer);
        let of_records = records.map(|record| record.ttl().into_duration()).min();
        let of_zone = match self.status {
            Status::NoData | Status::NxDomain => self.negative_ttl(),
            _ => None,
        };
        let shortest = of_records.into_iter().chain(of_zone).min();
        shortest.map(|validity| validity.min(VALIDITY_MAX))
    }

    fn negative_ttl(&self) -> Option<Duration> {
        self.parsed(Section::Authority).find_map(|record| {
            let soa = record.to_record::<Soa<ParsedName<_>>>().ok()??;
            Some(soa.data().minimum().min(soa.ttl()).into_duration())
        })
    }
}
