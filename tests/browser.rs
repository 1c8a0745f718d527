//! The line in a real browser, headless Chromium, with JavaScript and without: launch, watch, open a sample, download, survive.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::serving::{Server, lab, upload};
use crate::support::{Lab, assert_same, comparable};

/// Longest wait for something to appear.
const PATIENCE: Duration = Duration::from_secs(90);

/// A chromedriver of its own, in a process group with its browser; both are killed when dropped.
struct Driver {
    child: Child,
    url: String,
}

impl Driver {
    fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver, which tests/run --install installs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|l| {
            let rest = l.split_once("started successfully on port ")?.1.to_owned();
            Some(rest.trim_end_matches('.').to_owned())
        });
        let url = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        // what else it says must not fill its pipe
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, url }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

/// A browser that looks at one server.
struct Browser {
    client: Client,
    _driver: Driver,
    /// Its profile, and where downloads go.
    home: TempDir,
    base: String,
    scripts: bool,
}

impl Browser {
    async fn open(server: &Server, scripts: bool) -> Self {
        let (driver, home) = (Driver::start(), tempfile::tempdir().unwrap());
        let downloads = home.path().join("downloads");
        std::fs::create_dir(&downloads).unwrap();
        let mut prefs = json!({ "download.default_directory": downloads, "download.prompt_for_download": false });
        if !scripts {
            prefs["profile.managed_default_content_settings.javascript"] = json!(2);
        }
        let profile = format!("--user-data-dir={}", home.path().join("profile").display());
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000", &profile];
        let wanted = json!({
            "goog:chromeOptions": { "args": args, "prefs": prefs },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let client =
            ClientBuilder::new(HttpConnector::new()).capabilities(wanted.as_object().unwrap().clone()).connect(&driver.url).await.unwrap();
        Self { client, _driver: driver, home, base: format!("http://{}", server.address), scripts }
    }

    async fn goto(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    async fn at(&self) -> String {
        self.client.current_url().await.unwrap().to_string().replacen(&self.base, "", 1)
    }

    /// The words of the first such element; again where the page was exchanged between finding and reading it.
    async fn text(&self, css: &str) -> String {
        for _ in 0..50 {
            if let Ok(found) = self.client.find(Locator::Css(css)).await
                && let Ok(text) = found.text().await
            {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{css} is not there: {}", self.client.source().await.unwrap());
    }

    /// Clicks on what leads to another page, and waits until that has come.
    async fn follow(&self, place: Locator<'_>) {
        let old = self.client.find(Locator::Css("html")).await.unwrap();
        self.click(place).await;
        let begin = Instant::now();
        while old.tag_name().await.is_ok() {
            assert!(begin.elapsed() < PATIENCE, "{place:?} leads nowhere");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Clicks; again where a live page exchanged the element meanwhile.
    async fn click(&self, place: Locator<'_>) {
        let begin = Instant::now();
        loop {
            match self.client.find(place).await {
                Ok(found) if found.click().await.is_ok() => return,
                Err(e) if begin.elapsed() > Duration::from_secs(5) => panic!("{place:?}: {e}"),
                _ if begin.elapsed() > PATIENCE => panic!("{place:?} cannot be clicked"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Follows a link or presses a button, found by its words.
    async fn press(&self, words: &str) {
        self.follow(Locator::XPath(&format!("//*[self::a or self::button][contains(normalize-space(.), '{words}')]"))).await;
    }

    async fn key(&self, key: &str) {
        self.client.find(Locator::Css("body")).await.unwrap().send_keys(key).await.unwrap();
    }

    /// Fills a field, as soon as the page lets it be filled.
    async fn field(&self, name: &str, value: &str) {
        let begin = Instant::now();
        while let Err(e) = self.fill(name, value).await {
            assert!(begin.elapsed() < Duration::from_secs(5), "{name}: {e}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn fill(&self, name: &str, value: &str) -> Result<(), fantoccini::error::CmdError> {
        let field = self.client.find(Locator::Css(&format!("[name='{name}']"))).await?;
        if field.tag_name().await? == "select" {
            return field.select_by_value(value).await;
        }
        field.clear().await?;
        field.send_keys(value).await
    }

    /// Waits until the place says one of the words. With scripts the page must get there by itself; without, it is asked for anew.
    async fn see(&self, css: &str, words: &str) -> String {
        let begin = Instant::now();
        if self.scripts {
            self.client.execute("window.loadedOnce = true", vec![]).await.unwrap();
        }
        loop {
            // the element may be exchanged between finding and reading it
            let text = match self.client.find(Locator::Css(css)).await {
                Ok(found) => found.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if text.contains(words) {
                if self.scripts {
                    let same = self.client.execute("return window.loadedOnce === true", vec![]).await.unwrap();
                    assert_eq!(same, true, "the page went on by itself");
                }
                return text;
            }
            assert!(begin.elapsed() < PATIENCE, "waited for {words:?} at {css}: {text:?}");
            if !self.scripts {
                self.client.refresh().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The only file among the downloads, once it is whole.
    async fn downloaded(&self) -> PathBuf {
        let begin = Instant::now();
        loop {
            let files: Vec<PathBuf> = std::fs::read_dir(self.home.path().join("downloads")).unwrap().map(|f| f.unwrap().path()).collect();
            if let [file] = &files[..]
                && file.extension().is_some_and(|e| e == "zip")
            {
                return file.clone();
            }
            assert!(begin.elapsed() < PATIENCE, "waited for a download: {files:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Nothing was loaded from elsewhere, and neither policy nor script complained.
    async fn clean(&self) {
        if self.scripts {
            let loaded = self.client.execute("return performance.getEntriesByType('resource').map(r => r.name)", vec![]).await.unwrap();
            for name in loaded.as_array().unwrap() {
                assert!(name.as_str().unwrap().starts_with(&self.base), "{name}");
            }
        }
        let log = self.log().await;
        // the form that was refused on purpose is told there, too
        let meant = |l: &&Value| l["message"].as_str().is_some_and(|m| m.contains("/runs/new - ") && m.contains("status of 422"));
        let loud = |l: &&Value| l["level"] == "SEVERE" || l["level"] == "WARNING";
        let bad: Vec<&Value> = log.as_array().unwrap().iter().filter(loud).filter(|l| !meant(l)).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }

    /// What the browser's console holds since it was last read; a command of chromedriver's own.
    async fn log(&self) -> Value {
        #[derive(Debug)]
        struct Log;
        impl fantoccini::wd::WebDriverCompatibleCommand for Log {
            fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
                base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
            }

            fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
                (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
            }
        }
        self.client.issue_cmd(Log).await.unwrap()
    }
}

/// Fills the launch form with what makes a run of the tiny model small, and starts it; its id.
async fn launch(b: &Browser, name: &str, steps: usize) -> String {
    b.goto("/runs/new").await;
    for folded in b.client.find_all(Locator::Css("details:not([open]) > summary")).await.unwrap() {
        folded.click().await.unwrap();
    }
    let steps = steps.to_string();
    for (field, value) in [
        ("name", name),
        ("model", "tiny"),
        ("tasks", "file:learn"),
        ("eval_tasks", "file:measure"),
        ("seed", "3"),
        ("steps", &steps),
        ("problems_per_step", "2"),
        ("num_generations", "3"),
        ("max_prompt_tokens", "2000"),
        ("max_completion_length", "8"),
        ("temperature", "0.8"),
        ("learning_rate", "1e-3"),
        ("lora_rank", "8"),
        ("eval_problems", "6"),
        ("eval_every", "2"),
        ("eval_batch", "6"),
        ("checkpoint_every", "1"),
        ("threads", "2"),
        ("warm_start.steps", "4"),
        ("warm_start.problems_per_step", "4"),
        ("warm_start.eval_problems", "4"),
        ("warm_start.learning_rate", "1e-2"),
    ] {
        b.field(field, value).await;
    }
    b.press("Start run").await;
    let at = b.at().await;
    match at.strip_prefix("/runs/") {
        Some(id) if id.starts_with("r-") => id.to_owned(),
        _ => panic!("still at {at}: {}", b.text("main").await),
    }
}

async fn journey(scripts: bool) {
    let lab = lab();
    let server = Server::start(&lab, &[]);
    upload(&server);
    let b = Browser::open(&server, scripts).await;

    // the form says what is wrong beside the field, keeps what was typed, and starts nothing
    b.goto("/runs").await;
    b.press("Start the first run").await;
    b.field("num_generations", "1").await;
    b.press("Start run").await;
    assert!(b.text(".field.wrong").await.contains("must be between 2 and 1024"));
    assert_eq!(b.client.find(Locator::Css("[name=num_generations]")).await.unwrap().prop("value").await.unwrap().unwrap(), "1");

    // launched, watched to its end
    let first = launch(&b, "<b>first</b>", 4).await;
    b.see("p.verdict", "Finished, 8 of 8 steps").await;
    assert!(b.text("h1").await.contains("<b>first</b>"), "a name is text");
    assert!(b.text("[data-live=evaluations]").await.contains("after the warm start"));
    if scripts {
        assert_eq!(b.text("#live").await, "live");
    }

    // a sample, and why it earned what it earned
    b.follow(Locator::Css("[data-live=latest] tbody th a")).await;
    assert!(b.at().await.starts_with(&format!("/runs/{first}/groups/4-")), "{}", b.at().await);
    let sums = b.text("main").await;
    let counted = |mark: &str| ["₁", "₂", "₃"].iter().any(|i| sums.contains(&format!("{mark}{i} = ")));
    assert!(counted("A") && counted("R") && sums.contains("standard deviation"), "{sums}");
    if scripts {
        for key in ["1", "3"] {
            b.key(key).await;
            b.client.wait().for_element(Locator::XPath(&format!("//h3[.='Answer {key}']"))).await.unwrap();
        }
        b.key("t").await;
        b.client.wait().for_element(Locator::XPath("//h4[contains(., 'special tokens included')]")).await.unwrap();
        b.key("u").await;
        b.client.wait().for_element(Locator::Css(".pager [rel=prev]")).await.unwrap();
        assert!(b.at().await.contains("/steps/4"));
    } else {
        b.press("text t").await;
        assert!(b.text("main").await.contains("special tokens included"));
        b.press("step 4").await;
        assert!(b.at().await.contains("/steps/4"));
    }

    // its adapter, downloaded and read back
    b.follow(Locator::Css("nav.tabs a[href^='/adapters']")).await;
    b.click(Locator::LinkText("zip for peft")).await;
    let zip = b.downloaded().await;
    let (model, tasks) = (lab.data().join("models/tiny"), format!("file:{}", lab.path("held-out.jsonl").display()));
    lab.run(&["eval", "--model", path(&model), "--adapter", path(&zip), "--tasks", &tasks]).ok();

    // a worker that is killed is a failed run; one click, and it goes on to the same numbers
    let killed = launch(&b, "killed", 30).await;
    b.see("p.verdict", "Running").await;
    let run = server.wait(&killed, "steps", |r| r["phase"] == "grpo" && r["step"].as_i64() >= Some(3));
    kill(&run);
    b.see("[data-live=message]", "SIGKILL").await;
    b.press("Resume").await;
    b.see("p.verdict", "Finished").await;
    let whole = launch(&b, "whole", 30).await;
    b.see("p.verdict", "Finished").await;
    assert_same(&comparable(&lab.show(&killed)), &comparable(&lab.show(&whole)));

    // compared
    b.goto("/runs").await;
    for id in [&killed, &whole] {
        b.click(Locator::Css(&format!("input[value='{id}']"))).await;
    }
    b.press("Compare the chosen").await;
    assert!(b.text("main").await.contains("Nothing: all"), "two runs of one config differ in nothing");
    b.press("by minutes").await;
    b.clean().await;

    // the server is killed while a worker goes on, and found again; a run of a terminal is on the page
    let survivor = launch(&b, "survivor", 500).await;
    b.see("p.verdict", "Running").await;
    server.kill();
    let server = Server::start(&lab, &[]);
    let b = Browser { base: format!("http://{}", server.address), ..b };
    b.goto(&format!("/runs/{survivor}")).await;
    assert!(b.text("p.verdict").await.contains("Running"), "the worker goes on");
    b.press("Stop").await;
    b.see("p.verdict", "Stopped").await;
    b.goto("/runs").await;
    if scripts {
        b.see("#live", "live").await;
    }
    train(&lab, &model);
    b.see("main table", "from a terminal").await;
}

fn train(lab: &Lab, model: &Path) {
    lab.train(&["--steps", "1", "--name", "from a terminal", "--set", &format!("model={}", model.display())]).ok();
}

fn kill(run: &Value) {
    let pid = run["pid"].as_i64().unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn the_whole_way_in_a_browser() {
    journey(true).await;
}

#[tokio::test]
async fn the_whole_way_in_a_browser_without_javascript() {
    journey(false).await;
}
