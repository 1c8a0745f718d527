//! Kind *http*: the operations of an OpenAPI document, asked of the server that it names.
//!
//! In: arguments. Out: the body of a 2xx answer, or its status. Only this machine and hosts that the settings list are spoken
//! to; redirects are never followed, because they could lead elsewhere; time and length of an answer are limited.

use serde_json::{Map, Value};
use ureq::http::{Request, Uri};
use ureq::{Agent, Error};
use whetstone_domain::{Tool, ToolFailure};

use crate::openapi::{self, Operation, Place};
use crate::settings::Settings;
use crate::{Reply, refuse};

/// Of an error's body so many characters are shown.
const SHOWN_OF_ERROR: usize = 400;

pub(crate) struct Api {
    base: String,
    operations: Vec<Operation>,
    agent: Agent,
    most_read: usize,
}

impl Api {
    /// Reads the document; the reason where it cannot be used.
    pub(crate) fn new(document: &Value, server: Option<&str>, allowed: Option<&[String]>, settings: &Settings) -> Result<Self, String> {
        let base = server.or_else(|| openapi::server(document)).ok_or("the OpenAPI document names no server; give \"server\"")?;
        let base = base.trim_end_matches('/').to_owned();
        check_host(&base, settings)?;
        let mut operations = openapi::operations(document)?;
        if let Some(allowed) = allowed {
            if let Some(unknown) = allowed.iter().find(|name| operations.iter().all(|o| o.name != **name)) {
                return Err(format!("the OpenAPI document has no operation {unknown:?}"));
            }
            operations.retain(|o| allowed.contains(&o.name));
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self { base, operations, agent, most_read: settings.most_read })
    }

    /// The tools as a prompt lists them.
    pub(crate) fn define(&self, name: &str) -> Vec<Tool> {
        self.operations.iter().map(|o| Tool { name: format!("{name}.{}", o.name), ..o.tool.clone() }).collect()
    }

    /// Nothing that is offered changes what is there.
    pub(crate) fn only_reads(&self) -> bool {
        self.operations.iter().all(|o| o.method == "GET")
    }

    /// Answers a call of one operation.
    pub(crate) fn call(&self, tool: &str, arguments: &Map<String, Value>) -> Reply {
        let Some(operation) = self.operations.iter().find(|o| o.name == tool) else {
            return refuse(ToolFailure::UnknownTool, format!("there is no operation {tool:?}"));
        };
        let (uri, body) = request(&self.base, operation, arguments).or_else(|reason| refuse(ToolFailure::BadArguments, reason))?;
        let builder = Request::builder().method(operation.method.as_str()).uri(uri).header("accept", "application/json, text/*");
        let answer = match body {
            Some(body) => match builder.header("content-type", "application/json").body(body.to_string()) {
                Ok(request) => self.agent.run(request),
                Err(e) => return refuse(ToolFailure::BadArguments, e.to_string()),
            },
            None => match builder.body(()) {
                Ok(request) => self.agent.run(request),
                Err(e) => return refuse(ToolFailure::BadArguments, e.to_string()),
            },
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.explain(error),
        };
        let status = answer.status();
        if status.is_redirection() {
            return refuse(ToolFailure::Forbidden, format!("the server answers {} and redirects, which is not followed", status.as_u16()));
        }
        let bytes = match answer.body_mut().with_config().limit(self.most_read as u64).read_to_vec() {
            Ok(bytes) => bytes,
            Err(error) => return self.explain(error),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() {
            return Ok(if text.is_empty() { format!("done ({})", status.as_u16()) } else { text });
        }
        let shown: String = text.chars().take(SHOWN_OF_ERROR).collect();
        refuse(ToolFailure::Failed, format!("the server answers {}{}{shown}", status.as_u16(), if shown.is_empty() { "" } else { ": " }))
    }

    fn explain(&self, error: Error) -> Reply {
        match error {
            Error::Timeout(_) => refuse(ToolFailure::Timeout, "the server took too long"),
            Error::BodyExceedsLimit(_) => refuse(ToolFailure::TooLarge, format!("the answer is longer than {} bytes", self.most_read)),
            Error::Io(e) if e.kind() == std::io::ErrorKind::TimedOut => refuse(ToolFailure::Timeout, "the server took too long"),
            other => refuse(ToolFailure::Failed, format!("the server cannot be asked: {other}")),
        }
    }
}

/// Only this machine, or a host that the settings list.
fn check_host(base: &str, settings: &Settings) -> Result<(), String> {
    let uri: Uri = base.parse().map_err(|e| format!("{base:?} is no URL: {e}"))?;
    let authority = uri.authority().ok_or_else(|| format!("{base:?} names no host"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("{base:?} is neither http nor https"));
    }
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(format!("{base:?} must hold neither a user nor a query"));
    }
    let host = authority.host();
    let bare = host.trim_matches(['[', ']']);
    let loopback = host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let listed = settings.hosts.iter().any(|h| h.eq_ignore_ascii_case(host) || h.eq_ignore_ascii_case(authority.as_str()));
    match loopback || listed {
        true => Ok(()),
        false => Err(format!("{host:?} is neither this machine nor among the allowed hosts")),
    }
}

/// URL and JSON body of a call.
fn request(base: &str, operation: &Operation, arguments: &Map<String, Value>) -> Result<(String, Option<Value>), String> {
    let (mut path, mut query, mut body) = (operation.path.clone(), Vec::new(), None);
    if let Some(unknown) = arguments.keys().find(|k| operation.places.iter().all(|(name, _)| name != *k)) {
        return Err(format!("argument {unknown:?} is unknown"));
    }
    for (name, place) in &operation.places {
        let value = arguments.get(name);
        match (place, value) {
            (Place::Path, None) => return Err(format!("argument {name:?} is missing")),
            (Place::Path, Some(value)) => {
                let text = plain(name, value)?;
                // servers resolve dots in a path, encoded ones too
                if text.is_empty() || text == "." || text == ".." {
                    return Err(format!("argument {name:?} must not be {text:?}"));
                }
                path = path.replace(&format!("{{{name}}}"), &encode(&text));
            }
            (_, None) => {}
            (Place::Query, Some(Value::Array(items))) => {
                for item in items {
                    query.push(format!("{}={}", encode(name), encode(&plain(name, item)?)));
                }
            }
            (Place::Query, Some(value)) => query.push(format!("{}={}", encode(name), encode(&plain(name, value)?))),
            (Place::WholeBody, Some(value)) => body = Some(value.clone()),
            (Place::Body, Some(value)) => {
                if let Value::Object(map) = body.get_or_insert_with(|| Value::Object(Map::new())) {
                    map.insert(name.clone(), value.clone());
                }
            }
        }
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    Ok((format!("{base}{path}{query}"), body))
}

fn plain(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(format!("argument {name:?} must be a text, a number or true or false")),
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_listed_hosts_are_spoken_to() {
        let settings = Settings { hosts: vec!["api.example.org".into(), "other.example:8080".into()], ..Settings::default() };
        for good in
            ["http://127.0.0.1:80", "http://[::1]:9/x", "http://localhost:4", "https://API.example.org/v1", "http://other.example:8080"]
        {
            assert_eq!(check_host(good, &settings), Ok(()), "{good}");
        }
        for bad in [
            "http://example.org",
            "http://169.254.1.1",
            "http://127.0.0.1.example.org",
            "http://127.0.0.1@example.org",
            "http://other.example:81",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "/relative",
            "http://127.0.0.1/?a=",
        ] {
            assert!(check_host(bad, &settings).is_err(), "{bad}");
        }
    }
}
