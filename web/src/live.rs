//! Station *event -> page*: what is stored, told to everybody who watches, in order.
//!
//! In: the event table, written by workers and by this server alike. Out: one bounded channel. Who reads too slowly is told so
//! and starts over from its last id; nothing is kept for anyone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use whetstone_store::{EventRow, Store};

/// Time between looks at the table: an event is on the page well within a second of its commit.
const LOOK: Duration = Duration::from_millis(200);
/// Events that one look may bring.
const BATCH: usize = 1000;
/// Events that a slow reader may lag behind.
const LAG: usize = 4096;

/// The events of all runs from now on.
#[derive(Debug, Clone)]
pub struct Live {
    sender: broadcast::Sender<Arc<EventRow>>,
    begun: watch::Receiver<bool>,
}

impl Live {
    /// Follows the table until `end`.
    pub(crate) fn follow(store: Store, end: CancellationToken) -> Self {
        let (sender, _) = broadcast::channel(LAG);
        let (begin, begun) = watch::channel(false);
        let live = Self { sender: sender.clone(), begun };
        tokio::spawn(async move {
            let work = async {
                let mut after = None;
                loop {
                    match look(&store, &mut after, &sender).await {
                        Ok(more) if more => {}
                        Ok(_) if !*begin.borrow() => {
                            begin.send_replace(true);
                        }
                        Ok(_) => tokio::time::sleep(LOOK).await,
                        Err(e) => {
                            tracing::warn!(error = %e, "events cannot be read; trying again");
                            tokio::time::sleep(10 * LOOK).await;
                        }
                    }
                }
            };
            tokio::select! { () = end.cancelled() => {}, () = work => {} }
        });
        live
    }

    /// Everything that is stored after this call. It waits until the table is followed: what was stored between a reader's look at the
    /// table and the follower's first one would be told to nobody.
    pub async fn subscribe(&self) -> broadcast::Receiver<Arc<EventRow>> {
        // an error says that the follower has ended with the server; the reader's channel says so, too
        let _ = self.begun.clone().wait_for(|b| *b).await;
        self.sender.subscribe()
    }
}

/// Sends what is new; true when there may be more at once.
async fn look(
    store: &Store,
    after: &mut Option<i64>,
    sender: &broadcast::Sender<Arc<EventRow>>,
) -> Result<bool, whetstone_store::StoreError> {
    let Some(id) = *after else {
        *after = Some(store.last_event().await?);
        return Ok(false);
    };
    let rows = store.events_after(None, id, BATCH).await?;
    let full = rows.len() == BATCH;
    for row in rows {
        *after = Some(row.id);
        // nobody listening is no error
        let _ = sender.send(Arc::new(row));
    }
    Ok(full)
}
