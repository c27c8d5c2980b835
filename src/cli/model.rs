//! `pagesight model`: the checkpoints of this machine.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueHint};
use indicatif::{HumanBytes, ProgressBar};
use pagesight::model::{
    Device, HubCache, LoadOptions, ModelEntry, ModelError, ModelInfo, ModelSource, PageCost,
    RecipeChoice, device_in_use, inspect_checkpoint, quantize_checkpoint, verify_checkpoint,
};
use serde_json::json;

use super::args::{FetchModel, Loading, Place};
use super::checkpoint::{self, find, models, options};
use super::output::{line, object};
use super::terminal::{Terminal, printable};
use super::{Outcome, hinted, locate};

/// Fetch, list and check models.
///
/// A model is a folder, nano (which is inside this program), a model of ours (imported), or
/// ORG/NAME[@REVISION] in the cache that Hugging Face's programs share.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight model fetch vidore/colpali-v1.3-hf\n  \
    pagesight model list\n  \
    pagesight model info\n  \
    pagesight model info vidore/colpali-v1.3-hf\n  \
    pagesight model import ~/my-checkpoint --name invoices\n  \
    pagesight model verify invoices")]
pub struct ModelVerb {
    #[command(subcommand)]
    pub action: ModelAction,
}

#[derive(Debug, Subcommand)]
pub enum ModelAction {
    /// The checkpoints of this machine.
    #[command(after_help = "Example:\n  pagesight model list --json")]
    List {
        /// A line of JSON a model.
        #[arg(long)]
        json: bool,
    },
    /// What a checkpoint is: layout, sizes, recipe, identity.
    #[command(after_help = "Examples:\n  \
        pagesight model info                          the model of this index\n  \
        pagesight model info vidore/colpali-v1.3-hf\n  \
        pagesight model info ~/adapter --base-model ~/colpaligemma-3b-pt-448-base --json")]
    Info(InfoTarget),
    /// Read all of a checkpoint: every tensor there, every hash that is known right, every number
    /// finite.
    #[command(after_help = "Example:\n  pagesight model verify invoices")]
    Verify(ModelTarget),
    /// Copy a checkpoint, with the base of an adapter, into pagesight's own folder.
    #[command(after_help = "Example:\n  \
        pagesight model import ~/my-checkpoint --name invoices --recipe colpali-v1.3")]
    Import(ImportModel),
    /// Write a checkpoint again with 8-bit or 4-bit weights: a half or a quarter of the memory.
    #[command(after_help = "Example:\n  \
        pagesight model quantize vidore/colpali-v1.3-hf ~/colpali-q8 --to q8")]
    Quantize(QuantizeModel),
    /// Download a checkpoint, with the base of an adapter, into the Hugging Face cache.
    ///
    /// Goes on where an earlier download stopped. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and
    /// HF_HUB_OFFLINE are respected.
    #[command(after_help = "Examples:\n  \
        pagesight model fetch vidore/colpali-v1.3-hf\n  \
        pagesight model fetch vidore/colpali-v1.2 --revision main")]
    Fetch(FetchModel),
}

