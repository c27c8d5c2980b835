//! `pagesight model`: the checkpoints of this machine. The environment of Hugging Face's programs
//! is read here, the library does not.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar};
use pagesight::{
    ColPali, Error, HubCache, Index, LoadOptions, ModelEntry, ModelError, ModelInfo, Models,
    Recipe, Trust, is_embedded,
};
use serde_json::{Value, json};

use super::args::{
    ImportModel, InfoTarget, Loading, ModelAction, ModelTarget, ModelVerb, Place, QuantizeModel,
};
use super::terminal::{Terminal, printable};
use super::{Outcome, hinted, locate, paths};

pub fn run(place: &Place, verb: &ModelVerb, terminal: &Terminal) -> Result<Outcome> {
    match &verb.action {
        ModelAction::List { json } => list(*json),
        ModelAction::Info(target) => info(place, target),
        ModelAction::Verify(target) => verify(target),
        ModelAction::Import(import) => copy(import),
        ModelAction::Quantize(wanted) => quantize(wanted, terminal),
        #[cfg(feature = "hub")]
        ModelAction::Fetch(wanted) => super::fetch::run(wanted, terminal),
        #[cfg(not(feature = "hub"))]
        ModelAction::Fetch(wanted) => Err(hinted(
            "this pagesight was built without downloading (feature `hub`)",
            format!(
                "`hf download {}` puts it where pagesight finds it, or build with --features hub",
                wanted.name
            ),
        )),
    }
}

/// Where checkpoints are kept.
pub fn models() -> Models {
    let own = paths::data_folder().map(|folder| folder.join("models"));
    Models { own, hub: hub_cache() }
}

/// The folder of the model that a user calls `name`.
pub fn find(name: &Path) -> Result<PathBuf> {
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

/// What the model in `folder` is called.
pub fn name(folder: &Path) -> String {
    match is_embedded(folder) {
        true => format!("{} (inside this program)", Models::NANO),
        false => folder.display().to_string(),
    }
}

/// What was being done with the model in `folder`.
pub fn loading(folder: &Path) -> String {
    format!("loading the model {}", name(folder))
}

/// Adds the way out to the error of an index that has vectors of another model.
pub fn new_index(error: Error) -> anyhow::Error {
    match error {
        Error::ModelChanged { .. } => hinted(super::chain_of(&error), NEW_INDEX),
        error => error.into(),
    }
}

const NEW_INDEX: &str = "vectors of two models cannot be compared: another model needs a new index, \
    `pagesight --index NEW index --model MODEL FOLDER`";

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
        hub: hub_cache(),
        digests: dirs::cache_dir().map(|folder| folder.join("pagesight/digests.json")),
        ..LoadOptions::default()
    })
}

