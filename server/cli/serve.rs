//! `whetstone serve`: pages, API and the supervisor of workers, until Ctrl-C.

use std::fs::{self, File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use whetstone_model::fetch;
use whetstone_web::{Access, App, Options, Recipe, Store};

use super::{Ui, signals, source};
use crate::config::{Layers, RECIPES};
use crate::supervisor::Supervisor;

const EXAMPLES: &str = "\
Examples:
  whetstone serve                              on http://127.0.0.1:4270, for this machine only
  whetstone serve --host 0.0.0.0 --token s3cret --allowed-host train.lab
  whetstone serve --port 0 --json              any free port; the address is printed as JSON

Ctrl-C ends the server; workers go on, and the next server finds them.";

/// The dashboard: launch runs, watch them, open every sample, compare, download adapters
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Address to listen on; any other than a loopback one needs --token
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", env = "WHETSTONE_HOST")]
    host: IpAddr,
    /// Port; 0 = any free one
    #[arg(long, value_name = "PORT", default_value_t = 4270, env = "WHETSTONE_PORT")]
    port: u16,
    /// What callers must show: as a bearer token, or once in the address that is printed
    #[arg(long, value_name = "TEXT", env = "WHETSTONE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Let everybody in who can reach the address
    #[arg(long, conflicts_with = "token")]
    no_auth: bool,
    /// A name under which the server may be addressed, beside localhost; may be repeated
    #[arg(long = "allowed-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
    /// Go on with runs whose worker vanished, without being asked
    #[arg(long)]
    auto_resume: bool,
}

/// Shortest token that is accepted, characters.
const SHORTEST_TOKEN: usize = 6;

impl ServeArgs {
    /// A server for this machine only.
    pub fn local(host: IpAddr, port: u16) -> Self {
        Self { host, port, token: None, no_auth: false, allowed_hosts: Vec::new(), auto_resume: false }
    }
}

/// Runs the command.
pub fn run(args: &ServeArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    serve(args, data, ui, async |_, _| Ok(()))?;
    Ok(ExitCode::SUCCESS)
}

/// Serves until a signal, or until `beside`, which runs beside it, cancels the token it is given.
pub fn serve(args: &ServeArgs, data: &Path, ui: &Ui, beside: impl AsyncFnOnce(Store, CancellationToken) -> Result<()>) -> Result<()> {
    let access = access(args)?;
    let _lock = lock(data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the server")?;
    let outcome = runtime.block_on(listen(args, access, data, ui, beside));
    // a stream that does not notice the end must not hold it up
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

async fn listen(
    args: &ServeArgs,
    access: Access,
    data: &Path,
    ui: &Ui,
    beside: impl AsyncFnOnce(Store, CancellationToken) -> Result<()>,
) -> Result<()> {
    let store = Store::open(data).await?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another --port (0 = any free one), or stop what uses it"))?;
    let address = listener.local_addr()?;
    let shutdown = CancellationToken::new();
    let present = |m: &fetch::ListedModel| m.path.is_some();
    let mut models = fetch::list(&source::models_dir(data)).unwrap_or_default();
    models.sort_by_key(|m| !present(m));
    let token = access.token.clone();
    let app = App::new(Options {
        store: store.clone(),
        data_dir: data.into(),
        recipes: recipes()?,
        models: models.into_iter().map(|m| m.name).collect(),
        access,
        version: env!("CARGO_PKG_VERSION"),
        shutdown: shutdown.clone(),
    });
    let url = format!("http://{}/{}", reached(address), token.map(|t| format!("?token={t}")).unwrap_or_default());
    ui.object(&json!({ "url": url, "data": data }))?;
    ui.say(&format!("Whetstone is at {url}"));
    ui.say(&format!("Runs are kept in {}. Ctrl-C ends the server; workers go on.", data.display()));
    let supervisor = tokio::spawn(Supervisor::new(store.clone(), data, args.auto_resume).watch(shutdown.clone()));
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            signals::first().await;
            shutdown.cancel();
        }
    });
    let (served, outcome) = tokio::join!(whetstone_web::serve(listener, app), beside(store.clone(), shutdown.clone()));
    served.context("the server ended")?;
    supervisor.await.context("the supervisor ended by a panic")?;
    store.close().await;
    outcome
}

/// The address to type: a server on every address is told by this machine's own one.
fn reached(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    // asking for the way to a documentation address (RFC 5737, 3849) sends nothing
    let (any, far) = if address.is_ipv4() { ("0.0.0.0:0", "192.0.2.1:9") } else { ("[::]:0", "[2001:db8::1]:9") };
    let own = std::net::UdpSocket::bind(any).and_then(|s| s.connect(far).and_then(|()| s.local_addr()));
    let loopback = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
    SocketAddr::new(own.map_or(loopback, |a| a.ip()), address.port())
}

fn recipes() -> Result<Vec<Recipe>> {
    let recipe = |(name, toml): &(&'static str, &'static str)| {
        let mut layers = Layers::default();
        layers.recipe(name)?;
        Ok(Recipe { name, toml, config: layers.finish()? })
    };
    RECIPES.iter().map(recipe).collect()
}

fn access(args: &ServeArgs) -> Result<Access> {
    if !args.host.is_loopback() && args.token.is_none() && !args.no_auth {
        bail!(
            "{} can be reached from other machines, and who reaches the dashboard can start runs and read what is stored; \
             give --token TEXT, or say --no-auth if that is what you want",
            args.host
        );
    }
    if args
        .token
        .as_ref()
        .is_some_and(|t| t.len() < SHORTEST_TOKEN || !t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)))
    {
        bail!("--token must have {SHORTEST_TOKEN} characters or more out of A-Z a-z 0-9 - . _ ~");
    }
    let mut hosts = args.allowed_hosts.clone();
    hosts.push(args.host.to_string());
    Ok(Access { hosts, token: args.token.clone() })
}

/// Takes the data directory for this server.
fn lock(data: &Path) -> Result<File> {
    fs::create_dir_all(data)
        .with_context(|| format!("cannot use {} as data directory; choose a writable one with --data", data.display()))?;
    let path = data.join("server.lock");
    let file = File::options().create(true).append(true).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another whetstone server uses {}; open its address, or give this one another directory with --data", data.display())
        }
        Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
}
