//! Custom jobs.

use super::error::Error;
use super::inputs::{Inputs, PendingInputs};
use super::io::Io;
use super::options::{Options, common_options, timeout_option};
use super::rows::{Row, Rows};
use crate::error::ItemError;
use crate::io;
use crate::item::Item;
use crate::jobs::Job;
use crate::mill::Finished;
use std::rc::Rc;
use std::sync::Arc;

/// Runs an async closure for each input, many at a time, and yields one row for each input in input order.
///
/// The closure gets an [`Io`], with which its future opens and reads files. The closure and its future run
/// on the threads of the event loops, so they must not block. The future may await anything that wakes its
/// waker, from any thread.
///
/// If calls on the file system of a file may block, the future is dropped before it has read anything, and
/// the closure is called again for the same input on a worker thread.
///
/// Inputs are pulled on another thread, and only as far as the window allows: the iterator may be endless.
///
/// ```
/// use ringmill::{Error, Io};
/// use std::path::PathBuf;
///
/// let paths = ["Cargo.toml", "README.md"].map(PathBuf::from);
/// let rows = ringmill::run(paths, |io: Io, path: PathBuf| async move {
///     let content = io.read(&path).await?;
///     let first = content.split(|&byte| byte == b'\n').next().unwrap_or_default();
///     Ok::<_, Error>(String::from_utf8_lossy(first).into_owned())
/// });
/// for row in rows.start()? {
///     let row = row?;
///     println!("{}: {}", row.input.display(), row.result?);
/// }
/// # Ok::<(), Error>(())
/// ```
pub fn run<I, F, R, V, E>(inputs: I, job: F) -> Run<I::IntoIter, F>
where
    I: IntoIterator,
    I::Item: Clone + Send + 'static,
    I::IntoIter: Send + 'static,
    F: Fn(Io, I::Item) -> R + Send + Sync + 'static,
    R: Future<Output = Result<V, E>> + 'static,
    V: Send + 'static,
    E: Into<Error> + 'static,
{
    Run {
        inputs: inputs.into_iter(),
        options: Options::new(true),
        job,
    }
}

/// Builder of a run of [`run`](run()).
///
/// ```
/// use ringmill::{Error, Io};
///
/// let squares = ringmill::run(1..=3, |_: Io, n: u64| async move { Ok::<_, Error>(n * n) });
/// let squares: Result<Vec<u64>, Error> = squares.window(2).start()?.map(|row| row?.result).collect();
/// assert_eq!(squares?, [1, 4, 9]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is run until it is started"]
pub struct Run<I, F> {
    inputs: I,
    options: Options,
    job: F,
}

impl<I, F> Run<I, F>
where
    I: Iterator + Send + 'static,
    I::Item: Clone + Send + 'static,
{
    common_options!();
    timeout_option!();

    /// Starts the run: its threads begin to pull inputs and to call the closure before the first row is
    /// taken.
    ///
    /// # Errors
    /// An error of the kind [`Start`](crate::ErrorKind::Start) if an option is out of its range, if the
    /// limit on open files leaves room for none, if [`Engine::Uring`](crate::Engine::Uring) was set and
    /// io_uring is not available, or if no thread can be started.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    ///
    /// let mut rows = ringmill::run([20, 22], |_: Io, n: u64| async move { Ok::<_, Error>(n + 1) }).start()?;
    /// let first = rows.next().expect("there are two inputs")?;
    /// assert_eq!((first.input, first.result?), (20, 21));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn start<R, V, E>(self) -> Result<Rows<I::Item, V>, Error>
    where
        F: Fn(Io, I::Item) -> R + Send + Sync + 'static,
        R: Future<Output = Result<V, E>> + 'static,
        V: Send + 'static,
        E: Into<Error> + 'static,
    {
        let inputs = Arc::new(PendingInputs::default());
        let (adding, taking) = (Arc::clone(&inputs), Arc::clone(&inputs));
        let source = Inputs::new(self.inputs, move |input| {
            adding.add(input);
            // The item has no bytes: its index leads to the input.
            []
        });
        let to_row = move |finished: Finished<Result<V, Error>>| {
            let Finished { item, result, .. } = finished;
            let result = result.unwrap_or_else(|error| Err(Error::ended_from_outside(&error)));
            Row {
                index: item.index(),
                input: taking.take(item.index()),
                result,
            }
        };
        let job = Custom(Arc::new(Shared {
            job: self.job,
            inputs,
        }));
        self.options.start(|_, _| Ok(job), source, to_row)
    }
}

/// A custom job, with its inputs.
struct Custom<T, F>(Arc<Shared<T, F>>);

struct Shared<T, F> {
    job: F,
    inputs: Arc<PendingInputs<T>>,
}

impl<T, F, R, V, E> Job for Custom<T, F>
where
    T: Clone + Send + 'static,
    F: Fn(Io, T) -> R + Send + Sync + 'static,
    R: Future<Output = Result<V, E>> + 'static,
    V: Send + 'static,
    E: Into<Error> + 'static,
{
    type Value = Result<V, Error>;
    type Local = Arc<Shared<T, F>>;

    fn local(&self, _: &io::Io) -> Self::Local {
        Arc::clone(&self.0)
    }

    async fn run(
        local: Rc<Self::Local>,
        io: io::Io,
        item: Item,
    ) -> Result<Result<V, Error>, ItemError> {
        let input = local.inputs.get(item.index());
        let value = (local.job)(Io::new(io), input).await;
        Ok(value.map_err(Into::into))
    }

    fn is_failure(value: &Result<V, Error>) -> bool {
        value.is_err()
    }
}
