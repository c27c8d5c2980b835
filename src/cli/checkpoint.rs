//! Which checkpoint a user means, and how it is loaded. The environment of Hugging Face's programs
//! is read here; the library does not read it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use pagesight::model::{HubCache, LoadOptions, ModelSource, Models, RecipeChoice, recipe_names};

use super::args::Loading;
use super::{hinted, paths};

/// Where checkpoints are kept.
pub fn models() -> Models {
    let own = paths::data_folder().map(|folder| folder.join("models"));
    Models { own, hub: hub_cache() }
}

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
        base: loading.base.as_deref().map(find).transpose()?,
        ..places()
    })
}

/// Where models are looked for and their hashes kept.
pub fn places() -> LoadOptions {
    LoadOptions {
        hub: hub_cache(),
        digests: dirs::cache_dir().map(|folder| folder.join("pagesight/digests.json")),
        ..LoadOptions::default()
    }
}

/// A recipe by its name, else a file.
fn recipe(name: &Path) -> Result<RecipeChoice> {
    if let Some(known) = name.to_str().filter(|name| recipe_names().contains(name)) {
        return Ok(RecipeChoice::Named(known.into()));
    }
    if !name.exists() {
        return Err(hinted(
            format!("there is no recipe {}", name.display()),
            format!("pagesight has {}; or name a JSON file", recipe_names().join(", ")),
        ));
    }
    Ok(RecipeChoice::File(name.into()))
}

/// As huggingface_hub finds it: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, the home folder.
pub fn hub_cache() -> Option<HubCache> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || dirs::home_dir().map(|home| home.join(".cache"));
    let shared = || variable("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("huggingface"));
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HF_HOME").or_else(shared).map(|home| home.join("hub")))
        .map(HubCache::new)
}
