//! Where words go: a bar on a terminal, plain lines otherwise, JSON objects for machines.
//!
//! In: lines, objects, progress. Out: standard output for results, standard error for notes.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use whetstone_model::fetch::Progress;

/// The user's side of a command.
pub struct Ui {
    /// Machines read standard output.
    pub json: bool,
    /// How much is said.
    pub verbose: u8,
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
    stage: Mutex<String>,
}

impl Ui {
    /// For a machine or a person.
    pub fn new(json: bool, verbose: u8) -> Self {
        Self { json, verbose, terminal: std::io::stderr().is_terminal(), bar: Mutex::default(), stage: Mutex::default() }
    }

    /// A result for people: nothing is printed for machines.
    pub fn say(&self, line: &str) {
        if !self.json {
            self.beside_bar(|| println!("{line}"));
        }
    }

    /// A note on the way: standard error, whoever listens.
    pub fn note(&self, line: &str) {
        self.beside_bar(|| eprintln!("{line}"));
    }

    /// A note that only `-v` shows.
    pub fn detail(&self, line: &str) {
        if self.verbose > 0 {
            self.note(line);
        }
    }

    /// A result for machines: nothing is printed for people.
    pub fn object(&self, value: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            let line = serde_json::to_string(value)?;
            self.beside_bar(|| println!("{line}"));
        }
        Ok(())
    }

    /// Starts a bar over `total` steps; on a terminal only.
    pub fn start_bar(&self, total: usize) {
        if self.terminal {
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {elapsed_precise}  eta {eta}  {wide_msg}");
            let bar = ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(500));
            self.replace_bar(Some(bar));
        }
    }

    /// Moves the bar.
    pub fn at(&self, position: usize) {
        self.with_bar(|bar| bar.set_position(position as u64));
    }

    /// Says beside the bar what is being done.
    pub fn doing(&self, what: &str) {
        self.with_bar(|bar| bar.set_message(what.to_owned()));
    }

    /// Takes the bar away.
    pub fn end_bar(&self) {
        self.replace_bar(None);
        if let Ok(mut stage) = self.stage.lock() {
            stage.clear();
        }
    }

    /// Progress of a download, as [`whetstone_model::fetch`] reports it.
    pub fn download(&self, p: &Progress) {
        let Ok(mut stage) = self.stage.lock() else { return };
        if *stage != p.stage {
            p.stage.clone_into(&mut stage);
            let size = p.total_bytes.map(|b| format!(" ({} MB)", b / 1_000_000)).unwrap_or_default();
            if self.terminal {
                let style = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {wide_msg}");
                let bar = ProgressBar::new(p.total_bytes.unwrap_or(0)).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                self.replace_bar(Some(bar.with_message(p.stage.to_owned())));
            } else {
                eprintln!("fetching: {}{size}", p.stage);
            }
        }
        self.with_bar(|bar| bar.set_position(p.done_bytes));
    }

    fn replace_bar(&self, new: Option<ProgressBar>) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(old) = std::mem::replace(&mut *bar, new)
        {
            old.finish_and_clear();
        }
    }

    fn with_bar(&self, f: impl FnOnce(&ProgressBar)) {
        if let Ok(bar) = self.bar.lock()
            && let Some(bar) = bar.as_ref()
        {
            f(bar);
        }
    }

    fn beside_bar(&self, f: impl FnOnce()) {
        match self.bar.lock() {
            Ok(bar) => match bar.as_ref() {
                Some(bar) => bar.suspend(f),
                None => f(),
            },
            Err(_) => f(),
        }
    }
}
