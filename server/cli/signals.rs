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
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                while wait().await.is_ok() {
                    if STOP.swap(true, Ordering::Relaxed) {
                        eprintln!("stopped at once; what the last checkpoint holds is safe: whetstone train --resume latest");
                        std::process::exit(KILLED);
                    }
                    eprintln!("stopping after the current group, with a checkpoint; press Ctrl-C again to stop at once");
                }
            });
        })
        .context("cannot listen for signals")?;
    Ok(&STOP)
}

#[cfg(unix)]
async fn wait() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn wait() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
