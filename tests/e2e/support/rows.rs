//! JSON Lines, read strictly: a row with a field too many or too few is a failure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Output, show};

/// The rows of any JSON Lines output.
#[track_caller]
pub fn json_rows(output: &Output) -> Vec<Value> {
    let rows = output.lines().into_iter();
    rows.map(|row| {
        serde_json::from_slice(row).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    })
    .collect()
}

/// One row of `--format jsonl`.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Row {
    pub index: u64,
    pub path: Vec<u8>,
    pub algorithm: String,
    pub outcome: Outcome,
}

#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Outcome {
    Digest {
        digest: String,
        size: u64,
        changed: bool,
    },
    Error {
        operation: String,
        errno: Option<String>,
        message: String,
    },
}

impl Row {
    /// The row for a failure message.
    pub fn show(&self) -> String {
        format!("{}: {:?}", show(&self.path), self.outcome)
    }

    #[track_caller]
    pub fn digest(&self) -> &str {
        match &self.outcome {
            Outcome::Digest { digest, .. } => digest,
            Outcome::Error { .. } => panic!("a failure instead of a digest: {self:?}"),
        }
    }

    #[track_caller]
    pub fn size(&self) -> u64 {
        match &self.outcome {
            Outcome::Digest { size, .. } => *size,
            Outcome::Error { .. } => panic!("a failure instead of a digest: {self:?}"),
        }
    }

    #[track_caller]
    pub fn changed(&self) -> bool {
        match &self.outcome {
            Outcome::Digest { changed, .. } => *changed,
            Outcome::Error { .. } => panic!("a failure instead of a digest: {self:?}"),
        }
    }

    /// Operation, errno (or "-") and message of a failure.
    #[track_caller]
    pub fn error(&self) -> (&str, &str, &str) {
        match &self.outcome {
            Outcome::Error {
                operation,
                errno,
                message,
            } => (operation, errno.as_deref().unwrap_or("-"), message),
            Outcome::Digest { .. } => panic!("a digest instead of a failure: {self:?}"),
        }
    }
}

/// Parses a whole output.
#[track_caller]
pub fn parse(stdout: &[u8]) -> Vec<Row> {
    let Some(body) = stdout.strip_suffix(b"\n") else {
        assert!(
            stdout.is_empty(),
            "an incomplete last row: {}",
            show(stdout)
        );
        return Vec::new();
    };
    body.split(|&byte| byte == b'\n').map(parse_row).collect()
}

#[track_caller]
fn parse_row(line: &[u8]) -> Row {
    let value: Value = serde_json::from_slice(line)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {}", show(line)));
    let Value::Object(mut row) = value else {
        panic!("not an object: {}", show(line))
    };
    let index = number(row.remove("index"), line);
    let path = path(row.remove("path"), line);
    let algorithm = text(row.remove("algorithm"), line);
    let outcome = match row.remove("error") {
        Some(Value::Object(error)) => failure(error, line),
        Some(_) => panic!("error is not an object: {}", show(line)),
        None => Outcome::Digest {
            digest: text(row.remove("digest"), line),
            size: number(row.remove("size"), line),
            changed: match row.remove("changed") {
                None => false,
                Some(Value::Bool(true)) => true,
                Some(_) => panic!("changed is there and not true: {}", show(line)),
            },
        },
    };
    assert!(
        row.is_empty(),
        "unknown fields {:?}: {}",
        row.keys(),
        show(line)
    );
    Row {
        index,
        path,
        algorithm,
        outcome,
    }
}

#[track_caller]
fn failure(mut error: Map<String, Value>, line: &[u8]) -> Outcome {
    let errno = match error.remove("errno") {
        Some(Value::Null) => None,
        other => Some(text(other, line)),
    };
    // An error with an errno has the name of the errno as its code.
    let code = text(error.remove("code"), line);
    assert_eq!(errno.clone().unwrap_or(code.clone()), code);
    assert_eq!(errno.is_some(), code.starts_with('E'), "{}", show(line));
    let outcome = Outcome::Error {
        operation: text(error.remove("operation"), line),
        errno,
        message: text(error.remove("message"), line),
    };
    assert!(
        error.is_empty(),
        "unknown fields {:?}: {}",
        error.keys(),
        show(line)
    );
    outcome
}

/// `{"text": …}` for UTF-8, `{"bytes": base64}` for the rest, and never the other way round.
#[track_caller]
fn path(value: Option<Value>, line: &[u8]) -> Vec<u8> {
    let Some(Value::Object(mut path)) = value else {
        panic!("no path object: {}", show(line))
    };
    assert_eq!(path.len(), 1, "text or bytes, not both: {}", show(line));
    if let Some(Value::String(text)) = path.remove("text") {
        return text.into_bytes();
    }
    let encoded = text(path.remove("bytes"), line);
    let bytes = STANDARD.decode(encoded).expect("base64");
    assert!(
        std::str::from_utf8(&bytes).is_err(),
        "UTF-8 as bytes: {}",
        show(line)
    );
    bytes
}

#[track_caller]
fn text(value: Option<Value>, line: &[u8]) -> String {
    match value {
        Some(Value::String(text)) => text,
        other => panic!("{other:?} where a text is expected: {}", show(line)),
    }
}

#[track_caller]
fn number(value: Option<Value>, line: &[u8]) -> u64 {
    value
        .as_ref()
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{value:?} where a number is expected: {}", show(line)))
}
