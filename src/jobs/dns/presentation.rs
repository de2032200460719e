//! Record contents in zone-file format, for types that the `domain` crate does not know, or does not
//! write in that format.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use domain::base::Rtype;
use domain::base::charstr::DisplayQuoted;
use domain::base::iana::SvcParamKey;
use domain::base::name::{ParsedName, ToName};
use domain::base::rdata::UnknownRecordData;
use domain::base::record::ParsedRecord;
use domain::base::scan::Symbol;
use domain::rdata::dnssec::Timestamp;
use domain::rdata::ipseckey::IpseckeyGateway;
use domain::rdata::{AllRecordData, Https, Rrsig, Svcb, Txt};
use std::fmt::{self, Display};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

/// True if [`write`] is for records of this type.
pub(super) fn writes(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::SVCB
            | Rtype::HTTPS
            | Rtype::RRSIG
            | Rtype::IPSECKEY
            | Rtype::URI
            | Rtype::LOC
            | Rtype::CERT
            | Rtype::SMIMEA
            | Rtype::SPF
            | Rtype::EUI48
            | Rtype::EUI64
    )
}

/// Appends the content of a record. `None` if it does not match its type; a part of it may have been
/// appended.
pub(super) fn write(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) -> Option<()> {
    match record.rtype() {
        Rtype::SVCB => {
            let record = record.to_record::<Svcb<_, ParsedName<_>>>().ok()??;
            let (service, params) = (record.data(), record.data().params());
            write_service(out, service.priority(), service.target(), params.as_slice())
        }
        Rtype::HTTPS => {
            let record = record.to_record::<Https<_, ParsedName<_>>>().ok()??;
            let (service, params) = (record.data(), record.data().params());
            write_service(out, service.priority(), service.target(), params.as_slice())
        }
        Rtype::RRSIG => write_signature(out, record),
        Rtype::IPSECKEY => write_ipsec_key(out, record),
        rtype => {
            let record = record.to_record::<UnknownRecordData<_>>().ok()??;
            write_data(out, rtype, record.data().data())
        }
    }
}

/// The same for types whose content has no names.
fn write_data(out: &mut Vec<u8>, rtype: Rtype, data: &[u8]) -> Option<()> {
    match rtype {
        Rtype::URI => {
            let (priority, data) = take_u16(data)?;
            let (weight, target) = take_u16(data)?;
            // RFC 7553, 4.4.
            let target = Some(target).filter(|target| !target.is_empty())?;
            let target = DisplayQuoted::from_slice(target);
            write!(out, "{priority} {weight} {target}").ok()
        }
        Rtype::LOC => write_location(out, data),
        Rtype::CERT => {
            let (kind, data) = take_u16(data)?;
            let (key_tag, data) = take_u16(data)?;
            let (algorithm, certificate) = data.split_first()?;
            let certificate = as_base64(Some(certificate).filter(|it| !it.is_empty())?);
            write!(out, "{kind} {key_tag} {algorithm} {certificate}").ok()
        }
        Rtype::SMIMEA => {
            let ([usage, selector, matching], data) = data.split_first_chunk::<3>()?;
            write!(out, "{usage} {selector} {matching} ").ok()?;
            write_hex(out, data, "")
        }
        Rtype::SPF => {
            let texts = Txt::from_slice(data).ok()?;
            for (at, text) in texts.iter_charstrs().enumerate() {
                let gap = if at > 0 { " " } else { "" };
                write!(out, "{gap}{}", text.display_quoted()).ok()?;
            }
            Some(())
        }
        Rtype::EUI48 => write_hex(out, <&[u8; 6]>::try_from(data).ok()?, "-"),
        Rtype::EUI64 => write_hex(out, <&[u8; 8]>::try_from(data).ok()?, "-"),
        _ => None,
    }
}

