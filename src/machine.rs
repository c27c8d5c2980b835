//! What pagesight works with on this machine: libpdfium, worker processes, models and weights. The
//! environment of Hugging Face's programs and the user's folders are read here; nothing else of the
//! library reads them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pagesight_model::{
    EmbedderOptions, EmbedderPlace, HubCache, LoadOptions, Models, RecipeChoice, find_embedder,
    recipe_names,
};
use pagesight_ocr::WeightSearch;
use pagesight_pdf::RenderOptions;

/// Where a program finds what it works with. By default a program looks for all by itself; a host
/// that is another program, such as a Python interpreter, says what it brings.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The program that serves as worker; this one when `None`.
    pub worker_program: Option<PathBuf>,
    /// Given to that program before the arguments of a worker.
    pub worker_arguments: Vec<OsString>,
    /// libpdfium, or its folder.
    pub pdfium: Option<PathBuf>,
    /// The folder of the models that come with the program.
    pub weights: Option<PathBuf>,
    /// The folder with the weights of the embedded reader of pages.
    pub ocr_weights: Option<PathBuf>,
}

impl Machine {
    /// How pages are drawn, with `passwords` to be tried on encrypted documents.
    pub fn renderer(&self, passwords: &[String]) -> RenderOptions {
        RenderOptions {
            pdfium: self.pdfium.clone(),
            data_folder: data_folder(),
            python: python(),
            worker_program: self.worker_program.clone(),
            worker_arguments: self.worker_arguments.clone(),
            passwords: passwords.to_vec(),
            ..RenderOptions::default()
        }
    }

    /// Where the weights of the embedded reader of pages are looked for.
    pub fn ocr_weights(&self) -> WeightSearch {
        WeightSearch { folder: self.ocr_weights.clone(), data: data_folder(), python: python() }
    }

    /// Where the model of meaning is looked for that comes with the program, in order.
    pub fn embedder_places(&self) -> Vec<EmbedderPlace> {
        let program = env::current_exe().ok();
        find_embedder(self.weights.as_deref(), program.as_deref(), data_folder().as_deref())
    }

    /// How models of meaning are loaded.
    pub fn embedding(&self) -> EmbedderOptions {
        let shipped =
            self.embedder_places().into_iter().find(|place| place.found).map(|place| place.path);
        let LoadOptions { hub, digests, .. } = loading();
        EmbedderOptions { shipped, hub, digests, ..EmbedderOptions::default() }
    }
}

/// The user's folder for data of this program.
pub fn data_folder() -> Option<PathBuf> {
    dirs::data_dir().map(|folder| folder.join("pagesight"))
}

/// The Python environment that is active.
fn python() -> Option<PathBuf> {
    env::var_os("VIRTUAL_ENV").map(Into::into)
}

/// Where checkpoints are kept.
pub fn models() -> Models {
    Models { own: data_folder().map(|folder| folder.join("models")), hub: hub_cache() }
}

/// Where copies of indexes in buckets are kept.
pub fn local() -> PathBuf {
    dirs::cache_dir().unwrap_or_else(env::temp_dir).join("pagesight/buckets")
}

/// Whether the store that the environment names is this machine: nothing that is said to it in the
/// clear leaves the machine. Where it is named, the environment says alone, to the cloud's own client.
pub fn is_store_here() -> bool {
    let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    is_loopback(names.iter().find_map(|name| env::var(name).ok()).as_deref())
}

fn is_loopback(endpoint: Option<&str>) -> bool {
    let host = endpoint.and_then(|url| url.strip_prefix("http://")).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(host, |h| h.0);
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

/// A file of the user's cache.
fn remembered(name: &str) -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("pagesight").join(name))
}

/// Where models are looked for, and where their hashes and what was measured of them are kept.
pub fn loading() -> LoadOptions {
    LoadOptions {
        hub: hub_cache(),
        digests: remembered("digests.json"),
        measured: remembered("whole_numbers.json"),
        ..LoadOptions::default()
    }
}

/// The recipe that a user calls `name`: one of pagesight's, else a JSON file; `None` when there is
/// neither.
pub fn recipe(name: &Path) -> Option<RecipeChoice> {
    if let Some(known) = name.to_str().filter(|name| recipe_names().contains(name)) {
        return Some(RecipeChoice::Named(known.into()));
    }
    name.exists().then(|| RecipeChoice::File(name.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for url in ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000/x"] {
            assert!(is_loopback(Some(url)), "{url}");
        }
        for url in
            ["https://127.0.0.1", "http://127.0.0.1.evil.example", "http://10.0.0.1:9000", ""]
        {
            assert!(!is_loopback(Some(url)), "{url}");
        }
        assert!(!is_loopback(None));
    }
}
