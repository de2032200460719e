//! Digests of files.

use super::error::Error;
use super::inputs::Inputs;
use super::options::{Options, common_options, timeout_option};
use super::rows::{Row, Rows};
use crate::digest::Algorithm;
use crate::jobs::hash::{HashJob, Hashed};
use crate::mill::Finished;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Hashes the files at these paths, many at a time, and gives one row for each path in their order.
///
/// The paths are pulled on another thread, only as far as the rows are taken: there may be more of them
/// than memory holds, or no end of them.
///
/// ```
/// use ringmill::Algorithm;
///
/// let paths = ["Cargo.toml", "src/lib.rs"];
/// for row in ringmill::hash(paths).algorithm(Algorithm::Sha256).in_flight(256).start()? {
///     let row = row?; // an error here is one of the whole run
///     match row.result {
///         Ok(hashed) => println!("{}  {}", hashed.digest, row.input.display()),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok::<(), ringmill::Error>(())
/// ```
pub fn hash<I>(paths: I) -> Hash<I::IntoIter>
where
    I: IntoIterator,
    I::Item: Into<PathBuf>,
    I::IntoIter: Send + 'static,
{
    let mut options = Options::new(true);
    options.wishes.separate_descriptors = true;
    Hash {
        paths: paths.into_iter(),
        options,
        job: HashJob::default(),
    }
}

/// A run of [`hash`](hash()) before it starts.
///
/// ```
/// let rows = ringmill::hash(["Cargo.toml"]).unordered().loops(1).start()?;
/// assert_eq!(rows.count(), 1);
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is hashed until it is started"]
pub struct Hash<I> {
    paths: I,
    options: Options,
    job: HashJob,
}

impl<I> Hash<I>
where
    I: Iterator + Send + 'static,
    I::Item: Into<PathBuf>,
{
    /// The hash function. The default is BLAKE3.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.job.algorithm = algorithm;
        self
    }

    /// Reads FIFOs and devices, too, to their ends. By default they are failures and are not opened, which
    /// alone would have effects.
    pub fn read_special(mut self) -> Self {
        self.job.read_special = true;
        self
    }

    /// Makes a file that changed while it was read a failure. By default its row says so
    /// ([`Hashed::changed`]).
    pub fn strict(mut self) -> Self {
        self.job.strict = true;
        self
    }

    common_options!();
    timeout_option!();

    /// Starts the run.
    ///
    /// # Errors
    /// If the limit on open files leaves none, io_uring was asked for and is not to be had, no thread can
    /// be started, or an option is out of its range.
    pub fn start(self) -> Result<Rows<PathBuf, Hashed>, Error> {
        let to_bytes = |path: I::Item| path.into().into_os_string().into_vec();
        let source = Inputs::new(self.paths, to_bytes);
        self.options.start(|_, _| Ok(self.job), source, to_row)
    }
}

fn to_row(finished: Finished<Hashed>) -> Row<PathBuf, Hashed> {
    let Finished { item, result, .. } = finished;
    let name = item.bytes();
    Row {
        index: item.index(),
        input: OsString::from_vec(name.to_vec()).into(),
        result: result.map_err(|error| Error::of_item(&error, name)),
    }
}
