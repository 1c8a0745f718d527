//! The tools of one problem, ready to run. In: its environment and the tools it offers. Out: a result for every call.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use whetstone_domain::{Environment, Runnable, Tool, ToolCall, ToolFailure, ToolResult};
use whetstone_tooluse::schema;

use crate::cache::StepCache;
use crate::clock::Clock;
use crate::command::Program;
use crate::error::ToolError;
use crate::files::Folder;
use crate::http::Api;
use crate::mcp::Server;
use crate::settings::Settings;
use crate::table::Database;
use crate::{Reply, calculator, refuse};

/// Deeper arguments are refused.
const DEEPEST: usize = 32;
/// Longer arguments are refused, bytes of JSON.
const LONGEST_ARGUMENTS: usize = 256 << 10;
/// Of a tool's name so much is repeated to the model.
const SHOWN_OF_NAME: usize = 64;

enum Source {
    Calculator,
    Clock(Clock),
    Table(Box<Database>),
    Files(Folder),
    Http(Api),
    Mcp(Box<Server>),
    Command(Program),
}

struct Served {
    /// Name of the environment's entry.
    source: String,
    /// Name within it, for kinds with several tools.
    own: String,
    tool: Tool,
}

/// The tools of one rollout: files written here are seen by no other.
pub struct Toolbox {
    environment: Arc<str>,
    settings: Settings,
    sources: BTreeMap<String, Source>,
    served: BTreeMap<String, Served>,
    /// Nothing here may change a server or a file of this machine.
    settled: bool,
}

impl Toolbox {
    /// Makes databases and folders, starts servers. `offered` are the problem's tools: each must run, no other can be called,
    /// and arguments must keep to their schemas; with none, all that the environment serves are offered.
    ///
    /// # Errors
    /// What the environment lacks or may not do, and which tool it is about.
    pub fn new(environment: &Environment, offered: &[Tool], settings: &Settings) -> Result<Self, ToolError> {
        let (mut sources, mut served) = (BTreeMap::new(), BTreeMap::new());
        for (name, runnable) in &environment.tools {
            let source =
                source(runnable, environment.now.as_deref(), settings).map_err(|reason| ToolError { tool: name.clone(), reason })?;
            for tool in source.define(name) {
                let own = tool.name.strip_prefix(&format!("{name}.")).unwrap_or_default().to_owned();
                let entry = Served { source: name.clone(), own, tool };
                if let Some(twin) = served.insert(entry.tool.name.clone(), entry) {
                    return Err(ToolError { tool: twin.tool.name, reason: "is served twice".into() });
                }
            }
            sources.insert(name.clone(), source);
        }
        if !offered.is_empty() {
            let mut chosen = BTreeMap::new();
            for tool in offered {
                let unserved =
                    || ToolError { tool: tool.name.clone(), reason: "is offered, but nothing in the environment runs it".into() };
                let entry = served.remove(&tool.name).ok_or_else(unserved)?;
                chosen.insert(tool.name.clone(), Served { tool: tool.clone(), ..entry });
            }
            served = chosen;
        }
        let environment = serde_json::to_string(environment)
            .map_err(|e| ToolError { tool: String::new(), reason: format!("the environment cannot be written: {e}") })?;
        let settled = !sources.values().any(Source::may_change);
        Ok(Self { environment: environment.into(), settings: settings.clone(), sources, served, settled })
    }

    /// The tools that can be called, as a prompt lists them.
    pub fn tools(&self) -> Vec<Tool> {
        self.served.values().map(|s| s.tool.clone()).collect()
    }

    /// Runs a call, or takes its result from the step's cache where it would be the same.
    pub fn call(&self, call: &ToolCall, cache: &mut StepCache) -> ToolResult {
        let shown: String = call.name.chars().take(SHOWN_OF_NAME).collect();
        let Some(served) = self.served.get(&call.name) else {
            return self.shown(refuse(ToolFailure::UnknownTool, format!("there is no tool {shown:?}")));
        };
        let Some(source) = self.sources.get(&served.source) else {
            return self.shown(refuse(ToolFailure::UnknownTool, format!("there is no tool {shown:?}")));
        };
        if let Err(reason) = bounded(call) {
            return self.shown(refuse(ToolFailure::BadArguments, reason));
        }
        if let Err(reason) = schema::check(&served.tool, call) {
            return self.shown(refuse(ToolFailure::BadArguments, reason));
        }
        let run = || self.shown(source.call(&served.own, call, &self.settings));
        match source.repeatable(self.settled) {
            true => cache.get_or(&self.environment, &call.name, &call.arguments, run),
            false => run(),
        }
    }

