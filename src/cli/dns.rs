//! `ringmill dns`.

use super::arguments::{DnsArguments, DnsFormat};
use super::dns_stats::{StatusCounts, resolver_document, resolver_table};
use super::hints::Hints;
use super::observer::{Details, Observer};
use super::outcome::Outcome;
use super::servers::servers;
use super::setup_error::SetupError;
use super::source;
use super::stream::{Rows, Task};
use crate::clock;
use crate::error::ItemError;
use crate::io::FileId;
use crate::item::Item;
use crate::jobs::dns::{
    Answer, DnsJob, Found, Lines, QueryOptions, RowStatus, Settings, SharedLimits,
    SharedServerStats, SharedWildcards, Status, queries_in_flight_max,
};
use crate::jobs::rendered::{Render, Rendered, Row};
use crate::run::{Descriptors, Plan};
use crate::sink::dns::{Extras, write_jsonl, write_massdns, write_text};
use crate::source::Repeated;
use crate::stats::document::Form;
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) fn dns(arguments: DnsArguments) -> Outcome {
    let prepared = arguments.queries.options().and_then(|queries| {
        let servers = servers(&arguments)?;
        if let Some(source) = arguments.queries.source {
            source::check(source, &servers)?;
        }
        Ok((queries, servers))
    });
    let (queries, servers) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            error.report();
            return Outcome::RunFailed;
        }
    };
    let server_stats = SharedServerStats::default();
    let types = arguments.types.clone();
    let options = [
        ("types", names_of(&types)),
        ("timeout_ns", clock::to_ns(arguments.timeout).into()),
        ("retries", arguments.retries.into()),
        (
            "attempt_timeout_ns",
            arguments.attempt_timeout.map(clock::to_ns).into(),
        ),
        (
            "rate_per_resolver_per_s",
            arguments.rate_per_resolver.into(),
        ),
        ("statuses", names_of(&arguments.statuses)),
        ("all_resolvers", arguments.all_resolvers.into()),
        ("wildcards", arguments.wildcards.into()),
        ("mixes_case", arguments.mixes_case.into()),
    ]
    .into_iter()
    .chain(arguments.queries.for_document());
    let rows = DnsRows {
        servers: servers.clone(),
        server_stats: server_stats.clone(),
        statuses: StatusCounts::default(),
        hints: Hints::new(!arguments.names.is_empty(), &arguments.stream),
        has_reported_silence: false,
    };
    let render = Format {
        format: arguments.format,
        statuses: arguments.statuses.clone(),
        pinned_to: match arguments.all_resolvers {
            true => servers.clone(),
            false => Vec::new(),
        },
        shows_wildcards: arguments.wildcards,
        clock_started_at: since_1970().saturating_sub(clock::now()),
    };
    let lines = match arguments.comments {
        true => Lines::new(types).with_comments(),
        false => Lines::new(types),
    };
    let times = match arguments.all_resolvers {
        true => servers.len(),
        false => 1,
    };
    let task = Task {
        command: "dns",
        no_items: "no names to look up",
        usage: "ringmill dns NAME…, or ringmill dns --files-from names.txt",
        items: arguments.names.clone(),
        arguments: &arguments.stream,
        timeout: None,
        items_hold_files: false,
        items_are_paths: false,
        service_descriptors: 0,
        resolvers_from: arguments.resolvers_from.as_deref(),
        expand: Some(Box::new(Repeated::new(lines, times))),
        options: Map::from_iter(options.map(|(name, value)| (name.to_owned(), value))),
    };
    let job = |plan: &Plan, descriptors: &Descriptors, _: Vec<FileId>| {
        let job = DnsJob {
            asks_every_server: arguments.all_resolvers,
            limits: limits(&arguments, servers.len(), plan),
            settings: settings(&arguments, queries, servers, plan, descriptors)?,
            default_type: arguments.types[0],
            server_stats,
            wildcards: arguments.wildcards.then(SharedWildcards::default),
        };
        let render = Arc::new(render);
        Ok(Rendered { job, render })
    };
    task.perform(job, rows)
}

/// The values of an option, for the document of --stats.
fn names_of(named: &[impl ToString]) -> Value {
    named.iter().map(ToString::to_string).collect()
}

fn limits(arguments: &DnsArguments, servers: usize, plan: &Plan) -> SharedLimits {
    let names_servers = !arguments.resolvers.is_empty() || arguments.resolvers_from.is_some();
    let in_flight_is_given = arguments.stream.resources.in_flight.is_some();
    let queries_max = queries_in_flight_max(plan.in_flight, in_flight_is_given, names_servers);
    SharedLimits::new(servers, queries_max, plan.loops)
}

