//! JSON Lines: one object for every item, failures included.

use crate::digest::Algorithm;
use crate::error::ItemError;
use crate::jobs::hash::Hashed;
use base64::Engine as _;
use serde::Serialize;

/// A row for a file that was to be hashed.
#[derive(Serialize)]
struct HashRow<'a> {
    index: u64,
    path: Name<'a>,
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorFields>,
}

/// A name: text where it is UTF-8, else its bytes in base64.
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
    result: &Result<Hashed, ItemError>,
) {
    let mut hex = Vec::new();
    let (digest, size, changed, error) = match result {
        Ok(hashed) => {
            hashed.digest.write_hex(&mut hex);
            let digest = std::str::from_utf8(&hex).expect("hex digits are UTF-8");
            (Some(digest), Some(hashed.size_bytes), hashed.changed, None)
        }
        Err(error) => {
            let fields = ErrorFields {
                operation: error.operation.name(),
                code: error.cause.key(),
                errno: error.as_errno().map(crate::error::Errno::name),
                message: error.cause.to_string(),
            };
            (None, None, false, Some(fields))
        }
    };
    let path = Name::new(name);
    let row = HashRow {
        index,
        path,
        algorithm: algorithm.name(),
        digest,
        size,
        changed,
        error,
    };
    serde_json::to_writer(&mut *out, &row).expect("a row can always be written to memory");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Cause, Errno, Operation};

    fn row(name: &[u8], result: &Result<Hashed, ItemError>) -> String {
        let mut out = Vec::new();
        write_hash_row(&mut out, 7, name, Algorithm::Crc32c, result);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hashed_file() {
        let digest = Algorithm::Crc32c.digest(b"123456789");
        let hashed = Hashed {
            digest,
            size_bytes: 9,
            changed: false,
        };
        assert_eq!(
            row(b"a\n\"", &Ok(hashed)),
            "{\"index\":7,\"path\":{\"text\":\"a\\n\\\"\"},\"algorithm\":\"crc32c\",\
             \"digest\":\"e3069283\",\"size\":9}\n"
        );
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

    /// A server may say ETIMEDOUT; a deadline of the run's is something else.
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
