//! JSON Lines: one object for every item, failures included.

use crate::digest::Algorithm;
use crate::error::ItemError;
use crate::jobs::hash::Hashed;
use base64::Engine as _;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Optional fields in the rows of hashed files (`--fields`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    /// The device number of its file system.
    pub device: bool,
    /// Its inode number.
    pub inode: bool,
    /// The number of its hard links.
    pub nlink: bool,
    /// Its mtime, in nanoseconds since 1970.
    pub mtime_ns: bool,
}

/// The row of a file, hashed or failed.
#[derive(Serialize)]
struct HashRow<'a> {
    index: u64,
    path: Name<'a>,
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nlink: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime_ns: Option<i128>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorFields>,
}

/// A name: as text if it is UTF-8, else as bytes in base64.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name<'a> {
    Text(&'a str),
    Bytes(String),
}

#[derive(Serialize)]
struct ErrorFields {
    operation: &'static str,
    code: String,
    errno: Option<String>,
    message: String,
}

impl<'a> Name<'a> {
    pub(super) fn new(name: &'a [u8]) -> Self {
        match std::str::from_utf8(name) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes(base64::engine::general_purpose::STANDARD.encode(name)),
        }
    }
}

/// Appends the row of a hashed file, or of the failure to hash it.
pub fn write_hash_row(
    out: &mut Vec<u8>,
    index: u64,
    name: &[u8],
    algorithm: Algorithm,
    fields: Fields,
    result: &Result<Hashed, ItemError>,
) {
    let mut hex = Vec::new();
    let mut row = HashRow {
        index,
        path: Name::new(name),
        algorithm: algorithm.name(),
        digest: None,
        size: None,
        device: None,
        inode: None,
        nlink: None,
        mtime_ns: None,
        changed: false,
        error: None,
    };
    match result {
        Ok(hashed) => {
            hashed.digest.write_hex(&mut hex);
            row.digest = Some(std::str::from_utf8(&hex).expect("hex digits are UTF-8"));
            row.size = Some(hashed.size_bytes);
            row.device = fields.device.then_some(hashed.device);
            row.inode = fields.inode.then_some(hashed.inode);
            row.nlink = fields.nlink.then_some(hashed.nlink);
            row.mtime_ns = fields.mtime_ns.then(|| since_epoch_ns(hashed.modified));
            row.changed = hashed.changed;
        }
        Err(error) => {
            row.error = Some(ErrorFields {
                operation: error.operation.name(),
                code: error.cause.key(),
                errno: error.as_errno().map(crate::error::Errno::name),
                message: error.cause.to_string(),
            });
        }
    }
    serde_json::to_writer(&mut *out, &row).expect("a row can always be written to memory");
    out.push(b'\n');
}

/// Nanoseconds since 1970; negative before.
fn since_epoch_ns(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Cause, Errno, Operation};

    fn row(name: &[u8], result: &Result<Hashed, ItemError>) -> String {
        row_with(Fields::default(), name, result)
    }

    fn row_with(fields: Fields, name: &[u8], result: &Result<Hashed, ItemError>) -> String {
        let mut out = Vec::new();
        write_hash_row(&mut out, 7, name, Algorithm::Crc32c, fields, result);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hashed_file() {
        let digest = Algorithm::Crc32c.digest(b"123456789");
        let hashed = Hashed {
            digest,
            size_bytes: 9,
            changed: false,
            device: 2049,
            inode: 77,
            nlink: 2,
            modified: UNIX_EPOCH - std::time::Duration::from_nanos(1),
        };
        assert_eq!(
            row(b"a\n\"", &Ok(hashed)),
            "{\"index\":7,\"path\":{\"text\":\"a\\n\\\"\"},\"algorithm\":\"crc32c\",\
             \"digest\":\"e3069283\",\"size\":9}\n"
        );
        let some = Fields {
            nlink: true,
            mtime_ns: true,
            ..Fields::default()
        };
        let with_some = row_with(some, b"a", &Ok(hashed));
        let end = ",\"size\":9,\"nlink\":2,\"mtime_ns\":-1}\n";
        assert!(with_some.ends_with(end), "{with_some}");
        let changed = row(
            b"\xff",
            &Ok(Hashed {
                changed: true,
                ..hashed
            }),
        );
        assert!(
            changed.contains("\"path\":{\"bytes\":\"/w==\"}"),
            "{changed}"
        );
        assert!(changed.contains("\"changed\":true"), "{changed}");
    }

    #[test]
    fn a_failure() {
        let error = ItemError::errno(Operation::Open, Errno::new(libc::ENOENT));
        assert_eq!(
            row(b"a", &Err(error)),
            "{\"index\":7,\"path\":{\"text\":\"a\"},\"algorithm\":\"crc32c\",\
             \"error\":{\"operation\":\"open\",\"code\":\"ENOENT\",\"errno\":\"ENOENT\",\
             \"message\":\"No such file or directory\"}}\n"
        );
    }

    /// A file server may cause ETIMEDOUT; the timeout of the run is a different error.
    #[test]
    fn verdicts_of_our_own_are_no_errno() {
        let error = ItemError {
            operation: Operation::Read,
            cause: Cause::TimedOut { timeout_ms: 2000 },
        };
        let row = row(b"a", &Err(error));
        let fields = "{\"operation\":\"read\",\"code\":\"timed-out\",\"errno\":null,\
                      \"message\":\"timed out after 2s\"}";
        assert!(row.contains(fields), "{row}");
    }
}
