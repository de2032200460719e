//! `ringmill hash`.

use super::arguments::{Field, Format, HashArguments, Special};
use super::hints::Hints;
use super::observer::Observer;
use super::outcome::Outcome;
use super::setup_error::SetupError;
use super::stream::{Rows, Task};
use crate::digest::Algorithm;
use crate::error::{Cause, ItemError};
use crate::io::{FileId, SpecialKind};
use crate::item::Item;
use crate::jobs::hash::{HashJob, Hashed};
use crate::run::{Descriptors, Plan};
use crate::sink::gnu::{self, Layout};
use crate::sink::jsonl::{self, Fields};
use serde_json::Map;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn hash(arguments: HashArguments) -> Outcome {
    if arguments.paths.iter().any(|path| path == "-") {
        SetupError::new("-: the content of standard input is not hashed")
            .hint("--files-from - reads a list from standard input; for a file named - write ./-")
            .report();
        return Outcome::RunFailed;
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
        fields: fields(&arguments.fields),
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
        items_are_paths: true,
        service_descriptors: 0,
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

fn fields(names: &[Field]) -> Fields {
    Fields {
        device: names.contains(&Field::Device),
        inode: names.contains(&Field::Inode),
        nlink: names.contains(&Field::Nlink),
        mtime_ns: names.contains(&Field::MtimeNs),
    }
}

/// The option that reads a special file, if any does: a socket cannot be opened.
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
    fields: Fields,
    hints: Hints,
}

impl Rows<Hashed> for HashRows {
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        item: &Item,
        result: Result<Hashed, ItemError>,
        observer: &mut Observer,
    ) {
        let name = item.bytes();
        let size_bytes = result.as_ref().map(|hashed| hashed.size_bytes);
        observer.count(size_bytes.map_err(|error| error.cause.key()));
        match &result {
            Err(error) => {
                match remedy(&error.cause) {
                    Some(remedy) => observer.about_item(name, &format_args!("{error} ({remedy})")),
                    None => observer.about_item(name, error),
                }
                observer.hint(self.hints.about_file(name, error));
            }
            Ok(hashed) => {
                observer.visited(Path::new(OsStr::from_bytes(name)));
                if hashed.changed {
                    observer.about_item(name, &"warning: changed while it was read");
                }
            }
        }
        match (self.format, &result) {
            (Format::Gnu, Ok(hashed)) => {
                gnu::write_line(out, self.layout, self.algorithm, &hashed.digest, name);
            }
            (Format::Gnu, Err(_)) => {}
            (Format::Jsonl, result) => {
                let (algorithm, fields) = (self.algorithm, self.fields);
                jsonl::write_hash_row(out, item.index(), name, algorithm, fields, result);
            }
        }
    }
}
