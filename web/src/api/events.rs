//! Events as they are stored, as a stream that a browser can pick up where it left it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;
use whetstone_store::{EventRow, RunId};

use super::{Query, pairs};
use crate::problem::Problem;
use crate::{App, words};

/// Events read from the store at once.
const BATCH: usize = 1000;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamQuery {
    /// Only those of this run; all when empty.
    run: Option<String>,
    /// Only those after this id; from now on when not given. `Last-Event-ID` wins over it.
    after: Option<i64>,
}

/// Live events
///
/// Server-sent events: `id` rises, `event` is the kind (created, step, evaluation, checkpoint, status, progress, log, rewind, edited,
/// deleted), `data` is JSON with `run`, `at` and what belongs to the kind. `reset`: events are missing, read the state anew.
#[utoipa::path(get, path = "/api/v1/events", params(StreamQuery, ("Last-Event-ID" = Option<i64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn stream(State(app): State<App>, headers: HeaderMap, query: Query<StreamQuery>) -> Result<Response, Problem> {
    let query = pairs(query)?;
    let run = match query.run.as_deref() {
        None | Some("") => None,
        Some(id) => Some(app.run(id).await?.id),
    };
    let bad = || Problem::bad_request("An event id is a number, 0 or more.");
    let after = match headers.get("last-event-id") {
        Some(id) => Some(id.to_str().ok().and_then(|t| t.parse().ok()).ok_or_else(bad)?),
        None => query.after,
    };
    if after.is_some_and(|a| a < 0) {
        return Err(bad());
    }
    let live = app.live().subscribe().await; // before the backlog is read: what comes in between is in both, never in none
    let newest = app.store.last_event().await?;
    let mut source =
        Source { run, after: after.unwrap_or(newest), ready: VecDeque::new(), live, caught_up: false, names: BTreeMap::new(), app };
    if source.after > newest {
        // ids of another database, or of a future that was undone
        source.ready.push_back(reset());
        source.after = newest;
    }
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    let mut response = Sse::new(source.stream()).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn reset() -> Event {
    Event::default().event("reset").data("{}")
}

/// Where a stream stands.
struct Source {
    app: App,
    run: Option<RunId>,
    after: i64,
    ready: VecDeque<Event>,
    live: Receiver<Arc<EventRow>>,
    caught_up: bool,
    /// Public ids of runs met so far.
    names: BTreeMap<RunId, String>,
}

impl Source {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        let end = self.app.shutdown.clone();
        stream::unfold((self, false), move |(mut source, begun)| {
            let end = end.clone();
            async move {
                if !begun {
                    let first = Event::default().retry(Duration::from_secs(3)).comment("events follow");
                    return Some((Ok(first), (source, true)));
                }
                tokio::select! {
                    () = end.cancelled() => None,
                    event = source.next() => event.map(|e| (Ok(e), (source, true))),
                }
            }
        })
    }

    /// The next event; none when the store can no longer be read.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if !self.caught_up {
                let rows = match self.app.store.events_after(self.run, self.after, BATCH).await {
                    Ok(rows) => rows,
                    Err(e) => {
                        tracing::warn!(error = %e, "a stream ends");
                        return None;
                    }
                };
                self.caught_up = rows.len() < BATCH;
                for row in rows {
                    self.push(&row).await;
                }
                continue;
            }
            match self.live.recv().await {
                Ok(row) => self.push(&row).await,
                Err(RecvError::Lagged(_)) => {
                    // too slow for the channel: the store has it all
                    self.caught_up = false;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn push(&mut self, row: &EventRow) {
        if row.id <= self.after || (self.run.is_some() && row.run != self.run) {
            return;
        }
        self.after = row.id;
        let mut data = json!({ "run": self.name(row.run).await, "at": words::moment(row.at_ms) });
        if let (Value::Object(data), Value::Object(body)) = (&mut data, &row.body) {
            data.extend(body.clone());
        }
        self.ready.push_back(Event::default().id(row.id.to_string()).event(&row.kind).data(data.to_string()));
    }

    async fn name(&mut self, run: Option<RunId>) -> Option<String> {
        let run = run?;
        if !self.names.contains_key(&run) {
            let name = self.app.store.run_by_id(run).await.ok()?.public_id;
            self.names.insert(run, name);
        }
        self.names.get(&run).cloned()
    }
}
