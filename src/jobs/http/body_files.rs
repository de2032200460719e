//! Files for bodies that are too long for memory. A thread writes them, because a disk may take its time.

use crate::lock::lock;
use std::fs::{OpenOptions, Permissions};
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use tempfile::{Builder, NamedTempFile, TempPath};

/// What their names begin with.
const PREFIX: &str = ".ringmill-";

/// Writes bodies to files in a directory. At most one of them is open at a time.
#[derive(Debug)]
pub struct BodyFiles {
    dir: PathBuf,
    mode: u32,
    /// Started for the first file; `None` if that is not possible.
    writer: OnceLock<Option<Writer>>,
}

/// The thread.
#[derive(Debug)]
struct Writer {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

/// A body in a file, which is deleted with this value.
#[derive(Debug)]
pub struct BodyFile {
    files: Arc<BodyFiles>,
    /// `None` before the file is created, and while the thread has it.
    path: Option<TempPath>,
}

/// What the thread is to do.
#[derive(Debug)]
enum Order {
    /// Append to a file, or to a new one.
    Append {
        path: Option<TempPath>,
        bytes: Vec<u8>,
        answer: Answer,
    },
    Delete(TempPath),
}

/// The result of an order, for the item that gave it. Without a result, it was not carried out.
#[derive(Debug)]
struct Answer(Arc<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    result: Option<io::Result<TempPath>>,
    is_ended: bool,
    waker: Option<Waker>,
}

/// Creates a file with a name of its own. `mode` is its permissions, without those in the umask.
///
/// # Errors
/// If it cannot be created.
pub fn create(dir: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    let builder = builder.prefix(PREFIX);
    builder
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dir)
}

impl BodyFiles {
    /// Files in this directory with these permissions, without those in the umask.
    #[must_use]
    pub fn new(dir: &Path, mode: u32) -> Self {
        Self {
            dir: dir.to_owned(),
            mode,
            writer: OnceLock::new(),
        }
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives an order to the thread. If there is none, it is carried out at once. If it has ended, the order is
    /// dropped, which is its answer.
    fn give(&self, order: Order) {
        match self.writer.get_or_init(|| self.start()) {
            Some(writer) => drop(writer.orders.send(order)),
            None => order.carry_out(&self.dir, self.mode),
        }
    }

    fn start(&self) -> Option<Writer> {
        let (orders, received) = mpsc::channel::<Order>();
        let (dir, mode) = (self.dir.clone(), self.mode);
        let thread = thread::Builder::new().name("ringmill-bodies".to_owned());
        let thread = thread.spawn(move || {
            received
                .into_iter()
                .for_each(|order| order.carry_out(&dir, mode));
        });
        let thread = thread.ok()?;
        Some(Writer { orders, thread })
    }
}

impl Drop for BodyFiles {
    /// Waits until all files that are not wanted any more are deleted.
    fn drop(&mut self) {
        if let Some(Some(Writer { orders, thread })) = self.writer.take() {
            drop(orders);
            let _ = thread.join();
        }
    }
}

impl Order {
    fn carry_out(self, dir: &Path, mode: u32) {
        match self {
            Self::Append {
                path,
                bytes,
                answer,
            } => answer.give(append(dir, mode, path, &bytes)),
            Self::Delete(path) => drop(path),
        }
    }
}

fn append(dir: &Path, mode: u32, path: Option<TempPath>, bytes: &[u8]) -> io::Result<TempPath> {
    let Some(path) = path else {
        let mut file = create(dir, mode)?;
        // Not `NamedTempFile::write_all`, whose errors repeat the path.
        file.as_file_mut().write_all(bytes)?;
        return Ok(file.into_temp_path());
    };
    let mut file = OpenOptions::new().append(true).open(&path)?;
    file.write_all(bytes)?;
    Ok(path)
}

impl BodyFile {
    /// A body without bytes so far, and without a file.
    pub(super) fn new(files: &Arc<BodyFiles>) -> Self {
        Self {
            files: Arc::clone(files),
            path: None,
        }
    }