fn settings(
    arguments: &DnsArguments,
    queries: QueryOptions,
    servers: Vec<SocketAddr>,
    plan: &Plan,
    descriptors: &Descriptors,
) -> Result<Settings, SetupError> {
    let has_datagrams = !arguments.queries.tcp;
    let sockets = descriptors.sockets(arguments.sockets, servers.len(), plan.loops, has_datagrams);
    let sockets_per_server = sockets.map_err(|none| {
        let hint = "raise it with ulimit -n, or use fewer --loops";
        SetupError::new(none.to_string()).hint(hint)
    })?;
    Ok(Settings {
        servers,
        sockets_per_server,
        streams_only: arguments.queries.tcp,
        queries,
        source: arguments.queries.source,
        retries: arguments.retries,
        attempt_timeout: arguments.attempt_timeout,
        timeout: arguments.timeout,
        rate_per_server: arguments
            .rate_per_resolver
            .map(|rate| plan.share_of_rate(rate)),
        mixes_case: arguments.mixes_case,
        measures_round_trips: arguments.stream.measure.forms.need_phases(),
    })
}

/// How answers become rows.
struct Format {
    format: DnsFormat,
    /// The statuses to print; all if empty.
    statuses: Vec<RowStatus>,
    /// The servers if each item is for one of them, else empty.
    pinned_to: Vec<SocketAddr>,
    shows_wildcards: bool,
    /// The time since 1970 when the clock of the answers was at 0.
    clock_started_at: Duration,
}

/// What a row adds to the counts.
struct Counted {
    status: RowStatus,
    /// The length of the reply.
    bytes: u32,
}

struct DnsRows {
    servers: Vec<SocketAddr>,
    server_stats: SharedServerStats,
    statuses: StatusCounts,
    hints: Hints,
    has_reported_silence: bool,
}

fn since_1970() -> Duration {
    // A system clock before 1970 is wrong anyway.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl Render<Found> for Format {
    type Note = Counted;

    /// A row whose status is not requested stays empty.
    fn render(&self, row: &mut Vec<u8>, item: &Item, found: Found) -> Counted {
        let pinned_to = NonZeroUsize::new(self.pinned_to.len())
            .map(|servers| self.pinned_to[DnsJob::server_of(item, servers)]);
        let extras = Extras {
            resolver: pinned_to,
            wildcard: self.shows_wildcards,
        };
        let status = RowStatus::of(&found);
        if self.statuses.is_empty() || self.statuses.contains(&status) {
            match self.format {
                DnsFormat::Text => write_text(row, item, &found, extras),
                DnsFormat::Jsonl => write_jsonl(row, item, &found, extras),
                DnsFormat::Massdns => {
                    write_massdns(row, item, &found, self.clock_started_at, extras);
                }
            }
        }
        let message = found.as_ref().ok().and_then(Answer::message);
        let bytes = message.map_or(0, |message| message.as_slice().len());
        Counted {
            status,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }
}

impl Rows<Row<Counted>> for DnsRows {
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
        let Counted { status, bytes } = row.note;
        self.statuses.count(status);
        self.report_silence(status, observer);
        if status == RowStatus::Invalid {
            observer.hint(self.hints.about_line(item.bytes()));
        }
        observer.count(match status.is_failure() {
            true => Err(status.to_string()),
            false => Ok(bytes.into()),
        });
        out.extend_from_slice(&row.bytes);
    }

    fn details(&self, form: &Form) -> Details {
        let server_stats = self.server_stats.take();
        let known: Vec<_> = self.servers.iter().zip(&server_stats).collect();
        let resolvers = known
            .iter()
            .map(|(server, server_stats)| resolver_document(server, server_stats, form));
        let document = [
            ("statuses", self.statuses.document()),
            ("resolvers", resolvers.collect()),
        ];
        Details {
            counts: self.statuses.line(),
            table: resolver_table(&known, &form.percentiles),
            table_without_latencies: resolver_table(&known, &[]),
            document: Map::from_iter(document.map(|(name, value)| (name.to_owned(), value))),
        }
    }
}

impl DnsRows {
    /// Reports, once, that no server has answered yet, when a row has failed for that reason.
    fn report_silence(&mut self, status: RowStatus, observer: &Observer) {
        let RowStatus::Asked(status @ (Status::Timeout | Status::Unreachable)) = status else {
            return;
        };
        if self.has_reported_silence || self.server_stats.has_replies() {
            return;
        }
        self.has_reported_silence = true;
        let (first, more) = (self.servers[0], self.servers.len() - 1);
        let others = match more {
            0 => String::new(),
            _ => format!(" and {more} more"),
        };
        let cause = match status {
            Status::Unreachable => "unreachable",
            _ => "no replies",
        };
        observer.about_run(&format_args!(
            "no resolver has answered so far: {first}{others}: {cause}"
        ));
    }
}
