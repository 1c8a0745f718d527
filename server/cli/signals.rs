//! Ctrl-C and SIGTERM: the first asks politely, the second ends the process.
//!
//! In: signals. Out: a flag that the worker reads between groups.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// The exit code of a process that a second signal ended.
const KILLED: i32 = 130;

/// Starts listening; the flag turns true with the first signal.
pub fn stop_flag() -> Result<&'static AtomicBool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot listen for signals")?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new().context("cannot listen for signals")?
    };
    let listen = move || {
        runtime.block_on(async {
            loop {
                signals.next().await;
                if STOP.swap(true, Ordering::Relaxed) {
                    eprintln!("stopped at once; what the last checkpoint holds is safe: whetstone train --resume latest");
                    std::process::exit(KILLED);
                }
                eprintln!("stopping: the step in progress is dropped, a checkpoint is written; press Ctrl-C again to stop at once");
            }
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).context("cannot listen for signals")?;
    Ok(&STOP)
}

/// Ends with the first signal; a second one ends the process.
pub async fn first() {
    match Signals::new() {
        Ok(mut signals) => {
            signals.next().await;
            tokio::spawn(async move {
                signals.next().await;
                std::process::exit(KILLED);
            });
        }
        Err(e) => {
            tracing::warn!(error = %e, "signals cannot be heard; end the server by its process id");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
