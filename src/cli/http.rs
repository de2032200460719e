//! `ringmill http`.

use super::arguments::{HttpArguments, HttpFormat};
use super::bodies::{self, Bodies};
use super::hints::Hints;
use super::http_rows::{Form, HttpRows, Renderer};
use super::name_servers::NameServers;
use super::outcome::Outcome;
use super::setup_error::SetupError;
use super::stream::Task;
use crate::clock;
use crate::digest::Algorithm;
use crate::io::FileId;
use crate::jobs::http::{
    BodyFiles, HttpJob, Keep, Options, OriginLimits, Template, Trust, client_config,
};
use crate::jobs::rendered::Rendered;
use crate::run::{Descriptors, Plan};
use bytes::Bytes;
use http::header::{HeaderMap, USER_AGENT};
use serde_json::Map;
use std::env;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The bytes of bodies that are kept in memory while they arrive, all items in flight together.
const BODY_BYTES_IN_MEMORY: usize = 64 * 1024 * 1024;

/// The most bytes of each body among them.
const BODY_LEN_IN_MEMORY: RangeInclusive<usize> = 16 * 1024..=128 * 1024;

/// The permissions of files for bodies that do not stay.
const TEMPORARY_MODE: u32 = 0o600;

pub(super) fn http(arguments: HttpArguments) -> Outcome {
    perform(&arguments).unwrap_or_else(|error| {
        error.report();
        Outcome::RunFailed
    })
}

fn perform(arguments: &HttpArguments) -> Result<Outcome, SetupError> {
    let servers = NameServers::of(&arguments.names);
    let template = template(arguments)?;
    let tls = client_config(&trust(arguments)?).map_err(|reason| {
        let file = arguments.cacert.as_deref().unwrap_or(Path::new("--cacert"));
        SetupError::new(format!("{}: {reason}", file.display()))
    })?;
    let options = [
        ("timeout_ns", clock::to_ns(arguments.timeout).into()),
        ("per_host", arguments.per_host.into()),
        ("rate_per_host_per_s", arguments.rate_per_host.into()),
        ("retries", arguments.retries.into()),
    ];
    let form = match (arguments.hash, arguments.format) {
        (true, _) => Form::Hash(arguments.algorithm.unwrap_or(Algorithm::Blake3)),
        (_, HttpFormat::Jsonl) => Form::Jsonl,
        (_, HttpFormat::Text) => Form::Text,
        (_, HttpFormat::Body) => Form::Body,
    };
    let writes_bodies = arguments.bodies.is_some();
    let keeps_bodies = arguments.body || form == Form::Body || writes_bodies;
    let descriptors_for_bodies = match keeps_bodies {
        true => bodies::DESCRIPTORS,
        false => 0,
    };
    let task = Task {
        command: "http",
        no_items: "no URLs to request",
        usage: "ringmill http URL…, or ringmill http --files-from urls.txt",
        items: arguments.urls.clone(),
        arguments: &arguments.stream,
        timeout: None,
        items_hold_files: true,
        items_are_paths: false,
        service_descriptors: servers.descriptors() + descriptors_for_bodies,
        resolvers_from: None,
        expand: None,
        options: Map::from_iter(options.map(|(name, value)| (name.to_owned(), value))),
    };
    let hints = Hints::new(!arguments.urls.is_empty(), &arguments.stream);
    let rows = HttpRows::new(form, arguments.bodies.as_deref().map(Bodies::new), hints);
    let job = |plan: &Plan, _: &Descriptors, _: Vec<FileId>| {
        let body_files = match &arguments.bodies {
            Some(dir) => BodyFiles::new(dir, bodies::MODE),
            None => BodyFiles::new(&env::temp_dir(), TEMPORARY_MODE),
        };
        let options = Options {
            template,
            timeout: arguments.timeout,
            connect_timeout: arguments.connect_timeout,
            retries: arguments.retries,
            redirects_max: match arguments.location {
                true => u32::try_from(arguments.max_redirects).unwrap_or(u32::MAX),
                false => 0,
            },
            body_len_max: arguments.max_body as u64,
            deny_private: arguments.deny_private,
            keep: Keep {
                digest: form.algorithm().or(arguments.algorithm),
                body: keeps_bodies,
            },
            body_len_in_memory: body_len_in_memory(plan.in_flight),
            body_files: Arc::new(body_files),
            keeps_headers: arguments.headers,
            connections_per_loop: plan.in_flight.div_ceil(plan.loops.max(1)),
            tls,
        };
        let limits = OriginLimits {
            connections: arguments.per_host,
            interval: arguments
                .rate_per_host
                .map(|rate| Duration::from_secs_f64(1.0 / rate)),
            pause_max: arguments.retry_after_max,
        };
        let names = servers.service(&arguments.names, plan);
        let job = HttpJob::new(names, options, limits);
        if let Some(dir) = &arguments.bodies {
            bodies::create(dir)?;
        }
        let render = Arc::new(Renderer {
            form,
            writes_bodies,
        });
        Ok(Rendered { job, render })
    };
    Ok(task.perform(job, rows))
}

/// The most bytes of each body that are kept in memory.
fn body_len_in_memory(in_flight: usize) -> usize {
    let (min, max) = BODY_LEN_IN_MEMORY.into_inner();
    (BODY_BYTES_IN_MEMORY / in_flight).clamp(min, max)
}

fn template(arguments: &HttpArguments) -> Result<Template, SetupError> {
    let mut headers = HeaderMap::new();
    for (name, value) in arguments.request_headers.iter().cloned() {
        headers.append(name, value);
    }
    if let Some(name) = arguments.user_agent.clone() {
        headers.insert(USER_AGENT, name);
    }
    let body = match &arguments.data {
        None => Bytes::new(),
        Some(data) => match data.as_bytes().strip_prefix(b"@") {
            None => data.as_bytes().to_vec().into(),
            Some(file) => read(Path::new(std::ffi::OsStr::from_bytes(file)))?.into(),
        },
    };
    Ok(Template {
        method: arguments.method.clone(),
        headers,
        body,
    })
}

fn trust(arguments: &HttpArguments) -> Result<Trust, SetupError> {
    Ok(match &arguments.cacert {
        _ if arguments.insecure => Trust::Anybody,
        Some(file) => Trust::Authorities(read(file)?),
        None => Trust::System,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, SetupError> {
    std::fs::read(file).map_err(|error| SetupError::io(&file.display().to_string(), "read", &error))
}
