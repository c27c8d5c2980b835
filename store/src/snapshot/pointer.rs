//! The bytes of the pointer: one small file that joins the tables, the text index and the codes
//! into a snapshot.
//!
//! The file has two lines: the snapshot as JSON, and the BLAKE3 hash of the first line, so that no
//! flipped bit in it goes unseen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pagesight_core::{Fusion, ModelId, ModelRecord, ModelSource, NeutralQuestions};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::snapshot::contents::{Compact, FileMark, Grid, Passages, Snapshot, Tuning};

/// The format that this version writes. A writer carries an index of an earlier one on in this one;
/// an index of a newer one is refused.
///
/// | format | what it brought |
/// |---|---|
/// | 1 | no checksum, no copies, and the pointer names all files of the folder |
/// | 2 | the pointer carries its hash; all vectors of each page are there |
/// | 3 | vectors may be left out or merged, and say their places |
/// | 4 | all vectors may be in the codes alone |
/// | 5 | a page has its own layout, a failure its kind, a model its source |
/// | 6 | the meaning of the pages' text may be in codes beside those of their pictures |
/// | 7 | of an index in a bucket alone: see `store/src/bucket/entry.rs` |
/// | 8 | of an index in a bucket alone, and one that has very many parts: its lists lie in objects of their own |
pub const FORMAT: u32 = 6;

/// The first format whose pointer carries its own hash and names exactly the files it needs.
pub(crate) const HASHED: u32 = 2;

/// The first format whose pointer has the model as a [`ModelRecord`].
const RECORDED: u32 = 5;

/// Line 1 of a pointer, with the model as its format writes it.
#[derive(Serialize, Deserialize)]
struct Line<M> {
    format: u32,
    number: u64,
    created_s: u64,
    documents_version: u64,
    pages_version: u64,
    text_meta: String,
    /// 1 for the words of an index from before this was kept.
    #[serde(default = "first_analysis")]
    analysis: u32,
    model: Option<M>,
    /// Of an index that an earlier format began: how its pages without a layout are laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grid: Option<Grid>,
    dim: usize,
    documents: u64,
    pages: u64,
    #[serde(default)]
    codes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passages: Option<Passages>,
    #[serde(default, skip_serializing_if = "is_false")]
    no_passages: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tuning: Option<Tuning>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compact: Option<Compact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    addresses: Option<String>,
    files: BTreeMap<String, FileMark>,
}

fn first_analysis() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A model as formats 1 to 4 have it.
#[derive(Serialize, Deserialize)]
struct OldModel {
    id: ModelId,
    folder: PathBuf,
    grid: Grid,
    #[serde(default)]
    recipe: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<PathBuf>,
}

impl OldModel {
    fn into_record(self, dim: usize) -> (ModelRecord, Grid) {
        let Self { id, folder, grid, recipe, base } = self;
        let fusion = recipe.as_deref().and_then(fusion_of).unwrap_or_default();
        let source = Some(ModelSource::of_old_folder(folder));
        let base = base.map(ModelSource::Folder);
        let neutral = NeutralQuestions::default();
        (ModelRecord { id, dim, source, base, recipe, fusion, neutral }, grid)
    }
}

/// Formats 1 to 4 have it in the recipe alone.
fn fusion_of(recipe: &str) -> Option<Fusion> {
    #[derive(Deserialize)]
    struct FusionOnly {
        fusion: Option<Fusion>,
    }
    serde_json::from_str::<FusionOnly>(recipe).ok()?.fusion
}

impl<M> Line<M> {
    fn into_snapshot(self, model: impl FnOnce(M) -> (ModelRecord, Option<Grid>)) -> Snapshot {
        let (model, grid) = match self.model.map(model) {
            Some((model, grid)) => (Some(model), grid.or(self.grid)),
            None => (None, self.grid),
        };
        Snapshot {
            format: self.format,
            number: self.number,
            created_s: self.created_s,
            documents_version: self.documents_version,
            pages_version: self.pages_version,
            text_meta: self.text_meta,
            analysis: self.analysis,
            model,
            grid,
            dim: self.dim,
            documents: self.documents,
            pages: self.pages,
            codes: self.codes,
            passages: self.passages,
            no_passages: self.no_passages,
            tuning: self.tuning,
            compact: self.compact,
            addresses: self.addresses,
            files: self.files,
        }
    }
}

