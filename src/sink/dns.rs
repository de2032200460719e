//! Rows for the results of DNS lookups.

use super::json::{self, Object, key};
use super::jsonl;
use super::text::{write_address, write_displayed};
use crate::clock::to_ns;
use crate::io::Transport;
use crate::item::Item;
use crate::jobs::dns::{
    Answer, Found, LastReply, Malformed, RawRecord, Section, Status, Wildcard, words,
};
use domain::base::Rtype;
use domain::base::opt::subnet::ClientSubnet;
use std::io::Write;
use std::iter;
use std::net::SocketAddr;
use std::time::Duration;

/// What rows contain besides the answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// The server of the item, if each item is for one server.
    pub resolver: Option<SocketAddr>,
    /// Rows of text have a column that says whether the records come from a wildcard. JSON rows have a member
    /// for it if that was looked up for their name.
    pub wildcard: bool,
}

/// Appends a line of text: name, type, status and the data of each record, separated by tabs. A
/// record of another type than the one asked for, such as an alias, has its type before its data.
///
/// Extras come after the status: the server, then the wildcard column: `WILDCARD`, `?` if unknown, or `-`.
pub fn write_text(out: &mut Vec<u8>, item: &Item, found: &Found, extras: Extras) {
    let write_extras = |out: &mut Vec<u8>, wildcard| {
        if let Some(address) = extras.resolver {
            out.push(b'\t');
            write_address(out, address);
        }
        if extras.wildcard {
            out.extend_from_slice(match wildcard {
                Some(Wildcard::Yes) => b"\tWILDCARD".as_slice(),
                Some(Wildcard::Unknown) => b"\t?",
                Some(Wildcard::No) | None => b"\t-",
            });
        }
    };
    out.extend_from_slice(name_of(item));
    match found {
        Ok(answer) => {
            let qtype = answer.qtype;
            out.push(b'\t');
            write_type(out, qtype);
            out.push(b'\t');
            write_status(out, answer.status);
            write_extras(out, answer.wildcard);
            answer.write_data(out, |out, rtype| {
                out.push(b'\t');
                if rtype != qtype {
                    write_type(out, rtype);
                    out.push(b' ');
                }
            });
        }
        Err(invalid) => {
            out.extend_from_slice(b"\t-\tINVALID");
            write_extras(out, None);
            out.push(b'\t');
            write_displayed(out, invalid);
        }
    }
    out.push(b'\n');
}

fn write_type(out: &mut Vec<u8>, rtype: Rtype) {
    match rtype.to_mnemonic() {
        Some(name) => out.extend_from_slice(name),
        None => write_displayed(out, rtype),
    }
}

fn write_status(out: &mut Vec<u8>, status: Status) {
    match status.name() {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => write_displayed(out, status),
    }
}

/// Appends a JSON object.
pub fn write_jsonl(out: &mut Vec<u8>, item: &Item, found: &Found, extras: Extras) {
    let mut row = Object::begin(out);
    row.number(key!("index"), item.index());
    let name = jsonl::Name::new(name_of(item));
    serde_json::to_writer(row.member(key!("name")), &name).expect("memory can be written to");
    match found {
        Ok(answer) => {
            row.text(key!("type"), |out| write_type(out, answer.qtype));
            row.text(key!("status"), |out| write_status(out, answer.status));
            write_wildcard(&mut row, answer);
            write_records(&mut row, answer);
            write_server(&mut row, answer.server.or(extras.resolver));
            match answer.transport {
                Some(transport) => row.plain(key!("protocol"), transport.protocol().as_bytes()),
                None => row.null(key!("protocol")),
            }
            write_flags(&mut row, answer.flags());
            if let Some(subnet) = answer.subnet {
                write_subnet(row.member(key!("subnet")), subnet);
            }
            row.number(key!("attempts"), answer.attempts);
            match answer.round_trip {
                Some(time) => row.number(key!("rtt_ns"), to_ns(time)),
                None => row.null(key!("rtt_ns")),
            }
            row.number(key!("time_ns"), to_ns(answer.time));
            if let Some(last) = answer
                .last_reply
                .as_ref()
                .filter(|_| answer.server.is_none())
            {
                write_last_reply(row.member(key!("last_reply")), last);
            }
        }
        Err(invalid) => {
            row.plain(key!("status"), b"INVALID");
            if extras.resolver.is_some() {
                write_server(&mut row, extras.resolver);
            }
            row.text(key!("error"), |out| write_displayed(out, invalid));
        }
    }
    row.end();
    out.push(b'\n');
}

