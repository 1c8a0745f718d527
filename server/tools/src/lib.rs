//! Station *tool result*: a call goes in, and what the tool gave comes out.
//!
//! In: a problem's [`Environment`](whetstone_domain::Environment) and the calls that a model makes. Out: a
//! [`ToolResult`](whetstone_domain::ToolResult) for every call. A bad call, a refusal, a timeout is a result that the model
//! sees; only an environment that cannot work is an error, found before any call. One file per kind of tool. Synchronous.
//!
//! What a model writes is hostile and so is what tools answer: sizes, nesting, time and reach are limited here, control
//! characters are taken out of results, and programs are started only where the owner of the machine says so.
//!
//! SQLite comes through `rusqlite`, at the version that shares its C library with sqlx's: only `store` sees sqlx, and a table
//! needs what sqlx does not offer (authorizer, progress handler, limits per connection).

mod cache;
mod calculator;
mod clock;
mod command;
mod definition;
mod error;
mod files;
mod http;
mod mcp;
mod openapi;
mod process;
mod settings;
mod sql_functions;
mod table;
mod toolbox;

pub use cache::StepCache;
pub use calculator::evaluate;
pub use error::ToolError;
pub use process::{kill_group, limited};
pub use settings::Settings;
pub use toolbox::Toolbox;

use whetstone_domain::ToolFailure;

/// What one kind of tool answers: text, or the reason there is none.
type Reply = Result<String, (ToolFailure, String)>;

/// No result, for this reason.
fn refuse<T>(failure: ToolFailure, reason: impl Into<String>) -> Result<T, (ToolFailure, String)> {
    Err((failure, reason.into()))
}
