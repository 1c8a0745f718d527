//! The thread between a worker's loop and its rows, so that a step does not wait for the disk.
//!
//! In: events through a channel of bounded length. Out: one transaction each, in order, and a heartbeat while nothing comes. When
//! storing fails the thread ends, and whoever sends next is told why: an event is stored or its loss is an error.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use whetstone_domain::Event;

use crate::{BlockingStore, RunId, StoreError};

/// Events that may wait. A step's is megabytes at most; a loop that is so far ahead of its disk should wait for it.
const WAITING: usize = 8;
/// Between signs of life while no event comes.
const HEARTBEAT: Duration = Duration::from_secs(2);

enum Message {
    Event(Box<Event>),
    /// Answered when everything before it is stored.
    Flush(SyncSender<()>),
}

/// How the thread stands.
enum Thread {
    Running(JoinHandle<Result<(), StoreError>>),
    Ended(String),
}

/// Sends a run's events to the thread that stores them. Dropped without [`EventWriter::finish`], it still stores what is waiting;
/// an error is then logged.
pub struct EventWriter {
    /// None only while it ends.
    sender: Option<SyncSender<Message>>,
    thread: Mutex<Thread>,
}

impl EventWriter {
    /// Opens the store of `data_dir` and starts the thread for `run`.
    pub fn start(data_dir: &Path, run: RunId) -> Result<Self, StoreError> {
        Self::over(BlockingStore::open(data_dir)?, run)
    }

    /// Starts the thread over an open store.
    pub(crate) fn over(store: BlockingStore, run: RunId) -> Result<Self, StoreError> {
        let (sender, receiver) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("event-writer".into())
            .spawn(move || serve(&store, run, &receiver))
            .map_err(|e| StoreError::WriterStopped { reason: format!("the system gives no thread: {e}") })?;
        Ok(Self { sender: Some(sender), thread: Mutex::new(Thread::Running(thread)) })
    }

    /// Hands an event over, waiting while too many are on their way. An error says why the thread ended; this event and those
    /// still waiting then are not stored.
    pub fn send(&self, event: Event) -> Result<(), StoreError> {
        self.pass(Message::Event(Box::new(event)))
    }

    /// Returns when every event sent before is stored.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (done, wait) = sync_channel(1);
        self.pass(Message::Flush(done))?;
        wait.recv().map_err(|_| self.why())
    }

    /// Stores what is still waiting and ends the thread.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn pass(&self, message: Message) -> Result<(), StoreError> {
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(message).is_ok());
        if sent { Ok(()) } else { Err(self.why()) }
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.sender = None;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(thread, Thread::Ended("the writer was ended".into())) {
            Thread::Running(handle) => join(handle),
            Thread::Ended(reason) => Err(StoreError::WriterStopped { reason }),
        }
    }

    /// The error that ended the thread: the error itself the first time, its text afterwards.
    fn why(&self) -> StoreError {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *thread, Thread::Ended(String::new())) {
            Thread::Running(handle) => {
                let error = join(handle).err().unwrap_or_else(|| StoreError::WriterStopped { reason: "the writer ended".into() });
                *thread = Thread::Ended(error.to_string());
                error
            }
            Thread::Ended(reason) => {
                *thread = Thread::Ended(reason.clone());
                StoreError::WriterStopped { reason }
            }
        }
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        if self.sender.is_some()
            && let Err(e) = self.end()
        {
            tracing::error!(error = %e, "events of a run are lost");
        }
    }
}

fn join(handle: JoinHandle<Result<(), StoreError>>) -> Result<(), StoreError> {
    handle.join().unwrap_or_else(|_| Err(StoreError::WriterStopped { reason: "the writer panicked; see the log".into() }))
}

fn serve(store: &BlockingStore, run: RunId, receiver: &Receiver<Message>) -> Result<(), StoreError> {
    loop {
        match receiver.recv_timeout(HEARTBEAT) {
            Ok(Message::Event(event)) => store.record(run, &event)?,
            // nobody waits any more when this fails
            Ok(Message::Flush(done)) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => match store.heartbeat(run) {
                // the next one may come through, and an event would wait for the lock anyway
                Err(e @ StoreError::Busy { .. }) => tracing::warn!(error = %e, "no heartbeat"),
                other => other?,
            },
            Err(RecvTimeoutError::Disconnected) => {
                store.close();
                return Ok(());
            }
        }
    }
}
