//! The guards: who may come in, and what a browser may do with what it gets.
//!
//! In: every request before its handler. Out: the request, or a refusal. A foreign Host is DNS rebinding; a foreign Origin on an unsafe
//! method is request forgery, which tower-http's `CsrfLayer` refuses.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use crate::App;
use crate::problem::Problem;

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Host names beside the loopback ones under which the server may be addressed.
    pub hosts: Vec<String>,
    /// What a caller must show; none on loopback.
    pub token: Option<String>,
}

/// Cookie that carries the token of a browser.
const COOKIE: &str = "whetstone_token";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      font-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Sets what every answer carries.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let all = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in all {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

/// Refuses foreign hosts and callers without the token.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).map(str::to_owned);
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default();
    if !is_known_host(&host, &app.access.hosts) {
        let detail = format!("This server does not answer as {:?}; start it with --allowed-host to let it.", crate::words::visible(&host));
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response();
    }
    let Some(token) = &app.access.token else { return next.run(request).await };
    // what says nothing of anybody: the look of the page that asks for the token, and whether the server is up
    let open = ["/healthz", "/readyz"].contains(&request.uri().path()) || request.uri().path().starts_with("/static/");
    if open || shown(request.headers()).is_some_and(|t| same(t, token)) {
        return next.run(request).await;
    }
    // a link with the token, once: it becomes a cookie and leaves the address bar
    if request.method() == Method::GET
        && let Some(given) = request.uri().query().and_then(|q| q.split('&').find_map(|p| p.strip_prefix("token=")))
        && same(given, token)
    {
        let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/");
        let others = |q: &str| q.split('&').filter(|p| !p.starts_with("token=")).collect::<Vec<_>>().join("&");
        let query = request.uri().query().map(others).filter(|q| !q.is_empty()).map(|q| format!("?{q}")).unwrap_or_default();
        let place = format!("/{}{query}", request.uri().path().trim_start_matches('/'));
        return (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, place)]).into_response();
    }
    let mut refused = Problem::new(
        StatusCode::UNAUTHORIZED,
        "This server wants its token: open the address that it printed at its start, or send it as \"Authorization: Bearer TOKEN\".",
    )
    .into_response();
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refused
}

fn is_known_host(host: &str, more: &[String]) -> bool {
    let name = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }),
    };
    let ip = name.parse::<IpAddr>().ok();
    let local = name.eq_ignore_ascii_case("localhost") || ip.is_some_and(|ip| ip.is_loopback());
    // a server on every address answers under every address: it is names that can be made to point elsewhere
    let everywhere = ip.is_some() && more.iter().any(|m| m.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()));
    local || everywhere || more.iter().any(|m| m.eq_ignore_ascii_case(name))
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|a| a.to_str().ok()).and_then(|a| a.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|c| c.to_str().ok()).flat_map(|c| c.split(';'));
    bearer.or_else(|| cookies.filter_map(|c| c.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, value)| value))
}

/// Compares digests, so that the time it takes says nothing about the token.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_hosts_are_known() {
        let more = ["train.lab".to_owned()];
        for host in ["localhost", "LocalHost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "train.lab:443"] {
            assert!(is_known_host(host, &more), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "10.0.0.1:80", "127.0.0.1.nip.io", "localhost:80:x", "[::2]"] {
            assert!(!is_known_host(host, &more), "{host}");
        }
        let everywhere = ["0.0.0.0".to_owned()];
        assert!(is_known_host("192.0.2.7:4270", &everywhere) && is_known_host("[2001:db8::1]", &everywhere));
        assert!(!is_known_host("evil.example", &everywhere) && !is_known_host("192.0.2.7.nip.io", &everywhere));
    }
}
