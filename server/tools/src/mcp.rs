//! Kind *mcp*: the tools of an MCP server that is started here and spoken to on its stdin and stdout.
//!
//! In: calls. Out: the text of the server's answer; its `isError` is a result like any other. What it writes is limited from one
//! call to the next; one that writes more is ended. `rmcp` is asynchronous: a small runtime of this module's own, driven by the
//! thread that calls, keeps that inside. Dropped, it ends the server.

use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rmcp::model::CallToolRequestParams;
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceError, ServiceExt};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{Child, ChildStdout, Command};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use whetstone_domain::{Tool, ToolFailure};

use crate::process::{NOT_STARTED, Startable, kill_group};
use crate::settings::Settings;
use crate::{Reply, refuse};

/// A server may take so many times as long to start as a call.
const START: u32 = 4;
/// How long a server that does not answer is given to end by itself, so that it can be told how it did.
const ENDING: Duration = Duration::from_millis(500);
/// How long a server that was ended is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) struct Server {
    runtime: Runtime,
    client: Option<RunningService<RoleClient, ()>>,
    tools: Vec<Tool>,
    left: Left,
    child: Child,
    pid: u32,
    _program: Startable,
}

impl Server {
    /// Starts the server and asks for its tools; the reason where that fails.
    pub(crate) fn new(command: &[String], launcher: &Path, settings: &Settings) -> Result<Self, String> {
        let Some((program, arguments)) = command.split_first() else { return Err("its command is empty".into()) };
        let program = Startable::new(program, launcher)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start a runtime: {e}"))?;
        let left = Left::default();
        let (client, tools, child, pid) = runtime.block_on(async {
            let mut command = Command::from(program.command(arguments, settings, None));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
            let mut child = command.spawn().map_err(|e| format!("the server cannot be started: {e}"))?;
            let pid = child.id().ok_or("the server ended at once")?;
            match begin(&mut child, &left, settings).await {
                Ok((client, tools)) => Ok((client, tools, child, pid)),
                Err(reason) => {
                    let ended = timeout(ENDING, child.wait()).await;
                    kill_group(pid);
                    match ended {
                        Ok(Ok(status)) if status.code() == Some(NOT_STARTED.into()) => Err("the server's file cannot be executed".into()),
                        _ => Err(reason),
                    }
                }
            }
        })?;
        Ok(Self { runtime, client: Some(client), tools, left, child, pid, _program: program })
    }

    /// The tools as a prompt lists them.
    pub(crate) fn define(&self, name: &str) -> Vec<Tool> {
        self.tools.iter().map(|tool| Tool { name: format!("{name}.{}", tool.name), ..tool.clone() }).collect()
    }

    /// Answers a call.
    pub(crate) fn call(&self, tool: &str, arguments: &Map<String, Value>, settings: &Settings) -> Reply {
        let Some(client) = &self.client else { return refuse(ToolFailure::Failed, "the server has ended") };
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments.clone());
        self.left.grant(settings.most_read);
        let answer = self.runtime.block_on(async { timeout(settings.timeout, client.call_tool(request)).await });
        if self.left.is_spent() {
            kill_group(self.pid);
            return refuse(ToolFailure::TooLarge, too_much(settings));
        }
        let answer = match answer {
            Err(_) => return refuse(ToolFailure::Timeout, format!("the tool took longer than {:?}", settings.timeout)),
            Ok(Err(ServiceError::TransportClosed | ServiceError::TransportSend(_))) => {
                return refuse(ToolFailure::Failed, "the server has ended");
            }
            Ok(Err(error)) => return refuse(ToolFailure::Failed, error.to_string()),
            Ok(Ok(answer)) => answer,
        };
        let mut parts: Vec<String> = Vec::new();
        for block in &answer.content {
            parts.push(block.as_text().map_or_else(|| "(content that is no text)".to_owned(), |text| text.text.clone()));
        }
        if let (true, Some(structured)) = (parts.is_empty(), &answer.structured_content) {
            parts.push(structured.to_string());
        }
        let text = parts.join("\n");
        match answer.is_error {
            Some(true) => refuse(ToolFailure::Failed, text),
            _ => Ok(text),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_group(self.pid);
        let client = self.client.take();
        let farewell = async {
            if let Some(client) = client {
                let _ = client.cancel().await;
            }
            // so that no dead process is left in the table
            let _ = self.child.wait().await;
        };
        let _ = self.runtime.block_on(async { timeout(FAREWELL, farewell).await });
    }
}

/// Greets a server that has just been started, and asks for its tools.
async fn begin(child: &mut Child, left: &Left, settings: &Settings) -> Result<(RunningService<RoleClient, ()>, Vec<Tool>), String> {
    let (Some(stdin), Some(pipe)) = (child.stdin.take(), child.stdout.take()) else { return Err("the server has no pipes".into()) };
    left.grant(settings.most_read);
    let stdout = Stdout { pipe, left: left.clone() };
    let started = async {
        let client = ().serve((stdout, stdin)).await.map_err(|e| format!("the server does not speak MCP: {e}"))?;
        let tools = client.list_all_tools().await.map_err(|e| format!("the server does not list its tools: {e}"))?;
        Ok((client, tools))
    };
    let patience = settings.timeout * START;
    let started = timeout(patience, started).await.unwrap_or_else(|_| Err(format!("the server was not ready after {patience:?}")));
    let (client, tools) = started.map_err(|reason| if left.is_spent() { too_much(settings) } else { reason })?;
    let tools = tools.into_iter().map(|tool| Tool {
        name: tool.name.into_owned(),
        description: tool.description.map(|text| text.into_owned()).unwrap_or_default(),
        parameters: Value::Object(tool.input_schema.as_ref().clone()),
    });
    Ok((client, tools.collect()))
}

fn too_much(settings: &Settings) -> String {
    format!("the server wrote more than {} bytes and was ended", settings.most_read)
}

/// How many bytes a server may write until it is asked again; at 0 it has written too much.
#[derive(Clone, Default)]
struct Left(Arc<AtomicUsize>);

impl Left {
    fn grant(&self, most: usize) {
        self.0.store(most.saturating_add(1), Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// What a server writes. All of it counts, not one message at a time: small ones without end would fill memory as well.
struct Stdout {
    pipe: ChildStdout,
    left: Left,
}

impl AsyncRead for Stdout {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(context, buffer))?;
        let left = self.left.0.load(Ordering::Relaxed).saturating_sub(buffer.filled().len() - before);
        self.left.0.store(left, Ordering::Relaxed);
        Poll::Ready(if left == 0 { Err(std::io::Error::other("the server wrote too much")) } else { Ok(()) })
    }
}