/// Appends the records of the answer section, and a list of all records that cannot be parsed.
fn write_records(row: &mut Object<'_>, answer: &Answer) {
    let mut malformed = Vec::new();
    let readable = answer.raw_records().filter_map(|(section, record)| {
        let record = record.map_err(|it| malformed.push(it)).ok()?;
        (section == Section::Answer).then_some(record)
    });
    row.list(key!("answers"), readable, write_record);
    if !malformed.is_empty() {
        row.list(key!("malformed"), malformed, write_malformed);
    }
}

fn write_record(out: &mut Vec<u8>, record: RawRecord<'_>) {
    let mut fields = Object::begin(out);
    fields.text(key!("name"), |out| record.write_name(out));
    fields.text(key!("type"), |out| write_type(out, record.rtype()));
    fields.number(key!("ttl"), record.ttl_s());
    fields.text(key!("data"), |out| record.write_data(out));
    fields.end();
}

fn write_last_reply(out: &mut Vec<u8>, last: &LastReply) {
    let mut fields = Object::begin(out);
    fields.text(key!("resolver"), |out| write_address(out, last.server));
    fields.plain(key!("protocol"), last.transport.protocol().as_bytes());
    fields.text(key!("rcode"), |out| write_displayed(out, last.rcode));
    write_flags(&mut fields, last.flags());
    fields.end();
}

fn write_malformed(out: &mut Vec<u8>, malformed: Malformed) {
    let mut fields = Object::begin(out);
    fields.plain(key!("section"), malformed.section.name().as_bytes());
    if let Some(rtype) = malformed.rtype {
        fields.text(key!("type"), |out| write_type(out, rtype));
    }
    fields.end();
}

fn write_flags(row: &mut Object<'_>, flags: impl Iterator<Item = &'static str>) {
    row.list(key!("flags"), flags, |out, flag| {
        json::plain(out, flag.as_bytes());
    });
}

fn write_subnet(out: &mut Vec<u8>, subnet: ClientSubnet) {
    let mut fields = Object::begin(out);
    fields.text(key!("prefix"), |out| {
        let (address, prefix_len) = (subnet.addr(), subnet.source_prefix_len());
        write_displayed(out, format_args!("{address}/{prefix_len}"));
    });
    fields.number(key!("scope"), subnet.scope_prefix_len());
    fields.end();
}

fn write_wildcard(row: &mut Object<'_>, answer: &Answer) {
    let literal: &[u8] = match answer.wildcard {
        None => return,
        Some(Wildcard::Yes) => b"true",
        Some(Wildcard::No) => b"false",
        Some(Wildcard::Unknown) => b"null",
    };
    row.member(key!("wildcard")).extend_from_slice(literal);
}

fn write_server(row: &mut Object<'_>, server: Option<SocketAddr>) {
    match server {
        Some(address) => row.text(key!("resolver"), |out| write_address(out, address)),
        None => row.null(key!("resolver")),
    }
}

/// Appends a JSON object as `massdns -o Je` (version 1.1.0) prints it. The differences are listed in
/// docs/dns.md and in `tests/e2e/massdns.rs`. `clock_started_at` is the time since 1970 when the clock of the
/// answers was at 0. The error of a line that is not a valid question is INVALID. Extras are members that
/// massdns does not print.
pub fn write_massdns(
    out: &mut Vec<u8>,
    item: &Item,
    found: &Found,
    clock_started_at: Duration,
    extras: Extras,
) {
    let mut row = Object::begin(out);
    match found {
        Ok(answer) => {
            row.text(key!("name"), |out| {
                write_massdns_name(out, |out| answer.write_name(out));
            });
            row.text(key!("type"), |out| write_massdns_type(out, answer.qtype));
            row.plain(key!("class"), b"IN");
            write_massdns_reply(&mut row, answer, clock_started_at, extras);
        }
        Err(_) => {
            let name = String::from_utf8_lossy(name_of(item));
            row.text(key!("name"), |out| out.extend_from_slice(name.as_bytes()));
            row.text(key!("type"), |_| {});
            row.plain(key!("class"), b"IN");
            row.plain(key!("error"), b"INVALID");
            if extras.resolver.is_some() {
                write_server(&mut row, extras.resolver);
            }
        }
    }
    row.end();
    out.push(b'\n');
}

