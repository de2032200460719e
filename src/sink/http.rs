//! Rows for the results of requests.

use super::json::{Object, key};
use super::jsonl;
use super::text::{write_address, write_displayed};
use crate::clock::to_ns;
use crate::escape::write_escaped;
use crate::item::Item;
use crate::jobs::http::{Body, Failure, Fetched, Found, Response, Timings};
use std::time::Duration;

/// The operation in the error of a line that is not a request.
const READ: &str = "parse";

const INTO_MEMORY: &str = "memory can be written to";

/// Appends a line of text, with tabs between: status, size, time and URL. Without a response, the status is the
/// step that failed, and the reason follows.
pub fn write_text(out: &mut Vec<u8>, item: &Item, found: &Found) {
    let fetched = match found {
        Ok(fetched) => fetched,
        Err(invalid) => {
            out.extend_from_slice(b"invalid\t0\t0.000 ms\t");
            write_escaped(out, item.bytes().trim_ascii());
            write_reason(out, &invalid.to_string());
            return out.push(b'\n');
        }
    };
    match (&fetched.failure, fetched.progress.status) {
        (Some(failure), _) => write_displayed(out, failure.step.name()),
        (None, status) => write_displayed(out, status.unwrap_or_default()),
    }
    let size = fetched
        .response
        .as_ref()
        .map_or(0, |response| response.size);
    let microseconds = fetched
        .progress
        .timings
        .total
        .unwrap_or_default()
        .as_micros();
    let (whole, rest) = (microseconds / 1000, microseconds % 1000);
    write_displayed(out, format_args!("\t{size}\t{whole}.{rest:03} ms\t"));
    write_escaped(out, fetched.url.as_bytes());
    if let Some(failure) = &fetched.failure {
        write_reason(out, &failure.message);
    }
    out.push(b'\n');
}

fn write_reason(out: &mut Vec<u8>, reason: &str) {
    out.push(b'\t');
    write_escaped(out, reason.as_bytes());
}

/// Appends a JSON object, with the body if that is in memory.
pub fn write_jsonl(out: &mut Vec<u8>, item: &Item, found: &Found) {
    let mut row = Object::begin(out);
    row.number(key!("index"), item.index());
    match found {
        Ok(fetched) => write_fetched(&mut row, fetched),
        Err(invalid) => {
            let line = jsonl::Name::new(item.bytes().trim_ascii());
            serde_json::to_writer(row.member(key!("line")), &line).expect(INTO_MEMORY);
            write_error(&mut row, READ, &invalid.to_string());
        }
    }
    row.end();
    out.push(b'\n');
}

fn write_fetched(row: &mut Object<'_>, fetched: &Fetched) {
    row.text(key!("url"), |out| {
        out.extend_from_slice(fetched.url.as_bytes())
    });
    if fetched.redirects > 0 {
        let url = fetched.final_url.as_str().as_bytes();
        row.text(key!("final_url"), |out| out.extend_from_slice(url));
    }
    if let Some(status) = fetched.progress.status {
        row.number(key!("status"), status);
    }
    if let Some(response) = &fetched.response {
        write_response(row, response);
    }
    if let Some(remote) = fetched.progress.remote {
        row.text(key!("remote"), |out| write_address(out, remote));
    }
    row.number(key!("attempts"), fetched.attempts);
    write_timings(row, &fetched.progress.timings);
    if let Some(Failure { step, message, .. }) = &fetched.failure {
        write_error(row, step.name(), message);
    }
    if !fetched.input.is_empty() {
        serde_json::to_writer(row.member(key!("input")), &fetched.input).expect(INTO_MEMORY);
    }
}

fn write_response(row: &mut Object<'_>, response: &Response) {
    if let Some(headers) = &response.headers {
        let mut list = Object::begin(row.member(key!("headers")));
        for name in headers.keys() {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            serde_json::to_writer(list.named_member(name.as_str()), &values).expect(INTO_MEMORY);
        }
        list.end();
    }
    row.number(key!("size"), response.size);
    if let Some(digest) = &response.digest {
        row.text(key!("digest"), |out| digest.write_hex(out));
    }
    if let Some(Body::Memory(body)) = &response.body {
        let body = jsonl::Name::new(body);
        serde_json::to_writer(row.member(key!("body")), &body).expect(INTO_MEMORY);
    }
}

fn write_timings(row: &mut Object<'_>, timings: &Timings) {
    let mut number = |key, time: Option<Duration>| {
        if let Some(time) = time {
            row.number(key, to_ns(time));
        }
    };
    number(key!("resolve_ns"), timings.resolve);
    number(key!("park_ns"), timings.parked);
    number(key!("connect_ns"), timings.connect);
    number(key!("tls_ns"), timings.tls);
    number(key!("first_byte_ns"), timings.first_byte);
    number(key!("body_ns"), timings.body);
    number(key!("total_ns"), timings.total);
}

fn write_error(row: &mut Object<'_>, operation: &str, message: &str) {
    let mut error = Object::begin(row.member(key!("error")));
    error.plain(key!("operation"), operation.as_bytes());
    error.text(key!("message"), |out| {
        out.extend_from_slice(message.as_bytes())
    });
    error.end();
}
