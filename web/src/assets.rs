//! Our own style sheet and scripts, embedded, under names that change with their content.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::App;
use crate::problem::Problem;

struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
}

const ASSETS: [Asset; 4] = [
    Asset { name: "app.css", kind: "text/css; charset=utf-8", body: include_str!("../../static/app.css") },
    Asset { name: "run.css", kind: "text/css; charset=utf-8", body: include_str!("../../static/run.css") },
    Asset { name: "icon.svg", kind: "image/svg+xml", body: include_str!("../../static/icon.svg") },
    Asset { name: "live.js", kind: "text/javascript; charset=utf-8", body: include_str!("../../static/live.js") },
];

/// File names as served, `app-1a2b3c4d.css`, in the order of [`ASSETS`].
static SERVED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let served = |a: &Asset| {
        let hash: String = Sha256::digest(a.body).iter().take(4).map(|b| format!("{b:02x}")).collect();
        let (stem, ending) = a.name.rsplit_once('.').unwrap_or((a.name, ""));
        format!("{stem}-{hash}.{ending}")
    };
    ASSETS.iter().map(served).collect()
});

/// Address of a file of `static/`; an unknown name leads nowhere, which `every_asset_of_the_templates_exists` excludes.
pub(crate) fn url(name: &str) -> String {
    let at = ASSETS.iter().position(|a| a.name == name);
    format!("/static/{}", at.map_or(name, |i| SERVED[i].as_str()))
}

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/static/{file}", get(file))
}

async fn file(Path(file): Path<String>) -> Result<Response, Problem> {
    let at = SERVED.iter().position(|s| *s == file).ok_or_else(|| Problem::not_found("There is no such file."))?;
    let headers = [(header::CONTENT_TYPE, ASSETS[at].kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, ASSETS[at].body).into_response())
}
