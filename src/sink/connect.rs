//! Rows for the results of connects.

use super::json::{Object, key};
use super::jsonl;
use super::text::{write_address, write_displayed};
use crate::clock::to_ns;
use crate::escape::write_escaped;
use crate::item::Item;
use crate::jobs::connect::{Attempt, Connection, Found, INVALID};

/// Appends a line of text, with tabs between: endpoint, status, address, time of the connect and, if there is
/// one, the banner with escapes. Without an address tried, the reason takes its place.
pub fn write_text(out: &mut Vec<u8>, item: &Item, found: &Found) {
    write_escaped(out, item.bytes().trim_ascii());
    match found {
        Ok(connection) => {
            out.push(b'\t');
            out.extend_from_slice(connection.status_name().as_bytes());
            if let Some(attempt) = connection.last() {
                write_displayed(out, format_args!("\t{}\t", attempt.address));
                write_time(out, attempt);
            } else if let Some(reason) = connection.unresolved {
                write_displayed(out, format_args!("\t{reason}"));
            }
            if let Some(banner) = &connection.banner {
                write_displayed(out, format_args!("\t{}", banner.escape_ascii()));
            }
        }
        Err(invalid) => write_displayed(out, format_args!("\t{INVALID}\t{invalid}")),
    }
    out.push(b'\n');
}

/// In milliseconds.
fn write_time(out: &mut Vec<u8>, attempt: &Attempt) {
    let microseconds = attempt.time.as_micros();
    let (whole, rest) = (microseconds / 1000, microseconds % 1000);
    write_displayed(out, format_args!("{whole}.{rest:03} ms"));
}

/// Appends a JSON object.
pub fn write_jsonl(out: &mut Vec<u8>, item: &Item, found: &Found) {
    let mut row = Object::begin(out);
    row.number(key!("index"), item.index());
    let name = jsonl::Name::new(item.bytes().trim_ascii());
    serde_json::to_writer(row.member(key!("endpoint")), &name).expect("memory can be written to");
    match found {
        Ok(connection) => write_connection(&mut row, connection),
        Err(invalid) => {
            row.plain(key!("status"), INVALID.as_bytes());
            row.text(key!("error"), |out| write_displayed(out, invalid));
        }
    }
    row.end();
    out.push(b'\n');
}

fn write_connection(row: &mut Object<'_>, connection: &Connection) {
    row.plain(key!("status"), connection.status_name().as_bytes());
    if let Some((last, earlier)) = connection.attempts.split_last() {
        write_attempt(row, last);
        if !earlier.is_empty() {
            row.list(key!("tried"), earlier, |out, attempt| {
                let mut tried = Object::begin(out);
                tried.plain(key!("status"), attempt.status.name().as_bytes());
                write_attempt(&mut tried, attempt);
                tried.end();
            });
        }
    }
    if let Some(reason) = connection.unresolved {
        row.text(key!("reason"), |out| write_displayed(out, reason));
    }
    if let Some(time) = connection.resolve_time {
        row.number(key!("resolve_ns"), to_ns(time));
    }
    if let Some(banner) = &connection.banner {
        let banner = jsonl::Name::new(banner);
        let out = row.member(key!("banner"));
        serde_json::to_writer(out, &banner).expect("memory can be written to");
    }
}

fn write_attempt(row: &mut Object<'_>, attempt: &Attempt) {
    row.text(key!("address"), |out| write_address(out, attempt.address));
    if let Some(errno) = attempt.errno {
        row.text(key!("errno"), |out| {
            out.extend_from_slice(errno.name().as_bytes())
        });
    }
    row.number(key!("connect_ns"), to_ns(attempt.time));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Errno;
    use crate::item::Batch;
    use crate::jobs::connect::{Invalid, Status, Unresolved};
    use crate::jobs::dns;
    use std::sync::Arc;
    use std::time::Duration;

    fn item(line: &[u8]) -> Item {
        Item::new(Arc::new(Batch::from_iter([line])), 0)
    }

    fn rows(line: &[u8], found: &Found) -> (String, String) {
        let (mut text, mut json) = (Vec::new(), Vec::new());
        write_text(&mut text, &item(line), found);
        write_jsonl(&mut json, &item(line), found);
        (
            String::from_utf8(text).unwrap(),
            String::from_utf8(json).unwrap(),
        )
    }

    fn attempt(address: &str, status: Status, errno: Option<i32>) -> Attempt {
        Attempt {
            address: address.parse().unwrap(),
            status,
            errno: errno.map(Errno::new),
            time: Duration::from_nanos(1_234_567),
        }
    }

    #[test]
    fn an_open_port_of_a_name() {
        let found = Ok(Connection {
            attempts: vec![
                attempt("[::1]:22", Status::Refused, Some(libc::ECONNREFUSED)),
                attempt("127.0.0.1:22", Status::Open, None),
            ],
            unresolved: None,
            resolve_time: Some(Duration::from_nanos(99)),
            banner: Some(b"SSH-2.0\r\n\xff".as_slice().into()),
        });
        let (text, json) = rows(b"localhost:22\r", &found);
        assert_eq!(
            text,
            "localhost:22\topen\t127.0.0.1:22\t1.234 ms\tSSH-2.0\\r\\n\\xff\n"
        );
        assert_eq!(
            json,
            "{\"index\":0,\"endpoint\":{\"text\":\"localhost:22\"},\"status\":\"open\",\
             \"address\":\"127.0.0.1:22\",\"connect_ns\":1234567,\"tried\":[{\"status\":\"refused\",\
             \"address\":\"[::1]:22\",\"errno\":\"ECONNREFUSED\",\"connect_ns\":1234567}],\
             \"resolve_ns\":99,\"banner\":{\"bytes\":\"U1NILTIuMA0K/w==\"}}\n"
        );
    }

    #[test]
    fn names_without_addresses_and_other_lines() {
        let found = Ok(Connection {
            attempts: Vec::new(),
            unresolved: Some(Unresolved::Lookup(dns::Status::NxDomain)),
            resolve_time: Some(Duration::from_nanos(5)),
            banner: None,
        });
        let (text, json) = rows(b"a.b:1", &found);
        assert_eq!(text, "a.b:1\tunresolved\tNXDOMAIN\n");
        assert_eq!(
            json,
            "{\"index\":0,\"endpoint\":{\"text\":\"a.b:1\"},\"status\":\"unresolved\",\
             \"reason\":\"NXDOMAIN\",\"resolve_ns\":5}\n"
        );
        let (text, json) = rows(b"a\x1b", &Err(Invalid::NoPort));
        assert_eq!(text, "a\\x1b\tinvalid\tno port\n");
        assert_eq!(
            json,
            "{\"index\":0,\"endpoint\":{\"text\":\"a\\u001b\"},\"status\":\"invalid\",\"error\":\"no port\"}\n"
        );
    }
}
