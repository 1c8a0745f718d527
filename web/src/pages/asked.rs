//! The query of a page: lenient, because a person is never answered with 400; what means nothing is said on the page.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::words;

/// Pairs of a page's query string, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Query::try_from_uri(&parts.uri).map(|q| q.0).unwrap_or_default()))
    }
}

impl Asked {
    /// The pairs of a query string that was carried within another one.
    pub(crate) fn within(query: &str) -> Self {
        let uri = format!("/?{query}").parse().ok();
        Self(uri.and_then(|uri| Query::try_from_uri(&uri).ok()).map(|q| q.0).unwrap_or_default())
    }

    /// The last value of a key, trimmed; none when it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.trim()).filter(|v| !v.is_empty())
    }

    /// Every value of any of these keys.
    pub(crate) fn all<'a>(&'a self, keys: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(|(k, _)| keys.contains(&k.as_str())).map(|(_, v)| v.as_str())
    }

    /// A sentence for each parameter that is none of these.
    pub(crate) fn unknown(&self, known: &[&str]) -> Vec<String> {
        let odd = self.0.iter().filter(|(k, _)| !known.contains(&k.as_str()));
        odd.take(5).map(|(k, _)| format!("The parameter “{}” means nothing here and was ignored.", words::short(k, 40))).collect()
    }
}
