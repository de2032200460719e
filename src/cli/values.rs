//! Parsers for the values of options, with error messages of our own.

use crate::digest::Algorithm;
use crate::jobs::dns;
use crate::mill::RATES_PER_S;
use crate::run::Engine;
use clap::builder::{EnumValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, Command, Error, ValueEnum};
use domain::base::Rtype;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::time::Duration;

/// With shorter intervals, a loop would spend most of its time publishing latencies.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Parses a whole number of at least 1.
pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse::<u32>() {
        Ok(count @ 1..) => Ok(count as usize),
        _ => Err(format!("not a whole number from 1 to {}", u32::MAX)),
    }
}

/// Parses a whole number of at least 0.
pub(super) fn parse_retries(text: &str) -> Result<u32, String> {
    let retries = text.parse();
    retries.map_err(|_| format!("not a whole number from 0 to {}", u32::MAX))
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text)?;
    if timeout.is_zero() {
        return Err("it must be longer than 0".to_owned());
    }
    Ok(timeout)
}

pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < INTERVAL_MIN {
        return Err("it must be at least 10 ms".to_owned());
    }
    Ok(interval)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    use humantime::DurationError as Unreadable;
    humantime::parse_duration(text).map_err(|error| match error {
        Unreadable::UnknownUnit { unit, value, .. } if unit.is_empty() => {
            format!("the unit is missing, as in {value}s, {value}ms or {value}m")
        }
        Unreadable::UnknownUnit { unit, .. } => {
            format!("unknown unit `{unit}`; the units are ns, us, ms, s, m, h and d")
        }
        Unreadable::NumberOverflow => "too long, or more precise than a nanosecond".to_owned(),
        _ => "not a duration; examples are 500ms, 30s and '1m 30s'".to_owned(),
    })
}

pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if RATES_PER_S.contains(&rate) => Ok(rate),
        _ => Err("a rate is a number per second, from 0.001 to 1000000000".to_owned()),
    }
}

pub(super) fn parse_record_type(text: &str) -> Result<Rtype, String> {
    dns::parse_type(text.as_bytes()).map_err(|error| error.to_string())
}

pub(super) fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "not an IP address".to_owned())
}

/// Parses an algorithm: its name, or the spelling of its standard, in upper or lower case.
pub(super) fn algorithm_parser() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.map(spellings)).map(|text| {
        let mut algorithms = Algorithm::ALL.into_iter();
        let is_it = |algorithm: &Algorithm| spellings(*algorithm).matches(&text, true);
        algorithms.find(is_it).expect("the name of an algorithm")
    })
}

fn spellings(algorithm: Algorithm) -> PossibleValue {
    let name = PossibleValue::new(algorithm.name());
    match algorithm {
        Algorithm::Sha256 => name.alias("sha-256"),
        Algorithm::Sha512 => name.alias("sha-512"),
        Algorithm::Sha1 => name.alias("sha-1"),
        Algorithm::Crc32c => name.alias("crc-32c"),
        Algorithm::Blake3 | Algorithm::Md5 | Algorithm::Xxh3 | Algorithm::Xxh128 => name,
    }
}

impl ValueEnum for Engine {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Uring, Self::Threads]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Threads => "threads",
        }))
    }
}

/// Parses an engine. An empty environment variable counts as not set, as for most programs.
#[derive(Clone)]
pub(super) struct EngineParser;

impl TypedValueParser for EngineParser {
    type Value = Engine;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Engine, Error> {
        EnumValueParser::new().parse_ref(command, argument, value)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Engine, Error> {
        if source == ValueSource::EnvVariable && value.is_empty() {
            return Ok(Engine::Auto);
        }
        self.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let engines = Engine::value_variants().iter();
        Some(Box::new(engines.filter_map(ValueEnum::to_possible_value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_in_range() {
        assert_eq!(parse_count("4294967295"), Ok(4_294_967_295));
        assert_eq!(parse_retries("0"), Ok(0));
        for text in ["0", "-1", "", "many", "1.5", "4294967296", "--verbose"] {
            let error = parse_count(text).unwrap_err();
            assert_eq!(error, "not a whole number from 1 to 4294967295", "{text}");
        }
        let error = parse_retries("-1").unwrap_err();
        assert_eq!(error, "not a whole number from 0 to 4294967295");
    }

    #[test]
    fn what_is_wrong_with_a_length_of_time_is_said_in_words() {
        assert_eq!(parse_timeout("1m 30s"), Ok(Duration::from_secs(90)));
        let error = |text| parse_timeout(text).unwrap_err();
        let missing = "the unit is missing, as in 5s, 5ms or 5m";
        assert_eq!(error("5"), missing);
        let unknown = "unknown unit `parsecs`; the units are ns, us, ms, s, m, h and d";
        assert_eq!(error("5 parsecs"), unknown);
        let exceeds = "too long, or more precise than a nanosecond";
        assert_eq!(error("99999999999999999999s"), exceeds);
        let neither = "not a duration; examples are 500ms, 30s and '1m 30s'";
        for text in ["", "soon", "-1s", "--summary", "ms"] {
            assert_eq!(error(text), neither, "{text}");
        }
        assert_eq!(error("0s"), "it must be longer than 0");
        let short = "it must be at least 10 ms";
        assert_eq!(parse_interval("1ms").unwrap_err(), short);
    }
}
