//! Rows for answers to questions.

use super::jsonl;
use crate::clock::to_ns;
use crate::io::Transport;
use crate::item::Item;
use crate::jobs::dns::{Answer, Found, Record, Status, words};
use domain::base::Rtype;
use domain::base::name::Name;
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

/// Appends a line of text: name, type, status and the data of each record, separated by tabs. A
/// record of another type than the one asked for, such as an alias, has its type before its data.
pub fn write_text(out: &mut Vec<u8>, item: &Item, found: &Found) {
    out.extend_from_slice(name_of(item));
    match found {
        Ok(answer) => {
            let qtype = answer.qtype;
            out.push(b'\t');
            write_type(out, qtype);
            out.push(b'\t');
            match answer.status.name() {
                Some(name) => out.extend_from_slice(name.as_bytes()),
                None => write!(out, "{}", answer.status).expect("memory can be written to"),
            }
            answer.write_data(out, |out, rtype| {
                out.push(b'\t');
                if rtype != qtype {
                    write_type(out, rtype);
                    out.push(b' ');
                }
            });
        }
        Err(invalid) => {
            write!(out, "\t-\tINVALID\t{invalid}").expect("memory can be written to");
        }
    }
    out.push(b'\n');
}

fn write_type(out: &mut Vec<u8>, rtype: Rtype) {
    match rtype.to_mnemonic() {
        Some(name) => out.extend_from_slice(name),
        None => write!(out, "{rtype}").expect("memory can be written to"),
    }
}

#[derive(Serialize)]
struct Row<'a> {
    index: u64,
    name: jsonl::Name<'a>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    qtype: Option<String>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    answer: Option<AnswerFields>,
}

#[derive(Serialize)]
struct AnswerFields {
    answers: Vec<RecordFields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    malformed: Vec<MalformedFields>,
    resolver: Option<String>,
    protocol: Option<&'static str>,
    flags: Vec<&'static str>,
    attempts: u32,
    rtt_ns: Option<u64>,
    time_ns: u64,
}

#[derive(Serialize)]
struct RecordFields {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    ttl: u32,
    data: String,
}

#[derive(Serialize)]
struct MalformedFields {
    section: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    rtype: Option<String>,
}

/// Appends a JSON object.
pub fn write_jsonl(out: &mut Vec<u8>, item: &Item, found: &Found) {
    let row = Row {
        index: item.index(),
        name: jsonl::Name::new(name_of(item)),
        qtype: found.as_ref().ok().map(|answer| answer.qtype.to_string()),
        status: match found {
            Ok(answer) => answer.status.to_string(),
            Err(_) => "INVALID".to_owned(),
        },
        error: found.as_ref().err().map(ToString::to_string),
        answer: found.as_ref().ok().map(AnswerFields::new),
    };
    serde_json::to_writer(&mut *out, &row).expect("a row can always be written to memory");
    out.push(b'\n');
}

impl AnswerFields {
    fn new(answer: &Answer) -> Self {
        let records = answer.records().into_iter();
        let malformed = answer.malformed().into_iter();
        Self {
            answers: records
                .map(|record| RecordFields {
                    name: record.name,
                    rtype: record.rtype.to_string(),
                    ttl: record.ttl.as_secs(),
                    data: record.data,
                })
                .collect(),
            malformed: malformed
                .map(|record| MalformedFields {
                    section: record.section.name(),
                    rtype: record.rtype.map(|rtype| rtype.to_string()),
                })
                .collect(),
            resolver: answer.server.map(|address| address.to_string()),
            protocol: answer.transport.map(Transport::protocol),
            flags: answer.flags(),
            attempts: answer.attempts,
            rtt_ns: answer.round_trip.map(to_ns),
            time_ns: to_ns(answer.time),
        }
    }
}

#[derive(Serialize)]
struct MassdnsRow<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    qtype: String,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    reply: Option<MassdnsReply>,
}

