//! How requests are made.

use super::body_files::BodyFiles;
use super::request::Template;
use crate::digest::Algorithm;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all requests have in common.
    pub template: Template,
    /// The time for a request, from when it is sent to the end of its response.
    pub timeout: Duration,
    /// The time for a connect to each address, and then for a TLS handshake; not longer than `timeout`.
    pub connect_timeout: Duration,
    /// Further attempts after a failure that may be transient.
    pub retries: u32,
    /// Redirects that are followed.
    pub redirects_max: u32,
    /// The most bytes of a body, decoded.
    pub body_len_max: u64,
    /// Connections to addresses that are not public are refused.
    pub deny_private: bool,
    /// What is kept of bodies.
    pub keep: Keep,
    /// The most bytes of a body that are kept in memory, and, but for the last, the bytes that are written to its file
    /// at a time.
    pub body_len_in_memory: usize,
    /// The files of longer bodies.
    pub body_files: Arc<BodyFiles>,
    /// The headers of responses are kept.
    pub keeps_headers: bool,
    /// Connections that each loop may have open.
    pub connections_per_loop: usize,
    /// How TLS connections are made.
    pub tls: Arc<ClientConfig>,
}

/// What is kept of the body of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Its digest.
    pub digest: Option<Algorithm>,
    /// The body itself.
    pub body: bool,
}
