//! Why an environment cannot work: said to its owner, before any call.

/// A fault of the environment or of the settings, never of a call.
#[derive(Debug, thiserror::Error)]
#[error("tool {tool:?}: {reason}")]
pub struct ToolError {
    /// The tool, as the environment names it.
    pub tool: String,
    /// What is wrong with it, and what to do.
    pub reason: String,
}