#[derive(Serialize)]
struct MassdnsReply {
    status: &'static str,
    /// Nanoseconds since 1970.
    rx_ts: u64,
    data: MassdnsData,
    flags: Vec<&'static str>,
    resolver: Option<String>,
    proto: Option<String>,
}

#[derive(Serialize)]
struct MassdnsData {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<MassdnsRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorities: Vec<MassdnsRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    additionals: Vec<MassdnsRecord>,
}

#[derive(Serialize)]
struct MassdnsRecord {
    ttl: u32,
    #[serde(rename = "type")]
    rtype: String,
    class: &'static str,
    name: String,
    data: String,
}

/// Appends a JSON object as `massdns -o Je` prints it (version 1.1.0), but for records whose content it
/// does not know (HTTPS, SSHFP and others): here they are as in zone files. `clock_started_at` is when the
/// clock of the answers showed 0, since 1970. A line that is no question has INVALID for its error.
pub fn write_massdns(out: &mut Vec<u8>, item: &Item, found: &Found, clock_started_at: Duration) {
    let name = match found {
        Ok(answer) => Name::from_slice(answer.name())
            .map_or_else(|_| String::new(), |name| with_dot(name.to_string())),
        Err(_) => String::from_utf8_lossy(name_of(item)).into_owned(),
    };
    let (error, reply) = match found {
        Err(_) => (Some("INVALID".to_owned()), None),
        Ok(answer) => match MassdnsReply::new(answer, clock_started_at) {
            Some(reply) => (None, Some(reply)),
            None => (Some(answer.status.to_string()), None),
        },
    };
    let row = MassdnsRow {
        name: &name,
        qtype: found
            .as_ref()
            .map_or_else(|_| String::new(), |answer| answer.qtype.to_string()),
        class: "IN",
        error,
        reply,
    };
    serde_json::to_writer(&mut *out, &row).expect("a row can always be written to memory");
    out.push(b'\n');
}

impl MassdnsReply {
    /// `None` if there was no definite answer.
    fn new(answer: &Answer, clock_started_at: Duration) -> Option<Self> {
        let status = match answer.status {
            // It has no words of its own for these.
            Status::NoError | Status::NoData | Status::Referral => "NOERROR",
            Status::NxDomain => "NXDOMAIN",
            _ => return None,
        };
        let received_at = clock_started_at + answer.ended_at;
        Some(Self {
            status,
            rx_ts: to_ns(received_at),
            data: MassdnsData {
                answers: massdns_records(answer.records()),
                authorities: massdns_records(answer.authorities()),
                additionals: massdns_records(answer.additionals()),
            },
            flags: answer.flags(),
            resolver: answer.server.map(|address| address.to_string()),
            proto: answer
                .transport
                .map(|transport| transport.protocol().to_uppercase()),
        })
    }
}

fn massdns_records(records: Vec<Record>) -> Vec<MassdnsRecord> {
    let records = records.into_iter();
    records
        .map(|record| MassdnsRecord {
            ttl: record.ttl.as_secs(),
            rtype: record.rtype.to_string(),
            class: "IN",
            name: with_dot(record.name),
            data: record.text.as_deref().map_or(record.data, readable),
        })
        .collect()
}

/// A text without quotes; bytes that are not printable, and backslashes, as `\xHH`.
fn readable(text: &[u8]) -> String {
    use std::fmt::Write;
    text.iter().fold(String::new(), |mut readable, &byte| {
        match byte {
            b' '..=b'~' if byte != b'\\' => readable.push(char::from(byte)),
            _ => write!(readable, "\\x{byte:02x}").expect("memory can be written to"),
        }
        readable
    })
}

fn with_dot(name: String) -> String {
    if name.ends_with('.') {
        name
    } else {
        name + "."
    }
}

/// The name as it stands in the line.
fn name_of(item: &Item) -> &[u8] {
    words(item.bytes()).next().unwrap_or_default()
}
