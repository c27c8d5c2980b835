//! Which checkpoint a user means, and how it is loaded.

use std::path::Path;

use anyhow::Result;
use pagesight::machine;
use pagesight::model::{HubCache, LoadOptions, ModelSource, RecipeChoice, recipe_names};

use super::args::Loading;
use super::hinted;

pub use pagesight::machine::models;

/// The model that a user calls `name`.
pub fn find(name: &Path) -> Result<ModelSource> {
    models().find(name).map_err(|error| {
        let name = name.to_str().filter(|name| HubCache::is_name(name));
        let fetch = name.map(|name| format!(", `pagesight model fetch {name}` downloads it"));
        let hint =
            format!("`pagesight model list` shows what there is{}", fetch.unwrap_or_default());
        hinted(error.to_string(), hint)
    })
}

/// Whether `name` asks for words alone.
pub fn is_none(name: &Path) -> bool {
    name == Path::new("none")
}

/// What a model is called; `None` is one that a program brought.
pub fn name(source: Option<&ModelSource>) -> String {
    match source {
        Some(ModelSource::Nano) => "nano (inside this program)".into(),
        Some(ModelSource::MiniLm) => "all-MiniLM-L6-v2 (comes with this program)".into(),
        Some(source) => source.to_string(),
        None => "one that another program brings".into(),
    }
}

/// What was being done with a model.
pub fn loading(source: &ModelSource) -> String {
    format!("loading the model {}", name(Some(source)))
}

/// How a model is loaded, by what was typed and by the environment.
pub fn options(loading: &Loading) -> Result<LoadOptions> {
    let device = loading.device;
    if !device.is_built_in() {
        return Err(hinted(
            format!("this pagesight was built without {device}"),
            format!("leave --device out, or build it with --features {device}"),
        ));
    }
    Ok(LoadOptions {
        precision: loading.precision,
        device,
        recipe: loading.recipe.as_deref().map(recipe).transpose()?,
        base: loading.base_model.as_deref().map(find).transpose()?,
        on_measuring: Some(say_that_it_is_measured),
        ..machine::loading()
    })
}

fn say_that_it_is_measured() {
    eprintln!(
        "trying a faster way to multiply, once for this model on this machine: it takes as long as \
         two or three pages"
    );
}

/// A recipe by its name, else a file.
fn recipe(name: &Path) -> Result<RecipeChoice> {
    machine::recipe(name).ok_or_else(|| {
        hinted(
            format!("there is no recipe {}", name.display()),
            format!("pagesight has {}; or name a JSON file", recipe_names().join(", ")),
        )
    })
}