/// Reads the bytes of a pointer, of a copy of one, or of an export's description; `path` is for
/// errors.
///
/// # Errors
/// [`StoreError::NewerFormat`], [`StoreError::Pointer`].
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Snapshot, StoreError> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let damaged = |what: &'static str| StoreError::Pointer { path: path.to_path_buf(), what };
    let (json, hashed) = match split(bytes) {
        Some((json, hash)) if hash_line(json) == hash => (json, true),
        Some(_) => return Err(damaged("its hash is wrong")),
        None => (bytes, false),
    };
    // The format first: a newer one may have other fields.
    let format = serde_json::from_slice::<FormatOnly>(json);
    let got = format.map_err(|_| damaged("it does not parse"))?.format;
    if got > FORMAT {
        let path = path.to_path_buf();
        return Err(StoreError::NewerFormat { path, expected: FORMAT, got });
    }
    if got >= HASHED && !hashed {
        return Err(damaged("its hash is missing"));
    }
    let snapshot = if got >= RECORDED {
        serde_json::from_slice::<Line<ModelRecord>>(json)
            .map(|line| line.into_snapshot(|model| (model, None)))
    } else {
        serde_json::from_slice::<Line<OldModel>>(json).map(|line| {
            let dim = line.dim;
            line.into_snapshot(|model| {
                let (model, grid) = model.into_record(dim);
                (model, Some(grid))
            })
        })
    };
    let mut snapshot = snapshot.map_err(|_| damaged("it does not parse"))?;
    if got < HASHED {
        // Lance writes this one again and again; no snapshot needs it.
        snapshot.files.retain(|name, _| !name.ends_with("/latest_version_hint.json"));
    }
    Ok(snapshot)
}

/// The bytes of the pointer file of `snapshot`, which is of today's format.
pub(crate) fn to_bytes(snapshot: &Snapshot) -> Vec<u8> {
    debug_assert_eq!(snapshot.format, FORMAT, "earlier formats are read and never written");
    let line = Line {
        format: snapshot.format,
        number: snapshot.number,
        created_s: snapshot.created_s,
        documents_version: snapshot.documents_version,
        pages_version: snapshot.pages_version,
        text_meta: snapshot.text_meta.clone(),
        analysis: snapshot.analysis,
        model: snapshot.model.as_ref(),
        grid: snapshot.grid.clone(),
        dim: snapshot.dim,
        documents: snapshot.documents,
        pages: snapshot.pages,
        codes: snapshot.codes.clone(),
        passages: snapshot.passages.clone(),
        no_passages: snapshot.no_passages,
        tuning: snapshot.tuning.clone(),
        compact: snapshot.compact.clone(),
        addresses: snapshot.addresses.clone(),
        files: snapshot.files.clone(),
    };
    let mut bytes = serde_json::to_vec(&line).expect("a snapshot is plain data");
    bytes.push(b'\n');
    let hash = hash_line(&bytes);
    bytes.extend(hash.bytes());
    bytes
}

/// Line 2 of a pointer, for line 1 with its line end.
pub(crate) fn hash_line(json: &[u8]) -> String {
    format!("{{\"blake3\":\"{}\"}}\n", blake3::hash(json).to_hex())
}

/// The two lines of a pointer; `None` for one of format 1, which has one.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let at = bytes.strip_suffix(b"\n")?.iter().rposition(|&b| b == b'\n')? + 1;
    let hash = std::str::from_utf8(&bytes[at..]).ok()?;
    hash.starts_with("{\"blake3\":").then_some((&bytes[..at], hash))
}

#[cfg(test)]
mod tests {
    use pagesight_core::{PatchLayout, Quality, Slices};

    use super::*;
    use crate::snapshot::names::POINTER;

