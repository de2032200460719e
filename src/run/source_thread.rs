//! The thread that reads the input.

use crate::clock;
use crate::lock::lock;
use crate::mill::Mill;
use crate::source::Source;
use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, mpsc};

/// The panic of the source, until the end of the run, which resumes it.
pub(super) type Panic = Mutex<Option<Box<dyn Any + Send>>>;

/// Starts the thread that reads the source, which is sent to it later.
pub(super) fn start_source_thread<S: Source, V: Send + 'static>(
    mill: &Arc<Mill<V>>,
    source_panic: &Arc<Panic>,
) -> io::Result<mpsc::Sender<S>> {
    let (sender, receiver) = mpsc::channel();
    let (mill, source_panic) = (Arc::clone(mill), Arc::clone(source_panic));
    let thread = std::thread::Builder::new().name("ringmill-source".to_owned());
    thread.spawn(move || {
        // No source is sent if no loop can be started.
        let Ok(mut source) = receiver.recv() else {
            return;
        };
        // The source is not used after a panic.
        let read = panic::catch_unwind(AssertUnwindSafe(|| while feed(&mut source, &mill) {}));
        if let Err(panic) = read {
            *lock(&source_panic) = Some(panic);
            // The run must not wait for more items.
            mill.end_input(Ok(()));
        }
    })?;
    Ok(sender)
}

/// Adds the source's next items to the mill. False if there will be no more, or no more will be pulled.
pub(super) fn feed<V>(source: &mut impl Source, mill: &Mill<V>) -> bool {
    match source.next_batch() {
        Ok(Some(batch)) => return mill.add(batch, clock::now()),
        Ok(None) => mill.end_input(Ok(())),
        Err(error) => mill.end_input(Err(error)),
    }
    false
}