    /// As the model sees it: without control characters, cut to the longest length, with a note.
    fn shown(&self, reply: Reply) -> ToolResult {
        let result = match reply {
            Ok(text) => ToolResult::ok(text),
            Err((failure, reason)) => ToolResult::failed(failure, reason),
        };
        let clean = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        let mut text: String = result.text.replace("\r\n", "\n").chars().map(clean).take(self.settings.longest_result + 1).collect();
        if let Some((at, _)) = text.char_indices().nth(self.settings.longest_result) {
            text.truncate(at);
            let all = result.text.chars().count();
            text.push_str(&format!("\n[cut: {} of {all} characters are shown]", self.settings.longest_result));
        }
        ToolResult { text, ..result }
    }
}

fn source(runnable: &Runnable, now: Option<&str>, settings: &Settings) -> Result<Source, String> {
    let permitted = |what: &str| {
        let launcher = settings.programs.as_deref();
        launcher.ok_or_else(|| format!("{what}, which needs the permission to start programs and read files"))
    };
    Ok(match runnable {
        Runnable::Calculator {} => Source::Calculator,
        Runnable::Clock { operation } => Source::Clock(Clock::new(*operation, now)?),
        Runnable::Table { sql_setup, database, query } => {
            if database.is_some() {
                permitted("it reads a database file")?;
            }
            Source::Table(Box::new(Database::new(sql_setup, database.as_deref(), query.as_deref(), now, settings)?))
        }
        Runnable::Files { files } => Source::Files(Folder::new(files)?),
        Runnable::Http { openapi, server, operations } => {
            Source::Http(Api::new(openapi, server.as_deref(), operations.as_deref(), settings)?)
        }
        Runnable::Mcp { command } => {
            let launcher = permitted("it starts a program")?;
            Source::Mcp(Box::new(Server::new(command, launcher, settings)?))
        }
        Runnable::Command { command } => {
            let launcher = permitted("it starts a program")?;
            Source::Command(Program::new(command, launcher)?)
        }
    })
}

impl Source {
    fn define(&self, name: &str) -> Vec<Tool> {
        match self {
            Self::Calculator => vec![calculator::define(name)],
            Self::Clock(clock) => vec![clock.define(name)],
            Self::Table(database) => vec![database.define(name)],
            Self::Files(_) => Folder::define(name),
            Self::Http(api) => api.define(name),
            Self::Mcp(server) => server.define(name),
            Self::Command(program) => vec![program.define(name)],
        }
    }

    /// May change what another tool reads: a server, or a file of this machine.
    fn may_change(&self) -> bool {
        match self {
            Self::Mcp(_) | Self::Command(_) => true,
            Self::Http(api) => !api.only_reads(),
            Self::Calculator | Self::Clock(_) | Self::Table(_) | Self::Files(_) => false,
        }
    }

    /// Gives the same to the same arguments, and changes nothing. `settled`: nor does any other tool of the environment.
    fn repeatable(&self, settled: bool) -> bool {
        match self {
            Self::Calculator => true,
            Self::Table(database) => settled || !database.is_file(),
            Self::Clock(clock) => clock.repeatable(),
            Self::Http(_) => settled,
            Self::Files(_) | Self::Mcp(_) | Self::Command(_) => false,
        }
    }

    fn call(&self, own: &str, call: &ToolCall, settings: &Settings) -> Reply {
        let arguments = &call.arguments;
        match self {
            Self::Calculator => calculator::call(arguments),
            Self::Clock(clock) => clock.call(arguments),
            Self::Table(database) => database.call(arguments, settings),
            Self::Files(folder) => folder.call(own, arguments),
            Self::Http(api) => api.call(own, arguments),
            Self::Mcp(server) => server.call(own, arguments, settings),
            Self::Command(program) => program.call(arguments, settings),
        }
    }
}

/// Arguments that no tool has to fear.
fn bounded(call: &ToolCall) -> Result<(), String> {
    fn deeper(value: &Value, depth: usize) -> bool {
        match value {
            Value::Array(items) => depth >= DEEPEST || items.iter().any(|v| deeper(v, depth + 1)),
            Value::Object(map) => depth >= DEEPEST || map.values().any(|v| deeper(v, depth + 1)),
            _ => false,
        }
    }
    if call.arguments.values().any(|v| deeper(v, 1)) {
        return Err(format!("the arguments are nested deeper than {DEEPEST} levels"));
    }
    let length = serde_json::to_string(&call.arguments).map_or(usize::MAX, |text| text.len());
    match length <= LONGEST_ARGUMENTS {
        true => Ok(()),
        false => Err(format!("the arguments are {length} bytes long; at most {LONGEST_ARGUMENTS} are taken")),
    }
}