/// One checkpoint, or that of the index.
#[derive(Debug, Args)]
pub struct InfoTarget {
    /// A folder or a name that `pagesight model list` shows [default: the one that the index here
    /// uses].
    #[arg(value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// One checkpoint.
#[derive(Debug, Args)]
pub struct ModelTarget {
    /// A folder or a name that `pagesight model list` shows.
    #[arg(value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A checkpoint to keep.
#[derive(Debug, Args)]
pub struct ImportModel {
    /// A folder or a name that `pagesight model list` shows.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    /// What it is called from then on [default: its folder's name].
    #[arg(long, visible_alias = "as")]
    pub name: Option<String>,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// A checkpoint to make smaller.
#[derive(Debug, Args)]
pub struct QuantizeModel {
    /// A folder or a name that `pagesight model list` shows.
    #[arg(value_name = "IN", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    /// The new folder.
    #[arg(value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Bits of the weights: q8 or q4.
    #[arg(long, value_name = "q8|q4")]
    pub to: pagesight::model::Precision,
    #[command(flatten)]
    pub loading: Loading,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

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

fn list(as_json: bool) -> Result<Outcome> {
    let models = models();
    let entries = models.list();
    let mut out = io::stdout().lock();
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
    for ModelEntry { name, revision, folder, state, .. } in &entries {
        if as_json {
            let (layout, bytes) = state.as_ref().ok().cloned().unzip();
            writeln!(
                out,
                "{}",
                json!({
                    "v": 1, "type": "model", "name": name, "revision": revision,
                    "folder": folder.as_ref().map(|folder| folder.display().to_string()),
                    "layout": layout, "bytes": bytes,
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
    let info = inspect(&find(model)?, &options)?;
    let device = device(&options)?;
    let mut out = io::stdout().lock();
    if target.json {
        let mut line = line("model", &info)?;
        line["device"] = json!(device.to_string());
        writeln!(out, "{line}")?;
    } else {
        describe(&mut out, &info, device)?;
    }
    Ok(Outcome::Done)
}

/// The model that the index here uses, or that a new one would use.
fn info_of_index(place: &Place, as_json: bool, mut options: LoadOptions) -> Result<Outcome> {
    let index = match locate::existing(place) {
        Ok(_) => Some(locate::open(place)?),
        Err(error) if place.index.is_some() => return Err(error),
        Err(_) => None,
    };
    let stored = index.as_ref().and_then(|index| index.snapshot().model().cloned());
    let mut out = io::stdout().lock();
    let source = match (&index, &stored) {
        (Some(index), None) if index.snapshot().documents() > 0 => {
            if as_json {
                writeln!(out, "{}", object("model", json!({"index": index.folder()})))?;
            } else {
                writeln!(out, "index       {}", index.folder().display())?;
                writeln!(out, "model       none: pages are found by their words alone")?;
                writeln!(out, "\n`pagesight index --model nano FOLDER` adds their pictures.")?;
            }
            return Ok(Outcome::NothingFound);
        }
        (_, Some(stored)) => {
            // The recipe is the index's own.
            options.recipe = stored.recipe.clone().map(RecipeChoice::Json);
            stored.source.clone()
        }
        (_, None) => Some(ModelSource::Nano),
    };
    let info = source.as_ref().map(|source| inspect(source, &options));
    let (name, device) = (checkpoint::name(source.as_ref()), device(&options)?);
    if as_json {
        let info = info.transpose()?.map(serde_json::to_value).transpose()?;
        let mut line = object("model", info.unwrap_or_else(|| json!({})));
        line["name"] = json!(name);
        line["device"] = json!(device.to_string());
        line["index"] = json!(index.as_ref().map(|index| index.folder()));
        line["model_id_of_index"] = json!(stored.map(|stored| stored.id));
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    match &index {
        Some(index) => writeln!(out, "index       {}", index.folder().display())?,
        None => writeln!(out, "index       none here; this is the model of a new one")?,
    }
    writeln!(out, "model       {name}")?;
    let info = info.transpose()?;
    if let Some(info) = &info {
        describe(&mut out, info, device)?;
    }
    if let Some(stored) = stored
        && info.is_some_and(|info| info.model_id != stored.id)
    {
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
    let source = find(&wanted.model)?;
    let options = options(&wanted.loading)?;
    let bar = if wanted.quiet { ProgressBar::hidden() } else { terminal.bar(0, "tensors") };
    let summary = quantize_checkpoint(&source, &wanted.out, wanted.to, &options, |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let summary = summary
        .map_err(with_hint)
        .with_context(|| format!("quantizing {}", checkpoint::name(Some(&source))))?;
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

fn inspect(source: &ModelSource, options: &LoadOptions) -> Result<ModelInfo> {
    inspect_checkpoint(source, options)
        .map_err(with_hint)
        .with_context(|| format!("looking at {}", checkpoint::name(Some(source))))
}

/// The device that models run on here.
fn device(options: &LoadOptions) -> Result<Device> {
    device_in_use(options.device).map_err(with_hint)
}

fn describe(out: &mut impl Write, info: &ModelInfo, device: Device) -> io::Result<()> {
    let types: Vec<String> = info.types.keys().cloned().collect();
    writeln!(out, "family      {}", info.family)?;
    match &info.folder {
        Some(folder) => writeln!(out, "folder      {}", folder.display())?,
        None => writeln!(out, "folder      none: inside this program")?,
    }
    if let Some(base) = &info.base {
        writeln!(out, "adapts      {base}")?;
    }
    if let Some(licence) = &info.licence {
        writeln!(out, "licence     {}", printable(licence))?;
    }
    writeln!(out, "layout      {}, {} files", info.layout, info.files.len())?;
    writeln!(
        out,
        "weights     {} numbers as {}, {}",
        info.parameters,
        types.join(" and "),
        HumanBytes(info.bytes)
    )?;
    match info.vision_layers {
        0 => writeln!(out, "layers      {} of patches and words", info.language_layers)?,
        n => writeln!(out, "layers      {n} of vision, {} of language", info.language_layers)?,
    }
    if let (Some(edge), Some(patches)) = (info.input_px, info.patches) {
        writeln!(out, "input       {edge} x {edge} px, {patches} patches")?;
    }
    writeln!(out, "vectors     {} numbers each", info.dim)?;
    let PageCost { picture, vectors, operations, .. } = info.page;
    writeln!(
        out,
        "an A4 page  {} x {} px, {vectors} vectors, {} in full precision, {:.2} TFLOP",
        picture.width_px,
        picture.height_px,
        HumanBytes((vectors * info.dim * 2) as u64),
        operations as f64 / 1e12
    )?;
    writeln!(out, "precision   {}, on {device}", info.precision)?;
    writeln!(out, "recipe      {}", printable(&info.recipe_origin))?;
    for (what, words) in &info.recipe_in_words {
        writeln!(out, "  {what:9} {}", printable(words))?;
    }
    writeln!(out, "model id    {}", info.model_id)
}

fn verify(target: &ModelTarget) -> Result<Outcome> {
    let source = find(&target.model)?;
    let options = options(&target.loading)?;
    let info = inspect(&source, &options)?;
    let verified = verify_checkpoint(&source, &options, &mut |path| {
        if !target.json {
            eprintln!("reading {}", path.display());
        }
    });
    let verifying = || format!("verifying {}", checkpoint::name(Some(&source)));
    let verified = verified.map_err(with_hint).with_context(verifying)?;
    let mut out = io::stdout().lock();
    if target.json {
        let mut line = line("verified", &verified)?;
        line["model_id"] = json!(info.model_id);
        writeln!(out, "{line}")?;
    } else {
        let hashes = match verified.hashes {
            0 => "no hash is known to compare with".to_string(),
            n => format!("{n} files have the hash that they should have"),
        };
        writeln!(out, "sound: {} numbers, all finite; {hashes}", verified.numbers)?;
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
    let copied = copied.map_err(|error| match &error {
        ModelError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
            hinted(format!("there is a model {name} already"), "choose another one with --name")
        }
        _ => with_hint(error),
    });
    let folder = copied.with_context(|| format!("importing {}", checkpoint::name(Some(&from))))?;
    let mut out = io::stdout().lock();
    if import.json {
        let folder = folder.display().to_string();
        writeln!(out, "{}", json!({"v": 1, "type": "imported", "name": name, "folder": folder}))?;
    } else {
        writeln!(out, "{name} is in {}", folder.display())?;
        writeln!(out, "use it: pagesight index --model {name} FOLDER")?;
    }
    Ok(Outcome::Done)
}

/// What a model is called that is copied without a name: the last part of what was typed, or of its
/// folder.
fn called(typed: &Path, source: &ModelSource) -> String {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match source {
        ModelSource::Folder(folder) => last(folder),
        ModelSource::Hub { name, .. } => last(Path::new(name)),
        _ => last(typed),
    };
    name.unwrap_or_default().split('@').next().unwrap_or_default().into()
}

fn with_hint(error: ModelError) -> anyhow::Error {
    let hint = match &error {
        ModelError::NoBase { name, .. } => {
            format!("`pagesight model fetch {name}` downloads it, --base-model DIR names it")
        }
        ModelError::OtherBase { .. } => {
            "make it again with training/adapt/adapt.py of this version, or --base-model DIR names \
             the folder of the weights that it was made for"
                .into()
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