fn write_massdns_reply(
    row: &mut Object<'_>,
    answer: &Answer,
    clock_started_at: Duration,
    extras: Extras,
) {
    let status: &[u8] = match answer.status {
        // massdns has no other status for these.
        Status::NoError | Status::NoData | Status::Referral => b"NOERROR",
        Status::NxDomain => b"NXDOMAIN",
        status => {
            row.text(key!("error"), |out| write_status(out, status));
            if extras.resolver.is_some() {
                write_server(row, extras.resolver);
            }
            return;
        }
    };
    row.plain(key!("status"), status);
    write_wildcard(row, answer);
    // Nanoseconds since 1970.
    row.number(key!("rx_ts"), to_ns(clock_started_at + answer.ended_at));
    write_massdns_sections(row.member(key!("data")), answer);
    write_flags(row, answer.flags());
    write_server(row, answer.server);
    match answer.transport {
        Some(Transport::Datagram) => row.plain(key!("proto"), b"UDP"),
        Some(Transport::Stream) => row.plain(key!("proto"), b"TCP"),
        None => row.null(key!("proto")),
    }
}

/// Sections without records are omitted.
fn write_massdns_sections(out: &mut Vec<u8>, answer: &Answer) {
    let mut sections = Object::begin(out);
    let records = answer.raw_records();
    let mut records = records.filter_map(|(section, record)| Some((section, record.ok()?)));
    let mut next = records.next();
    while let Some((section, _)) = next {
        let key = match section {
            Section::Answer => key!("answers"),
            Section::Authority => key!("authorities"),
            Section::Additional => key!("additionals"),
        };
        let of_section = iter::from_fn(|| {
            let (_, record) = next.take_if(|(of, _)| *of == section)?;
            next = records.next();
            Some(record)
        });
        sections.list(key, of_section, write_massdns_record);
    }
    sections.end();
}

fn write_massdns_record(out: &mut Vec<u8>, record: RawRecord<'_>) {
    let mut fields = Object::begin(out);
    fields.number(key!("ttl"), record.ttl_s());
    fields.text(key!("type"), |out| write_massdns_type(out, record.rtype()));
    fields.plain(key!("class"), b"IN");
    fields.text(key!("name"), |out| {
        write_massdns_name(out, |out| record.write_name(out));
    });
    fields.text(key!("data"), |out| write_massdns_data(out, &record));
    fields.end();
}

/// A type without a mnemonic is written as its number.
fn write_massdns_type(out: &mut Vec<u8>, rtype: Rtype) {
    match rtype.to_mnemonic() {
        Some(name) => out.extend_from_slice(name),
        None => write_displayed(out, rtype.to_int()),
    }
}

/// Appends a name with a final dot. `write` appends it without one, with the escapes of zone files.
fn write_massdns_name(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    change_escapes(out, start);
    out.push(b'.');
}

/// Appends the data of a record: as massdns does, for the types it can format, and otherwise as in zone
/// files, where massdns prints the octets, compressed names included.
fn write_massdns_data(out: &mut Vec<u8>, record: &RawRecord<'_>) {
    if let Some(text) = record.text() {
        return text.iter().for_each(|&byte| write_readable(out, byte));
    }
    let start = out.len();
    record.write_data(out);
    match record.rtype() {
        Rtype::NS
        | Rtype::CNAME
        | Rtype::DNAME
        | Rtype::PTR
        | Rtype::MX
        | Rtype::SRV
        | Rtype::SOA
        | Rtype::CAA => change_escapes(out, start),
        // Numbers and hexadecimal digits.
        Rtype::TLSA => out[start..].make_ascii_lowercase(),
        _ => {}
    }
}

