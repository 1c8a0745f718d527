//! Rebuilds the crate when a migration is added: the macro that embeds them does not watch the folder.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
