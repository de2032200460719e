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

/// Hashes the files at these paths, many at a time, and yields one row for each path in input order.
///
/// The paths are pulled on another thread, and only as far as the window allows: the iterator may be
/// longer than memory holds, or endless.
///
/// A row is an error if its path cannot be opened or read, contains a NUL byte, or leads to a directory, or
/// to a FIFO, socket or device ([`Hash::read_special`]).
///
/// ```
/// use ringmill::Algorithm;
///
/// let paths = ["Cargo.toml", "src/lib.rs"];
/// for row in ringmill::hash(paths).algorithm(Algorithm::Sha256).in_flight(256).start()? {
///     let row = row?; // Err: the run itself broke
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
    options.request.separate_descriptors = true;
    Hash {
        paths: paths.into_iter(),
        options,
        job: HashJob::default(),
    }
}

/// Builder of a run of [`hash`](hash()).
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
    /// Sets the hash function. The default is BLAKE3.
    ///
    /// ```
    /// use ringmill::Algorithm;
    ///
    /// for row in ringmill::hash(["Cargo.toml"]).algorithm(Algorithm::Md5).start()? {
    ///     assert_eq!(row?.result?.digest.as_bytes().len(), 16);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.job.algorithm = algorithm;
        self
    }

    /// Opens FIFOs and devices, too, and reads them to their ends; some, like `/dev/zero`, have none. By
    /// default their rows are errors of the kind [`SpecialFile`](crate::ErrorKind::SpecialFile), and they
    /// are not opened, because even opening a FIFO or a device can have effects.
    ///
    /// ```
    /// use ringmill::ErrorKind;
    ///
    /// for row in ringmill::hash(["/dev/null"]).start()? {
    ///     assert_eq!(row?.result.unwrap_err().kind(), ErrorKind::SpecialFile);
    /// }
    /// for row in ringmill::hash(["/dev/null"]).read_special().start()? {
    ///     assert_eq!(row?.result?.size_bytes, 0);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn read_special(mut self) -> Self {
        self.job.read_special = true;
        self
    }

    /// Makes the row of a file that changed while it was read an error of the kind
    /// [`Changed`](crate::ErrorKind::Changed). By default the row has a digest, and [`Hashed::changed`] is
    /// true.
    ///
    /// ```
    /// for row in ringmill::hash(["Cargo.toml"]).strict().start()? {
    ///     assert!(!row?.result?.changed);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn strict(mut self) -> Self {
        self.job.strict = true;
        self
    }

    common_options!();
    timeout_option!();

    /// Starts the run: its threads begin to pull and hash before the first row is taken.
    ///
    /// # Errors
    /// An error of the kind [`Start`](crate::ErrorKind::Start) if an option is out of its range, if the
    /// limit on open files leaves room for none, if [`Engine::Uring`](crate::Engine::Uring) was set and
    /// io_uring is not available, or if no thread can be started.
    ///
    /// ```
    /// let mut rows = ringmill::hash(["Cargo.toml", "src/lib.rs"]).start()?;
    /// let first = rows.next().expect("there are two paths")?;
    /// assert_eq!((first.index, first.input.to_str()), (0, Some("Cargo.toml")));
    /// # Ok::<(), ringmill::Error>(())
    /// ```
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