/// Replaces the escapes of zone files (RFC 1035, 5.1) by those of massdns, from `start` to the end.
fn change_escapes(out: &mut Vec<u8>, start: usize) {
    let Some(first) = memchr::memchr(b'\\', &out[start..]) else {
        return;
    };
    let text = out.split_off(start + first);
    let mut rest = text.as_slice();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
        } else if let Some((byte, after)) = escaped_octet(after) {
            rest = after;
            match byte {
                // This is in a name: in a string, a dot is not escaped.
                b'.' => out.extend_from_slice(b"\\x2e"),
                _ => write_readable(out, byte),
            }
        }
    }
}

/// Parses the octet after a backslash. Returns it and the rest of the text.
fn escaped_octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = text.split_first()?;
    if !first.is_ascii_digit() {
        return Some((first, rest));
    }
    let (digits, rest) = text.split_first_chunk::<3>()?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((digits.parse().ok()?, rest))
}

/// Appends an octet of a text, as `\xHH` if it is a backslash or not printable.
fn write_readable(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b' '..=b'~' if byte != b'\\' => out.push(byte),
        _ => write!(out, "\\x{byte:02x}").expect("memory can be written to"),
    }
}

/// The name, as written in the line.
fn name_of(item: &Item) -> &[u8] {
    let line = item.bytes();
    // Checks all bytes, without an early exit, so that the loop is vectorized.
    let any_is_space = |any, byte: &u8| any | byte.is_ascii_whitespace();
    match line.iter().fold(false, any_is_space) {
        true => words(line).next().unwrap_or_default(),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Batch;
    use crate::jobs::dns::{Question, Resolver, Settings, SharedLimits};
    use domain::base::charstr::DisplayQuoted;
    use domain::base::iana::Rcode;
    use domain::base::message_builder::MessageBuilder;
    use domain::base::name::{Name, NameBuilder};
    use domain::base::rdata::UnknownRecordData;
    use domain::base::{Message, Record};
    use domain::rdata::{A, Aaaa, Ns, Txt};
    use proptest::prelude::*;
    use serde_json::Value;
    use std::sync::Arc;

    /// An item, and its result when a server replies with these texts and names as data.
    fn ask(line: &str, server: &str, rcode: Rcode, data: &[Vec<u8>]) -> (Item, Found) {
        let item = Item::new(Arc::new(Batch::from_iter([line])), 0);
        let question = match Question::parse(line.as_bytes(), Rtype::A) {
            Ok(question) => question,
            Err(invalid) => return (item, Err(invalid)),
        };
        let settings = Settings {
            retries: 0,
            timeout: Duration::from_secs(1),
            ..Settings::new(vec![server.parse().unwrap()])
        };
        let mut resolver = Resolver::new(settings, &SharedLimits::new(1, 1, 1));
        resolver.ask(0, question, Duration::ZERO);
        let query = resolver.transmit().unwrap();
        let reply = reply(&query.message, rcode, data);
        resolver.received(query.socket, &reply, Duration::from_millis(3));
        let answer = (2..60).find_map(|seconds| {
            resolver.time_passed(Duration::from_secs(seconds));
            resolver.answer()
        });
        (item, Ok(answer.unwrap().1))
    }

    fn reply(query: &[u8], rcode: Rcode, data: &[Vec<u8>]) -> Vec<u8> {
        let query = Message::from_slice(query).unwrap();
        let mut answer = MessageBuilder::new_vec()
            .start_answer(query, rcode)
            .unwrap();
        answer.header_mut().set_ra(true);
        let owner = query.sole_question().unwrap().into_qname();
        for data in data {
            let mut name = NameBuilder::new_vec();
            name.append_label(&data[..data.len().min(63)]).unwrap();
            let name: Name<Vec<u8>> = name.into_name().unwrap();
            let address = [data[0]; 4];
            answer.push((&owner, 1, A::new(address.into()))).unwrap();
            answer.push((&owner, 2, Ns::new(&name))).unwrap();
            let text: Txt<Vec<u8>> = Txt::build_from_slice(data).unwrap();
            answer.push((&owner, 3, text)).unwrap();
            let unknown = UnknownRecordData::from_octets(Rtype::from_int(65_280), data);
            answer.push((&owner, 4, unknown.unwrap())).unwrap();
        }
        let mut authority = answer.authority();
        for data in data {
            let mut name = NameBuilder::new_vec();
            name.append_label(&data[..data.len().min(63)]).unwrap();
            let name: Name<Vec<u8>> = name.into_name().unwrap();
            let class = domain::base::iana::Class::IN;
            let address = Aaaa::new([data[0]; 16].into());
            let record = Record::new(&name, class, domain::base::Ttl::HOUR, address);
            authority.push(record).unwrap();
        }
        authority.finish()
    }

    /// What massdns writes for these octets of a label or a string.
    fn as_massdns_has_it(octets: &[u8], is_label: bool) -> String {
        let write = |&octet: &u8| match octet {
            b'.' if is_label => "\\x2e".to_owned(),
            b' '..=b'~' if octet != b'\\' => char::from(octet).into(),
            _ => format!("\\x{octet:02x}"),
        };
        octets.iter().map(write).collect()
    }

    proptest! {
        #[test]
        fn escapes_of_massdns(
            labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..15), 0..5),
            string in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut name = NameBuilder::new_vec();
            labels.iter().for_each(|label| name.append_label(label).unwrap());
            let name: Name<Vec<u8>> = name.into_name().unwrap();
            let mut out = b"\\".to_vec();
            write_massdns_name(&mut out, |out| {
                // The library writes the root as a dot, and other names without a final dot.
                let text = if labels.is_empty() { String::new() } else { name.to_string() };
                out.extend_from_slice(text.as_bytes());
            });
            let labels = labels.iter().map(|label| as_massdns_has_it(label, true));
            let expected = format!("\\{}.", labels.collect::<Vec<_>>().join("."));
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);

            let mut out = DisplayQuoted::from_slice(&string).to_string().into_bytes();
            change_escapes(&mut out, 0);
            let expected = format!("\"{}\"", as_massdns_has_it(&string, false));
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    /// The row, parsed and written again by the library.
    fn rewritten(row: &[u8]) -> Vec<u8> {
        let value: Value = serde_json::from_slice(row).expect("a row is JSON");
        let mut rewritten = serde_json::to_vec(&value).unwrap();
        rewritten.push(b'\n');
        rewritten
    }

    proptest! {
        /// Whatever servers reply, rows are JSON, with the same escapes and numbers that the library writes.
        #[test]
        fn rows_are_json(
            line in prop_oneof![Just("a.example".to_owned()), r#"(\PC|["\\.]|\\\.|\\[0-9]{3}){0,9}( (TXT|TYPE9))?"#],
            server in prop_oneof![Just("192.0.2.1:53"), Just("[2001:db8::1]:5353")],
            rcode in prop_oneof![Just(Rcode::NOERROR), Just(Rcode::NXDOMAIN), (0_u8..16).prop_map(Rcode::masked_from_int)],
            data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..80), 0..3),
            is_pinned: bool,
            wildcard in prop::sample::select(
                vec![None, Some(Wildcard::Yes), Some(Wildcard::No), Some(Wildcard::Unknown)],
            ),
        ) {
            let (item, mut found) = ask(&line, server, rcode, &data);
            let (mut jsonl, mut massdns) = (Vec::new(), Vec::new());
            let extras = Extras {
                resolver: is_pinned.then(|| server.parse().unwrap()),
                wildcard: true,
            };
            if let Ok(answer) = &mut found {
                answer.wildcard = wildcard;
            }
            write_jsonl(&mut jsonl, &item, &found, extras);
            write_massdns(&mut massdns, &item, &found, Duration::from_secs(1), extras);
            let mut text = Vec::new();
            write_text(&mut text, &item, &found, extras);
            // Whatever the data are, the columns before them are in their places.
            let mut columns = text.split(|&byte| byte == b'\t').skip(3 + usize::from(is_pinned));
            let column = columns.next().unwrap().trim_ascii_end();
            let expected: &[u8] = match (wildcard, found.is_ok()) {
                (Some(Wildcard::Yes), true) => b"WILDCARD",
                (Some(Wildcard::Unknown), true) => b"?",
                _ => b"-",
            };
            prop_assert_eq!(column, expected);
            for row in [jsonl, massdns] {
                let value: Value = serde_json::from_slice(&row).unwrap();
                prop_assert!(!is_pinned || value["resolver"] == server);
                let expected = String::from_utf8(rewritten(&row)).unwrap();
                prop_assert_eq!(String::from_utf8(row).unwrap(), expected);
            }
        }
    }
}
