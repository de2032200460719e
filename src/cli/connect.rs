//! `ringmill connect`.

use super::arguments::{ConnectArguments, ConnectFormat};
use super::hints::Hints;
use super::name_servers::NameServers;
use super::observer::Observer;
use super::outcome::Outcome;
use super::stream::{Rows, Task};
use crate::clock;
use crate::error::ItemError;
use crate::io::FileId;
use crate::item::Item;
use crate::jobs::connect::{self, ConnectJob, Connection, Found, INVALID, Ports};
use crate::jobs::rendered::{Render, Rendered, Row};
use crate::run::{Descriptors, Plan};
use crate::sink::connect::{write_jsonl, write_text};
use crate::source::Expand;
use serde_json::Map;
use std::sync::Arc;

pub(super) fn connect(arguments: ConnectArguments) -> Outcome {
    let servers = NameServers::of(&arguments.names);
    let options = [
        ("timeout_ns", clock::to_ns(arguments.timeout).into()),
        ("ports", arguments.ports.clone().into()),
        ("abort", arguments.abort.into()),
        ("banner_len_max", arguments.banner.unwrap_or(0).into()),
    ];
    let rows = ConnectRows {
        hints: Hints::new(!arguments.endpoints.is_empty(), &arguments.stream),
    };
    let format = arguments.format;
    let expand = (!arguments.ports.is_empty())
        .then(|| Box::new(Ports::new(arguments.ports.clone())) as Box<dyn Expand>);
    let task = Task {
        command: "connect",
        no_items: "no endpoints to connect to",
        usage: "ringmill connect HOST:PORT…, or ringmill connect -p 443 --files-from hosts.txt",
        items: arguments.endpoints.clone(),
        arguments: &arguments.stream,
        timeout: None,
        items_hold_files: true,
        items_are_paths: false,
        service_descriptors: servers.descriptors(),
        resolvers_from: None,
        expand,
        options: Map::from_iter(options.map(|(name, value)| (name.to_owned(), value))),
    };
    let job = |plan: &Plan, _: &Descriptors, _: Vec<FileId>| {
        let job = ConnectJob {
            names: servers.service(&arguments.names, plan),
            options: connect::Options {
                timeout: arguments.timeout,
                abort: arguments.abort,
                banner_len_max: arguments.banner.unwrap_or(0),
            },
        };
        let render = Arc::new(Format(format));
        Ok(Rendered { job, render })
    };
    task.perform(job, rows)
}

/// How results become rows.
struct Format(ConnectFormat);

/// What a row adds to the counts: `Ok` for an open connection with the length of its banner.
struct Counted(Result<u64, &'static str>);

impl Render<Found> for Format {
    type Note = Counted;

    fn render(&self, row: &mut Vec<u8>, item: &Item, found: Found) -> Counted {
        match self.0 {
            ConnectFormat::Text => write_text(row, item, &found),
            ConnectFormat::Jsonl => write_jsonl(row, item, &found),
        }
        Counted(match &found {
            Ok(connection) if connection.is_open() => Ok(banner_len(connection)),
            Ok(connection) => Err(connection.status_name()),
            Err(_) => Err(INVALID),
        })
    }
}

fn banner_len(connection: &Connection) -> u64 {
    connection
        .banner
        .as_ref()
        .map_or(0, |banner| banner.len() as u64)
}

struct ConnectRows {
    hints: Hints,
}

impl Rows<Row<Counted>> for ConnectRows {
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        item: &Item,
        result: Result<Row<Counted>, ItemError>,
        observer: &mut Observer,
    ) {
        let Some(row) = observer.value_of(item, result) else {
            return;
        };
        let Counted(counted) = row.note;
        if counted == Err(INVALID) {
            observer.hint(self.hints.about_line(item.bytes()));
        }
        observer.count(counted.map_err(str::to_owned));
        out.extend_from_slice(&row.bytes);
    }
}
