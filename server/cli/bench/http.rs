//! Requests as the benches make them: over loopback, one connection each, as a browser without a cache would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// From connecting to the last byte.
    pub(super) time: Duration,
}

/// Gets a path.
pub(super) fn ask(address: &str, path: &str, accept: &str, gzip: bool) -> Result<Answer> {
    let encoding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    exchange(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n{encoding}Connection: close\r\n\r\n"))
}

/// Sends JSON.
pub(super) fn send(address: &str, method: &str, path: &str, body: &str) -> Result<Answer> {
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    exchange(address, &format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
}

/// HTTP/1.0: the body ends with the connection, so nothing needs to be put together.
fn exchange(address: &str, request: &str) -> Result<Answer> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let time = begin.elapsed();
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").context("an answer without an end of its head")?;
    let status = all.get(9..12).and_then(|s| std::str::from_utf8(s).ok()).and_then(|s| s.parse().ok()).context("no status")?;
    Ok(Answer { status, body: all.split_off(end + 4), time })
}
