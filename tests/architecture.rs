//! Who may import whom: the crate graph of the house, asserted on what cargo knows.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Allowed edges between our crates (dependencies of every kind), by short name.
const EDGES: [(&str, &[&str]); 9] = [
    ("whetstone", &["domain", "model", "store", "tooluse", "train", "web"]),
    ("domain", &[]),
    ("tooluse", &["domain"]),
    ("tools", &["domain", "tooluse"]),
    ("kernels", &[]),
    ("model", &["domain", "kernels"]),
    ("train", &["domain", "kernels", "model", "store", "tooluse", "tools"]),
    ("store", &["domain"]),
    ("web", &["domain", "store", "tooluse"]),
];

/// Dependencies that only some crates may see.
const RESERVED: [(&str, &[&str]); 9] = [
    ("candle-core", &["kernels", "model", "train"]),
    ("candle-nn", &["kernels", "model", "train"]),
    ("candle-transformers", &["model"]),
    ("sqlx", &["store"]),
    ("rusqlite", &["tools"]),
    ("rmcp", &["tools"]),
    ("jiff", &["tools"]),
    ("axum", &["web"]),
    ("askama", &["web"]),
];

#[test]
fn crates_import_only_what_the_house_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let short = |name: &str| name.strip_prefix("whetstone-").unwrap_or(name).to_owned();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned());
        graph.insert(short(package["name"].as_str().unwrap()), dependencies.collect());
    }
    let ours: BTreeSet<String> = graph.keys().cloned().collect();
    let listed: BTreeSet<String> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(ours, listed, "a crate came or went: say here whom it may import");
    for (name, allowed) in EDGES {
        for dependency in &graph[name] {
            if dependency.starts_with("whetstone") {
                assert!(allowed.contains(&short(dependency).as_str()), "{name} may not import {dependency}");
            }
        }
    }
    for (dependency, allowed) in RESERVED {
        for (name, dependencies) in &graph {
            assert!(!dependencies.contains(dependency) || allowed.contains(&name.as_str()), "{name} may not see {dependency}");
        }
    }
}