fn take_u16(data: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = data.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

fn as_base64(data: &[u8]) -> impl Display {
    Base64Display::new(data, &STANDARD)
}

fn write_hex(out: &mut Vec<u8>, data: &[u8], between: &str) -> Option<()> {
    for (at, byte) in data.iter().enumerate() {
        let gap = if at > 0 { between } else { "" };
        write!(out, "{gap}{byte:02x}").ok()?;
    }
    Some(())
}

/// RFC 4034, 3.2. The library writes times as numbers.
fn write_signature(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) -> Option<()> {
    let record = record.to_record::<Rrsig<_, ParsedName<_>>>().ok()??;
    let of = record.data();
    write!(
        out,
        "{} {} {} {} {} {} {} {} {}",
        of.type_covered(),
        of.algorithm().to_int(),
        of.labels(),
        of.original_ttl().as_secs(),
        date(of.expiration()),
        date(of.inception()),
        of.key_tag(),
        of.signer_name().fmt_with_dot(),
        as_base64(of.signature()),
    )
    .ok()
}

/// YYYYMMDDHHmmSS.
fn date(time: Timestamp) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(time.into_int().into());
    let date = humantime::format_rfc3339_seconds(time).to_string();
    date.chars().filter(char::is_ascii_digit).collect()
}

/// RFC 4025, 3.1. The library does not write a missing gateway.
fn write_ipsec_key(out: &mut Vec<u8>, record: &ParsedRecord<'_, [u8]>) -> Option<()> {
    let record = record.to_any_record::<AllRecordData<_, ParsedName<_>>>();
    let AllRecordData::Ipseckey(of) = record.ok()?.into_data() else {
        return None;
    };
    let (kind, algorithm) = (of.gateway_type().to_int(), of.algorithm().to_int());
    write!(out, "{} {kind} {algorithm} ", of.precedence()).ok()?;
    match of.gateway() {
        IpseckeyGateway::None => write!(out, "."),
        IpseckeyGateway::Ipv4(address) => write!(out, "{}", address.addr()),
        IpseckeyGateway::Ipv6(address) => write!(out, "{}", address.addr()),
        IpseckeyGateway::Name(name) => write!(out, "{}", name.fmt_with_dot()),
    }
    .ok()?;
    match of.key() {
        [] => Some(()),
        key => write!(out, " {}", as_base64(key)).ok(),
    }
}

/// RFC 9460, 2.1. The library misspells no-default-alpn and escapes nothing in other values.
fn write_service(
    out: &mut Vec<u8>,
    priority: u16,
    target: &impl ToName,
    mut params: &[u8],
) -> Option<()> {
    write!(out, "{priority} {}", target.fmt_with_dot()).ok()?;
    while !params.is_empty() {
        let (key, rest) = take_u16(params)?;
        let (len, rest) = take_u16(rest)?;
        let (value, rest) = rest.split_at_checked(len.into())?;
        params = rest;
        let value = Value(value);
        match value.of(key) {
            Some(text) if text.is_empty() => write!(out, " {}", SvcParamKey::from_int(key)),
            Some(text) => write!(out, " {}={text}", SvcParamKey::from_int(key)),
            None if value.0.is_empty() => write!(out, " key{key}"),
            None => write!(out, " key{key}={value}"),
        }
        .ok()?;
    }
    Some(())
}

/// The value of an SVCB parameter. As text, bytes that are not plain characters are escaped.
struct Value<'a>(&'a [u8]);

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut symbols = self.0.iter().map(|&byte| Symbol::from_octet(byte));
        symbols.try_for_each(|symbol| symbol.fmt(f))
    }
}

