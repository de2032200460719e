//! `ringmill hash`.

use super::Outcome;
use super::arguments::{Format, HashArguments, Special};
use super::hints::Hints;
use super::observer::Observer;
use super::setup_error::SetupError;
use super::stream::{Rows, Task};
use crate::digest::Algorithm;
use crate::error::{Cause, ItemError};
use crate::io::{FileId, SpecialKind};
use crate::item::Item;
use crate::jobs::hash::{HashJob, Hashed};
use crate::run::{Descriptors, Plan};
use crate::sink::gnu::{self, Layout};
use crate::sink::jsonl;
use serde_json::Map;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn hash(arguments: HashArguments) -> Outcome {
    if arguments.paths.iter().any(|path| path == "-") {
        SetupError::new("-: the content of standard input is not hashed")
            .hint("--files-from - reads a list from it; a file of that name is ./-")
            .tell();
        return Outcome::Unusable;
    }
    let job = HashJob {
        algorithm: arguments.algorithm,
        read_special: arguments.special == Special::Read,
        strict: arguments.strict,
        ..HashJob::default()
    };
    let options = [
        ("algorithm", job.algorithm.name().into()),
        ("read_special", job.read_special.into()),
        ("strict", job.strict.into()),
    ];
    let rows = HashRows {
        format: arguments.format,
        layout: Layout {
            tag: arguments.tag,
            zero: arguments.zero,
        },
        algorithm: arguments.algorithm,
        hints: Hints::new(!arguments.paths.is_empty(), &arguments.stream),
    };
    let task = Task {
        command: "hash",
        no_items: "no files to hash",
        usage: "ringmill hash FILE…, or find . -type f | ringmill hash",
        items: arguments.paths,
        arguments: &arguments.stream,
        timeout: arguments.timeout,
        items_hold_files: true,
        resolvers_from: None,
        expand: None,
        options: Map::from_iter(options.map(|(name, value)| (name.to_owned(), value))),
    };
    let job = |_: &Plan, _: &Descriptors, outputs: Vec<FileId>| {
        Ok(HashJob {
            outputs: outputs.into(),
            ..job
        })
    };
    task.perform(job, rows)
}

/// How a special file could be read after all. A socket could not: it cannot be opened.
fn remedy(cause: &Cause) -> Option<&'static str> {
    match cause {
        Cause::Special(SpecialKind::Socket | SpecialKind::Unknown) => None,
        Cause::Special(_) => Some("--special read reads it"),
        _ => None,
    }
}

struct HashRows {
    format: Format,
    layout: Layout,
    algorithm: Algorithm,
    hints: Hints,
}

impl Rows<Hashed> for HashRows {
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        item: &Item,
        result: &Result<Hashed, ItemError>,
        observer: &mut Observer,
    ) {
        let name = item.bytes();
        let size_bytes = result.as_ref().map(|hashed| hashed.size_bytes);
        observer.count(size_bytes.map_err(|error| error.cause.key()));
        match result {
            Err(error) => {
                match remedy(&error.cause) {
                    Some(remedy) => observer.say(name, &format_args!("{error} ({remedy})")),
                    None => observer.say(name, error),
                }
                observer.hint(self.hints.about_file(name, error));
            }
            Ok(hashed) => {
                observer.visited(Path::new(OsStr::from_bytes(name)));
                if hashed.changed {
                    observer.say(name, &"warning: changed while it was read");
                }
            }
        }
        match (self.format, result) {
            (Format::Gnu, Ok(hashed)) => {
                gnu::write_line(out, self.layout, self.algorithm, &hashed.digest, name);
            }
            (Format::Gnu, Err(_)) => {}
            (Format::Jsonl, result) => {
                jsonl::write_hash_row(out, item.index(), name, self.algorithm, result);
            }
        }
    }
}
