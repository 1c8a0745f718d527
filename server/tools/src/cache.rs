//! Results of calls that give the same whenever they are made, kept for one step or one evaluation: eight rollouts of one problem
//! often ask the same.
//!
//! In: environment, tool and arguments. Out: what they gave before. Made at the start and dropped at the end.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use whetstone_domain::ToolResult;

/// Results of one step or one evaluation.
#[derive(Debug, Default)]
pub struct StepCache {
    kept: HashMap<(Arc<str>, String, String), ToolResult>,
    /// Calls that were answered from here.
    pub hits: usize,
}

impl StepCache {
    /// The result of a call, from here or from `run`.
    pub(crate) fn get_or(
        &mut self,
        environment: &Arc<str>,
        tool: &str,
        arguments: &Map<String, Value>,
        run: impl FnOnce() -> ToolResult,
    ) -> ToolResult {
        let key = (environment.clone(), tool.to_owned(), canonical(&Value::Object(arguments.clone())));
        if let Some(known) = self.kept.get(&key) {
            self.hits += 1;
            return known.clone();
        }
        let result = run();
        // what failed may have failed by chance
        if result.failure.is_none() {
            self.kept.insert(key, result.clone());
        }
        result
    }
}

/// One text for all spellings of the same JSON: keys in order, no white space. Callers have bounded the nesting.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(k, _)| *k);
            let entries: Vec<String> = entries.into_iter().map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_matter_and_types_do() {
        assert_eq!(canonical(&json!({"b": [1, {"d": 1, "c": 2}], "a": "x"})), canonical(&json!({"a": "x", "b": [1, {"c": 2, "d": 1}]})));
        assert_ne!(canonical(&json!({"a": "1"})), canonical(&json!({"a": 1})));
        assert_ne!(canonical(&json!({"a": "\",\"b\":\""})), canonical(&json!({"a": "", "b": ""})));
    }
}