impl Value<'_> {
    /// The text of the value, if the key is one of RFC 9460, 14.3.2, RFC 9461 or RFC 9540, and the value
    /// is valid for it. Otherwise it is written like the value of an unknown key, which is always valid.
    fn of(&self, key: u16) -> Option<String> {
        match SvcParamKey::from_int(key) {
            SvcParamKey::MANDATORY => {
                self.list(|[a, b]| SvcParamKey::from_int(u16::from_be_bytes([a, b])).to_string())
            }
            SvcParamKey::ALPN => self.protocols(),
            SvcParamKey::NO_DEFAULT_ALPN | SvcParamKey::OHTTP => {
                self.0.is_empty().then(String::new)
            }
            SvcParamKey::PORT => Some(u16::from_be_bytes(self.0.try_into().ok()?).to_string()),
            SvcParamKey::IPV4HINT => self.list::<4>(|address| Ipv4Addr::from(address).to_string()),
            SvcParamKey::ECH if !self.0.is_empty() => Some(as_base64(self.0).to_string()),
            SvcParamKey::IPV6HINT => self.list::<16>(|address| Ipv6Addr::from(address).to_string()),
            SvcParamKey::DOHPATH if !self.0.is_empty() => Some(self.to_string()),
            _ => None,
        }
    }

    fn list<const N: usize>(&self, text: impl Fn([u8; N]) -> String) -> Option<String> {
        let (items, rest) = self.0.as_chunks::<N>();
        let is_list = !items.is_empty() && rest.is_empty();
        let texts = items.iter().map(|&item| text(item));
        is_list.then(|| texts.collect::<Vec<_>>().join(","))
    }

    /// Names of protocols, each preceded by its length. A comma in a name is escaped twice, for the list
    /// and for the text (RFC 9460, A.1).
    fn protocols(&self) -> Option<String> {
        let (mut rest, mut list) = (self.0, Vec::new());
        while let Some((&len, bytes)) = rest.split_first() {
            let name;
            (name, rest) = bytes.split_at_checked(len.into())?;
            if name.is_empty() {
                return None;
            }
            if !list.is_empty() {
                list.push(b',');
            }
            for &byte in name {
                if matches!(byte, b',' | b'\\') {
                    list.push(b'\\');
                }
                list.push(byte);
            }
        }
        (!list.is_empty()).then(|| Value(&list).to_string())
    }
}

/// RFC 1876.
fn write_location(out: &mut Vec<u8>, data: &[u8]) -> Option<()> {
    /// 0° as a latitude or a longitude, in thousandths of a second of arc.
    const MIDDLE: u32 = 1 << 31;
    /// The surface of the earth as an altitude, in centimetres.
    const GROUND: i64 = 10_000_000;
    const DEGREE: u32 = 3_600_000;
    let [version, size, horizontal, vertical, rest @ ..] = <&[u8; 16]>::try_from(data).ok()?;
    let ([latitude, longitude, altitude], []) = rest.as_chunks::<4>() else {
        return None;
    };
    let [latitude, longitude, altitude] =
        [latitude, longitude, altitude].map(|bytes| u32::from_be_bytes(*bytes));
    for (angle, degrees, directions) in [(latitude, 90, ["N", "S"]), (longitude, 180, ["E", "W"])] {
        let direction = directions[usize::from(angle < MIDDLE)];
        let angle = angle.abs_diff(MIDDLE);
        if *version != 0 || angle > degrees * DEGREE {
            return None;
        }
        let (minutes, milliseconds) = (angle / 60_000, angle % 60_000);
        write!(
            out,
            "{} {} {}.{:03} {direction} ",
            minutes / 60,
            minutes % 60,
            milliseconds / 1000,
            milliseconds % 1000
        )
        .ok()?;
    }
    let altitude = i64::from(altitude) - GROUND;
    let sign = if altitude < 0 { "-" } else { "" };
    let altitude = altitude.unsigned_abs();
    write!(out, "{sign}{}.{:02}m", altitude / 100, altitude % 100).ok()?;
    for precision in [size, horizontal, vertical] {
        let (digit, power) = (precision >> 4, precision & 15);
        if digit > 9 || power > 9 {
            return None;
        }
        let centimetres = u64::from(digit) * 10_u64.pow(power.into());
        write!(out, " {}.{:02}m", centimetres / 100, centimetres % 100).ok()?;
    }
    Some(())
}
