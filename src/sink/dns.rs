//! Rows for answers to questions.

use super::jsonl::Name;
use crate::engine::Transport;
use crate::item::Item;
use crate::jobs::dns::{Answer, Found, Record};
use serde::Serialize;
use std::io::Write;

/// Appends a line of text: name, type, status and the data of each record, separated by tabs. A
/// record of another type than the one asked for, such as an alias, has its type before its data.
pub fn write_text(out: &mut Vec<u8>, item: &Item, found: &Found) {
    out.extend_from_slice(name_of(item));
    match found {
        Ok(answer) => {
            let qtype = answer.question.qtype();
            write!(out, "\t{qtype}\t{}", answer.status).expect("memory can be written to");
            for Record { rtype, data, .. } in answer.records() {
                out.push(b'\t');
                if rtype != qtype {
                    write!(out, "{rtype} ").expect("memory can be written to");
                }
                out.extend_from_slice(data.as_bytes());
            }
        }
        Err(invalid) => {
            write!(out, "\t-\tINVALID\t{invalid}").expect("memory can be written to");
        }
    }
    out.push(b'\n');
}

#[derive(Serialize)]
struct Row<'a> {
    index: u64,
    name: Name<'a>,
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
    resolver: Option<String>,
    protocol: Option<&'static str>,
    flags: Vec<&'static str>,
    attempts: u32,
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

/// Appends a JSON object.
pub fn write_jsonl(out: &mut Vec<u8>, item: &Item, found: &Found) {
    let row = Row {
        index: item.index(),
        name: Name::new(name_of(item)),
        qtype: found
            .as_ref()
            .ok()
            .map(|answer| answer.question.qtype().to_string()),
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
        Self {
            answers: records
                .map(|record| RecordFields {
                    name: record.name,
                    rtype: record.rtype.to_string(),
                    ttl: record.ttl.as_secs(),
                    data: record.data,
                })
                .collect(),
            resolver: answer.server.map(|address| address.to_string()),
            protocol: answer.transport.map(Transport::protocol),
            flags: answer.flags(),
            attempts: answer.attempts,
            time_ns: u64::try_from(answer.time.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// The name as it stands in the line.
fn name_of(item: &Item) -> &[u8] {
    let mut words = item.bytes().split(u8::is_ascii_whitespace);
    words.find(|word| !word.is_empty()).unwrap_or_default()
}