    fn snapshot() -> Snapshot {
        Snapshot {
            format: FORMAT,
            number: 7,
            created_s: 1,
            documents_version: 2,
            pages_version: 3,
            text_meta: "{\n}".into(),
            analysis: 1,
            model: Some(ModelRecord::new(ModelId("m".into()), 128)),
            grid: None,
            dim: 128,
            documents: 0,
            pages: 0,
            codes: Some(Vec::new()),
            passages: None,
            no_passages: false,
            tuning: None,
            compact: None,
            addresses: Some("6.rows".into()),
            files: BTreeMap::new(),
        }
    }

    /// A pointer as `format` wrote it.
    fn old(format: u32, model: &str, rest: &str) -> Vec<u8> {
        let mut bytes = format!(
            r#"{{"format":{format},"number":4,"created_s":1,"documents_version":3,"pages_version":2,"text_meta":"{{}}","model":{model},"dim":128,"documents":1,"pages":2,{rest}"files":{{}}}}"#
        )
        .into_bytes();
        if format >= HASHED {
            bytes.push(b'\n');
            let hash = hash_line(&bytes);
            bytes.extend(hash.bytes());
        }
        bytes
    }

    #[test]
    fn no_flipped_bit_of_a_pointer_goes_unseen() {
        let path = Path::new(POINTER);
        let bytes = to_bytes(&snapshot());
        assert_eq!(parse(path, &bytes).unwrap(), snapshot());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(path, &flipped).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(parse(path, &bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn measured_figures_come_back_as_they_were_written() {
        for questions in 1..200 {
            for hits in 0..=10 * questions {
                let share = f64::from(hits) / f64::from(10 * questions);
                let (overlap10, ndcg_ratio) = (share, 1.0 + share / 3.0);
                let quality = Quality { overlap10, ndcg_ratio, questions: questions as usize };
                let compact = Some(Compact::new(quality, 7));
                let tuning = Some(Tuning::new(None, quality, 7));
                let written = to_bytes(&Snapshot { compact, tuning, ..self::snapshot() });
                let read = parse(Path::new(POINTER), &written).unwrap();
                assert_eq!(to_bytes(&read), written, "{share}");
            }
        }
    }

    #[test]
    fn models_of_earlier_formats_become_records() {
        let grid = r#""grid":{"slices":"2x1","side":8,"text":6}"#;
        let recipe = r#""recipe":"{\"slices\":\"2x1\",\"fusion\":{\"visual_weight\":0.5}}""#;
        for (format, model, source, weight) in [
            (1, format!(r#"{{"id":"m","folder":"/model",{grid}}}"#), "/model", 1.0),
            (4, format!(r#"{{"id":"m","folder":"embedded:nano",{grid},{recipe}}}"#), "nano", 0.5),
        ] {
            let read = parse(Path::new(POINTER), &old(format, &model, "")).unwrap();
            let model = read.model().unwrap();
            assert_eq!((read.format(), model.dim), (format, 128));
            assert_eq!(model.source.as_ref().unwrap().to_string(), source);
            assert_eq!(model.fusion.visual_weight, weight);
            let slices: Slices = "2x1".parse().unwrap();
            assert_eq!(read.slices(), Some(&slices));
            assert_eq!(read.old_layout(), Some(PatchLayout::slices(&slices, 8, 6)));
            // Carried on in today's format, nothing of it is lost.
            let today = Snapshot { format: FORMAT, ..read };
            assert_eq!(parse(Path::new(POINTER), &to_bytes(&today)).unwrap(), today);
        }
    }

    #[test]
    fn figures_of_earlier_formats_are_read() {
        let figures = r#""overlap10":0.9,"ndcg_ratio":0.99,"questions":5,"snapshot":3"#;
        let rest = format!(r#""tuning":{{"compared":200,{figures}}},"compact":{{{figures}}},"#);
        let read = parse(Path::new(POINTER), &old(4, "null", &rest)).unwrap();
        let quality = Quality { overlap10: 0.9, ndcg_ratio: 0.99, questions: 5 };
        assert_eq!(read.tuning(), Some(&Tuning::new(Some(200), quality, 3)));
        assert_eq!(read.compact(), Some(&Compact::new(quality, 3)));
        // And today's pointer writes them the same way.
        let written = String::from_utf8(to_bytes(&Snapshot { format: FORMAT, ..read })).unwrap();
        assert!(written.contains(rest.trim_end_matches(',')), "{written}");
    }
}