    /// Appends bytes. After a failure there is no file.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let slot = Arc::<Mutex<Slot>>::default();
        self.files.give(Order::Append {
            path: self.path.take(),
            bytes,
            answer: Answer(Arc::clone(&slot)),
        });
        self.path = Some(poll_fn(|context| poll_slot(&slot, context)).await?);
        Ok(())
    }

    /// The file.
    ///
    /// # Panics
    /// If nothing was appended, or the last bytes were not.
    #[must_use]
    pub fn into_path(mut self) -> TempPath {
        self.path.take().expect("the body is in a file")
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            self.files.give(Order::Delete(path));
        }
    }
}

fn poll_slot(slot: &Mutex<Slot>, context: &mut Context<'_>) -> Poll<io::Result<TempPath>> {
    let mut slot = lock(slot);
    match slot.result.take() {
        Some(result) => Poll::Ready(result),
        None if slot.is_ended => {
            let reason = "the thread that writes bodies has ended";
            Poll::Ready(Err(io::Error::other(reason)))
        }
        None => {
            slot.waker = Some(context.waker().clone());
            Poll::Pending
        }
    }
}

impl Answer {
    fn give(self, result: io::Result<TempPath>) {
        lock(&self.0).result = Some(result);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.is_ended = true;
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::pin::pin;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    fn count(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_file_has_all_that_was_appended() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(BodyFiles::new(dir.path(), 0o640));
        let mut bodies = [BodyFile::new(&files), BodyFile::new(&files)];
        for part in ["one", "", "two", "three"] {
            for body in &mut bodies {
                wait(body.append(part.into())).unwrap();
            }
        }
        assert_eq!(count(dir.path()), 2);
        let [kept, dropped] = bodies;
        let path = kept.into_path();
        assert_eq!(fs::read(&path).unwrap(), b"onetwothree");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        drop((dropped, files));
        assert_eq!(count(dir.path()), 1, "the other one is deleted");
        drop(path);
        assert_eq!(count(dir.path()), 0);
    }

    #[test]
    fn an_item_may_be_dropped_while_its_body_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(BodyFiles::new(dir.path(), 0o600));
        for _ in 0..100 {
            let mut body = BodyFile::new(&files);
            let mut append = pin!(body.append(vec![0; 100_000]));
            let _ = append
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        drop(files);
        assert_eq!(count(dir.path()), 0);
    }

    #[test]
    fn a_file_that_cannot_be_created_or_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(BodyFiles::new(&dir.path().join("missing"), 0o600));
        let error = wait(BodyFile::new(&files).append(b"x".into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let files = Arc::new(BodyFiles::new(dir.path(), 0o600));
        let mut body = BodyFile::new(&files);
        wait(body.append(b"x".into())).unwrap();
        fs::remove_file(body.path.as_ref().unwrap()).unwrap();
        let error = wait(body.append(b"x".into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn without_a_thread() {
        let dir = tempfile::tempdir().unwrap();
        let files = BodyFiles::new(dir.path(), 0o600);
        files.writer.set(None).unwrap();
        let mut body = BodyFile::new(&Arc::new(files));
        wait(body.append(b"one".into())).unwrap();
        wait(body.append(b"two".into())).unwrap();
        assert_eq!(fs::read(body.path.as_ref().unwrap()).unwrap(), b"onetwo");
        drop(body);
        assert_eq!(count(dir.path()), 0);
    }

    /// The thread ends only with the files, so this takes their place.
    #[test]
    fn an_order_that_nobody_carries_out_fails() {
        let (orders, received) = mpsc::channel();
        drop(received);
        let files = BodyFiles::new(Path::new(""), 0o600);
        let thread = thread::spawn(|| {});
        files.writer.set(Some(Writer { orders, thread })).unwrap();
        let mut body = BodyFile::new(&Arc::new(files));
        assert!(wait(body.append(b"x".into())).is_err());
    }
}