fn recipe(name: &Path) -> Result<Recipe> {
    if let Some(recipe) = name.to_str().and_then(Recipe::named) {
        return Ok(recipe);
    }
    if !name.exists() {
        let known: Vec<&str> = Recipe::names().collect();
        return Err(hinted(
            format!("there is no recipe {}", name.display()),
            format!("pagesight has {}; or name a JSON file", known.join(", ")),
        ));
    }
    Recipe::read(name).context("reading the recipe")
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

fn list(as_json: bool) -> Result<Outcome> {
    let models = models();
    let entries = models.list();
    let mut out = io::stdout().lock();
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
    for ModelEntry { name, revision, folder, state } in &entries {
        if as_json {
            let (layout, bytes) = state.as_ref().ok().cloned().unzip();
            writeln!(
                out,
                "{}",
                json!({
                    "v": 1, "type": "model", "name": name, "revision": revision,
                    "folder": folder.display().to_string(), "layout": layout, "bytes": bytes,
                    "error": state.as_ref().err(),
                })
            )?;
            continue;
        }
        let commit = revision.as_deref().unwrap_or("").get(..8).unwrap_or("");
        let what = match state {
            Ok((layout, bytes)) => format!("{:>10}  {layout}", HumanBytes(*bytes).to_string()),
            Err(error) => format!("{:>10}  {}", "damaged", printable(error)),
        };
        writeln!(out, "{:width$}  {commit:8}  {what}", printable(name))?;
    }
    if entries.len() == 1 {
        let places = [models.own.as_deref(), models.hub.as_ref().map(HubCache::root)];
        let places: Vec<String> =
            places.iter().flatten().map(|path| path.display().to_string()).collect();
        eprintln!("no others in {}", places.join(" or "));
        eprintln!("hint: `pagesight model fetch vidore/colpali-v1.3-hf` downloads one");
    }
    Ok(Outcome::Done)
}

fn info(place: &Place, target: &InfoTarget) -> Result<Outcome> {
    let options = options(&target.loading)?;
    let Some(model) = &target.model else { return info_of_index(place, target.json, options) };
    let info = read(&find(model)?, &options)?;
    let mut out = io::stdout().lock();
    match target.json {
        true => writeln!(out, "{}", object("model", serde_json::to_value(&info)?))?,
        false => describe(&mut out, &info)?,
    }
    Ok(Outcome::Done)
}

/// The model that the index here uses, or that a new one would use.
fn info_of_index(place: &Place, as_json: bool, mut options: LoadOptions) -> Result<Outcome> {
    let index = match locate::existing(place) {
        Ok(folder) => {
            let opening = || format!("opening {}", folder.display());
            Some(Index::open(&folder).with_context(opening)?)
        }
        Err(error) if place.index.is_some() => return Err(error),
        Err(_) => None,
    };
    let stored = index.as_ref().and_then(|index| index.snapshot().model.clone());
    let mut out = io::stdout().lock();
    let folder = match (&index, &stored) {
        (Some(index), None) if index.documents().next().is_some() => {
            match as_json {
                true => writeln!(out, "{}", object("model", json!({"index": index.folder()})))?,
                false => {
                    writeln!(out, "index       {}", index.folder().display())?;
                    writeln!(out, "model       none: pages are found by their words alone")?;
                    writeln!(out, "\n`pagesight index --model nano FOLDER` adds their pictures.")?;
                }
            }
            return Ok(Outcome::NothingFound);
        }
        (_, Some(stored)) => {
            // The recipe and the grid are the index's own.
            options.slices = Some(stored.grid.slices.clone());
            let recipe = stored.recipe.as_deref().map(Recipe::from_json).transpose();
            options.recipe = recipe.context("reading the recipe of the index")?;
            stored.folder.clone()
        }
        (_, None) => PathBuf::from(ColPali::NANO),
    };
    let info = read(&folder, &options);
    if as_json {
        let mut line = object("model", info.map(serde_json::to_value)??);
        line["name"] = json!(name(&folder));
        line["index"] = json!(index.as_ref().map(|index| index.folder()));
        line["model_id_of_index"] = json!(stored.map(|stored| stored.id));
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    match &index {
        Some(index) => writeln!(out, "index       {}", index.folder().display())?,
        None => writeln!(out, "index       none here; this is the model of a new one")?,
    }
    writeln!(out, "model       {}", name(&folder))?;
    let info = info?;
    describe(&mut out, &info)?;
    if let Some(stored) = stored.filter(|stored| stored.id != info.model_id) {
        writeln!(out, "of index    {}: not this one, so words alone answer", stored.id)?;
    }
    writeln!(
        out,
        "\nAnother model is one flag, and needs a new index (its vectors are others):\n  \
         pagesight --index NEW index --model vidore/colpali-v1.3-hf FOLDER"
    )?;
    Ok(Outcome::Done)
}

fn quantize(wanted: &QuantizeModel, terminal: &Terminal) -> Result<Outcome> {
    let folder = find(&wanted.model)?;
    let options = options(&wanted.loading)?;
    let bar = match wanted.quiet {
        true => ProgressBar::hidden(),
        false => terminal.bar(0, "tensors"),
    };
    let summary =
        pagesight::quantize_checkpoint(&folder, &wanted.out, wanted.to, &options, |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        });
    bar.finish_and_clear();
    let summary =
        summary.map_err(with_hint).with_context(|| format!("quantizing {}", folder.display()))?;
    let mut out = io::stdout().lock();
    if wanted.json {
        let what = json!({
            "folder": wanted.out.display().to_string(), "precision": wanted.to.to_string(),
            "quantized": summary.quantized, "kept": summary.kept,
            "bytes_before": summary.bytes_before, "bytes_after": summary.bytes_after,
        });
        writeln!(out, "{}", object("quantized", what))?;
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "{}: {} of {} tensors in {}, {} instead of {}",
        wanted.out.display(),
        summary.quantized,
        summary.quantized + summary.kept,
        wanted.to,
        HumanBytes(summary.bytes_after),
        HumanBytes(summary.bytes_before),
    )?;
    Ok(Outcome::Done)
}

fn read(folder: &Path, options: &LoadOptions) -> Result<ModelInfo> {
    ModelInfo::read(folder, options)
        .map_err(with_hint)
        .with_context(|| format!("looking at {}", folder.display()))
}

/// `value` with the fields that each line of ours has.
pub fn object(kind: &str, value: Value) -> Value {
    let mut line = json!({"v": 1, "type": kind});
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), value) {
        line.extend(fields);
    }
    line
}

