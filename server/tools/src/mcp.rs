//! Kind *mcp*: the tools of an MCP server that is started here and spoken to on its stdin and stdout.
//!
//! In: calls. Out: the text of the server's answer; its `isError` is a result like any other. `rmcp` is asynchronous: a small
//! runtime of this module's own, driven by the thread that calls, keeps that inside. Dropped, it ends the server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rmcp::model::CallToolRequestParams;
use rmcp::service::RunningService;
use rmcp::transport::TokioChildProcess;
use rmcp::{RoleClient, ServiceError, ServiceExt};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use whetstone_domain::{Tool, ToolFailure};

use crate::settings::Settings;
use crate::{Reply, process, refuse};

/// A server may take so many times as long to start as a call.
const START: u32 = 4;
/// How long a server that was ended is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) struct Server {
    runtime: Runtime,
    client: Option<RunningService<RoleClient, ()>>,
    tools: Vec<Tool>,
    pid: u32,
    _folder: TempDir,
}

impl Server {
    /// Starts the server and asks for its tools; the reason where that fails.
    pub(crate) fn new(command: &[String], settings: &Settings) -> Result<Self, String> {
        let Some((program, arguments)) = command.split_first() else { return Err("its command is empty".into()) };
        let file = process::find(program).ok_or_else(|| format!("there is no program {program:?}; give a path or put it on PATH"))?;
        let folder = TempDir::new().map_err(|e| format!("cannot make a folder to run it in: {e}"))?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start a runtime: {e}"))?;
        let patience = settings.timeout * START;
        let (client, tools, pid) = runtime.block_on(async {
            let (transport, pid) = spawn(&file, arguments, &folder, settings)?;
            let started = async {
                let client = ().serve(transport).await.map_err(|e| format!("the server does not speak MCP: {e}"))?;
                let tools = client.list_all_tools().await.map_err(|e| format!("the server does not list its tools: {e}"))?;
                Ok::<_, String>((client, tools))
            };
            let started = timeout(patience, started).await.unwrap_or_else(|_| Err(format!("the server was not ready after {patience:?}")));
            match started {
                Ok((client, tools)) => Ok((client, tools, pid)),
                Err(reason) => {
                    process::kill_group(pid);
                    Err(reason)
                }
            }
        })?;
        let tools = tools.into_iter().map(|tool| Tool {
            name: tool.name.into_owned(),
            description: tool.description.map(|text| text.into_owned()).unwrap_or_default(),
            parameters: Value::Object(tool.input_schema.as_ref().clone()),
        });
        Ok(Self { tools: tools.collect(), runtime, client: Some(client), pid, _folder: folder })
    }

    /// The tools as a prompt lists them.
    pub(crate) fn define(&self, name: &str) -> Vec<Tool> {
        self.tools.iter().map(|tool| Tool { name: format!("{name}.{}", tool.name), ..tool.clone() }).collect()
    }

    /// Answers a call.
    pub(crate) fn call(&self, tool: &str, arguments: &Map<String, Value>, settings: &Settings) -> Reply {
        let Some(client) = &self.client else { return refuse(ToolFailure::Failed, "the server has ended") };
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments.clone());
        let answer = self.runtime.block_on(async { timeout(settings.timeout, client.call_tool(request)).await });
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
        process::kill_group(self.pid);
        if let Some(client) = self.client.take() {
            // waits for the dead process, so that none is left in the table
            let _ = self.runtime.block_on(async { timeout(FAREWELL, client.cancel()).await });
        }
    }
}

fn spawn(file: &Path, arguments: &[String], folder: &TempDir, settings: &Settings) -> Result<(TokioChildProcess, u32), String> {
    let mut command = tokio::process::Command::from(process::command(file, arguments, folder.path()));
    command.kill_on_drop(true);
    let (transport, _) =
        TokioChildProcess::builder(command).stderr(Stdio::null()).spawn().map_err(|e| format!("the server cannot be started: {e}"))?;
    let pid = transport.id().ok_or("the server ended at once")?;
    if let Err(e) = process::limit(pid, settings, None) {
        process::kill_group(pid);
        return Err(format!("the server cannot be limited: {e}"));
    }
    Ok((transport, pid))
}
