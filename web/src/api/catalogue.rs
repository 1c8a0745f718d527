//! What a run can be made of: models and recipes.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;

/// Base models, by the names that a run may give
#[utoipa::path(get, path = "/api/v1/models", responses((status = 200, body = [String])))]
pub(crate) async fn models(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.models.clone())
}

/// A preset.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecipeView {
    name: &'static str,
    /// As shipped, with its comments.
    toml: &'static str,
    /// The whole config that it gives.
    #[schema(value_type = Object)]
    config: Value,
}

/// Recipes, the default first
#[utoipa::path(get, path = "/api/v1/recipes", responses((status = 200, body = [RecipeView])))]
pub(crate) async fn recipes(State(app): State<App>) -> Json<Vec<RecipeView>> {
    let view = |r: &crate::Recipe| RecipeView { name: r.name, toml: r.toml, config: serde_json::to_value(&r.config).unwrap_or_default() };
    Json(app.recipes.iter().map(view).collect())
}