fn describe(out: &mut impl Write, info: &ModelInfo) -> io::Result<()> {
    let types: Vec<String> = info.types.keys().cloned().collect();
    writeln!(out, "folder      {}", name(&info.folder))?;
    if let Some(base) = &info.base {
        writeln!(out, "adapts      {}", base.display())?;
    }
    writeln!(out, "layout      {}, {} files", info.layout, info.files.len())?;
    writeln!(
        out,
        "weights     {} numbers as {}, {}",
        info.parameters,
        types.join(" and "),
        HumanBytes(info.bytes)
    )?;
    writeln!(
        out,
        "layers      {} of vision, {} of language",
        info.vision_layers, info.language_layers
    )?;
    let edge = info.input_px;
    writeln!(out, "input       {edge} x {edge} px, {} patches", info.patches)?;
    writeln!(out, "vectors     {} numbers each", info.dim)?;
    writeln!(out, "precision   {}", info.precision)?;
    let recipe = &info.recipe;
    writeln!(out, "recipe      {}", printable(&info.recipe_origin))?;
    writeln!(out, "  page      {} slices, {:?}", recipe.slices, recipe.page_prompt)?;
    if let Some(range) = recipe.prune_blank {
        writeln!(out, "            patches that vary by {range} of 255 at most are left out")?;
    }
    if recipe.pooling > 1 {
        let (factor, pooler) = (recipe.pooling, recipe.pooler);
        writeln!(out, "            vectors are pooled to one in {factor}, {pooler}")?;
    }
    writeln!(
        out,
        "  query     {:?}, the question, {} <pad>, {:?}{}",
        recipe.query_prefix,
        recipe.query_pads,
        recipe.query_suffix,
        if recipe.causal_queries { ", causal" } else { "" }
    )?;
    let Trust { visual_weight, visual_margin } = recipe.fusion;
    writeln!(
        out,
        "  trust     beside words {visual_weight}, for pages without {visual_margin} more"
    )?;
    writeln!(out, "model id    {}", info.model_id)
}

fn verify(target: &ModelTarget) -> Result<Outcome> {
    let folder = find(&target.model)?;
    let options = options(&target.loading)?;
    let info = read(&folder, &options)?;
    let verified = ModelInfo::verify(&folder, &options, &mut |path| {
        if !target.json {
            eprintln!("reading {}", path.display());
        }
    });
    let verified =
        verified.map_err(with_hint).with_context(|| format!("verifying {}", folder.display()))?;
    let mut out = io::stdout().lock();
    match target.json {
        true => {
            let mut line = object("verified", serde_json::to_value(verified)?);
            line["model_id"] = json!(info.model_id);
            writeln!(out, "{line}")?;
        }
        false => {
            let hashes = match verified.hashes {
                0 => "no hash is known to compare with".to_string(),
                n => format!("{n} files have the hash that they should have"),
            };
            writeln!(out, "sound: {} numbers, all finite; {hashes}", verified.numbers)?;
        }
    }
    Ok(Outcome::Done)
}

fn copy(import: &ImportModel) -> Result<Outcome> {
    let from = find(&import.model)?;
    let options = options(&import.loading)?;
    let name = match &import.name {
        Some(name) => name.clone(),
        None => called(&import.model, &from),
    };
    let copied = models().import(&from, &name, &options, &mut |path| {
        if !import.quiet {
            eprintln!("copying {}", path.display());
        }
    });
    let folder = copied
        .map_err(|error| match &error {
            ModelError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                hinted(format!("there is a model {name} already"), "choose another one with --name")
            }
            _ => with_hint(error),
        })
        .with_context(|| format!("importing {}", from.display()))?;
    let mut out = io::stdout().lock();
    match import.json {
        true => {
            let folder = folder.display().to_string();
            writeln!(
                out,
                "{}",
                json!({"v": 1, "type": "imported", "name": name, "folder": folder})
            )?;
        }
        false => {
            writeln!(out, "{name} is in {}", folder.display())?;
            writeln!(out, "use it: pagesight index --model {name} FOLDER")?;
        }
    }
    Ok(Outcome::Done)
}

/// The last part of a name or folder; a snapshot's folder is only a commit.
fn called(typed: &Path, folder: &Path) -> String {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match typed.is_dir() {
        true => std::path::absolute(folder).ok().as_deref().and_then(last),
        false => last(typed),
    };
    name.unwrap_or_default().split('@').next().unwrap_or_default().into()
}

fn with_hint(error: ModelError) -> anyhow::Error {
    let hint = match &error {
        ModelError::NoBase { name, .. } => {
            format!("`pagesight model fetch {name}` downloads it, --base DIR names it")
        }
        ModelError::Pickle { .. } => {
            "convert it with safetensors.torch.save_file, or take a version with safetensors".into()
        }
        ModelError::Truncated { .. } | ModelError::Hash { .. } => {
            "delete the file and fetch or copy it again".into()
        }
        _ => return error.into(),
    };
    hinted(super::chain_of(&error), hint)
}
