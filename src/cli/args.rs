//! What several verbs let a user say.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use pagesight::index::Limits;
use pagesight::pdf::OcrChoice;

/// Where the index is and what pages are drawn with.
#[derive(Debug, Args)]
pub struct Place {
    /// Index folder [default: `.pagesight` of this folder or the nearest one above], or the address of
    /// an index in a bucket, s3://BUCKET/PREFIX.
    #[arg(long, global = true, env = "PAGESIGHT_INDEX", value_name = "DIR|URL")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub index: Option<PathBuf>,
    /// libpdfium to draw pages with [default: looked up; `pagesight doctor` says where].
    #[arg(long, global = true, env = "PAGESIGHT_PDFIUM", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub pdfium: Option<PathBuf>,
    /// The folder of the models that come with the program [default: looked up; `pagesight doctor`
    /// says where].
    #[arg(long, global = true, env = "PAGESIGHT_WEIGHTS", value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath, hide_env_values = true)]
    pub weights: Option<PathBuf>,
    /// Folder with the weights of the embedded reader [default: looked up; `pagesight doctor` says
    /// where].
    #[arg(long, global = true, env = "PAGESIGHT_OCR", value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath, hide_env_values = true)]
    pub ocr_weights: Option<PathBuf>,
    /// Of an index in a bucket: where copies of its words and codes are kept, and parts while they are
    /// made [default: the user's folder for caches].
    #[arg(long, global = true, env = "PAGESIGHT_LOCAL", value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath, hide_env_values = true)]
    pub local: Option<PathBuf>,
    /// Of an index in a bucket: what its copies here may take, GB; codes of pages that there is no room
    /// for are fetched when they are compared [default: 90% of what the disk has free].
    #[arg(long, global = true, env = "PAGESIGHT_LOCAL_GB", value_name = "N")]
    #[arg(value_parser = gigabytes, hide_env_values = true)]
    pub local_gb: Option<f64>,
    /// Keep to the instructions of another kind of CPU, to measure or to compare: portable, avx2,
    /// avx2-vnni, avx512, avx512-vnni, avx512-bf16, amx or neon [default: the best of this CPU;
    /// `pagesight doctor` says what they do].
    #[arg(long, global = true, env = "PAGESIGHT_INSTRUCTIONS", value_name = "SET")]
    #[arg(hide_env_values = true, hide_short_help = true)]
    pub instructions: Option<pagesight::model::Limit>,
}

/// The model that encodes pages and questions.
#[derive(Debug, Args)]
pub struct ModelChoice {
    /// A checkpoint of ColPali, ColQwen2, 2.5 or 3.5, NeoMME, ColModernVBERT or ColSmol: a folder, or
    /// a name that `pagesight model list` shows; `none` is words alone [default: the one that the
    /// index was made with, for a new one nano].
    #[arg(long, env = "PAGESIGHT_MODEL", value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub loading: Loading,
}

/// What may be said about a checkpoint.
#[derive(Debug, Args)]
pub struct Loading {
    /// Prompts and the rest around the weights: a recipe of pagesight, e.g. colpali-v1.3, or a
    /// JSON file [default: the checkpoint's own].
    #[arg(long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub recipe: Option<PathBuf>,
    /// Whole weights that an adapter is merged into [default: the ones that it names].
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub base_model: Option<PathBuf>,
    /// Bits of the weights: f32, f16, bf16, q8 or q4 [default: the recipe's, else as the weights
    /// are]. An index keeps the one that it was made in.
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<pagesight::model::Precision>,
    /// Where the model runs: auto, cpu, cuda or metal; auto takes a graphics card that this
    /// program was built for, where there is one.
    #[arg(long, env = "PAGESIGHT_DEVICE", value_name = "DEVICE", default_value_t)]
    pub device: pagesight::model::Device,
}

/// Which reader reads pages that are pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OcrReader {
    /// The embedded one for Latin letters, Chinese and Japanese, tesseract for other scripts, each
    /// where it is there.
    Auto,
    /// The embedded one alone.
    Embedded,
    /// The tesseract program alone.
    Tesseract,
    /// None.
    Off,
}

impl From<OcrReader> for OcrChoice {
    fn from(reader: OcrReader) -> Self {
        match reader {
            OcrReader::Auto => Self::Auto,
            OcrReader::Embedded => Self::Embedded,
            OcrReader::Tesseract => Self::Tesseract,
            OcrReader::Off => Self::Off,
        }
    }
}

/// How workers are shut in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SandboxChoice {
    /// Read nothing where a part of it is missing.
    Require,
    /// As much of it as the system has, with a warning where a part is missing.
    BestEffort,
    /// Limits on time and memory only.
    Off,
}

/// How an approximate way to search is measured.
#[derive(Debug, Args)]
pub struct Measuring {
    /// Measure, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub questions: QuestionChoice,
    /// Pages to measure on; a megabyte of memory for every two.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pages: u32,
    #[command(flatten)]
    pub model: ModelChoice,
}

/// Questions to measure searches with.
#[derive(Debug, Args)]
pub struct QuestionChoice {
    /// Labelled questions, JSON Lines as for `eval` [default: made from the pages].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub queries: Option<PathBuf>,
    /// Questions to make from pages.
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub questions: u32,
}

/// `1%` or `0.01`.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, of) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let value = number.trim().parse::<f64>().map(|value| value / of).ok();
    let value = value.filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| format!("a share such as 1% or 0.01, not {text:?}"))
}

/// A checkpoint of a hub.
#[derive(Debug, Args)]
pub struct FetchModel {
    /// ORG/NAME, or ORG/NAME@REVISION.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A commit, branch or tag [default: main].
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Ask nobody: what is in the cache, or an error.
    #[arg(long)]
    pub offline: bool,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// `3/40`: which shard or part, from 0, and how many there are.
pub fn shard(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(shard, of)| {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let (shard, of) = (digits(shard).then_some(shard)?, digits(of).then_some(of)?);
        Some((shard.parse().ok()?, of.parse().ok()?))
    });
    numbers.filter(|(shard, of)| shard < of).ok_or_else(|| {
        format!("which one, from 0, and how many there are, e.g. 0/40 to 39/40, not {text:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::shard;

    #[test]
    fn shards_are_counted_from_nought() {
        assert_eq!(shard("0/1"), Ok((0, 1)));
        assert_eq!(shard("39/40"), Ok((39, 40)));
        for wrong in ["", "1", "1/1", "40/40", "-1/4", "1/0", "+1/4", "a/b", "1/2/3"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}

/// The most that is read of a file and of a page.
#[derive(Debug, Clone, Args)]
pub struct Most {
    /// Pages read of a document; the rest is left out and noted.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub max_pages: u32,
    /// Megabytes that a file may have.
    #[arg(long, value_name = "MB", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub max_file_size: u64,
    /// Megapixels that a page is drawn with; a larger one is drawn smaller.
    #[arg(long, value_name = "MP", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    pub max_pixels: u64,
    /// Kilobytes of text read of a page; the rest is left out and noted.
    #[arg(long, value_name = "KB", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub max_text: u64,
}

impl Most {
    /// As a run of indexing takes it.
    pub fn limits(&self) -> Limits {
        Limits {
            file_bytes: self.max_file_size << 20,
            pages: self.max_pages,
            text_bytes: self.max_text as usize * 1000,
        }
    }

    /// Pixels that a page is drawn with.
    pub fn pixels(&self) -> u64 {
        self.max_pixels * 1_000_000
    }
}

/// A number of gigabytes.
fn gigabytes(text: &str) -> Result<f64, String> {
    let is_one = |number: &f64| number.is_finite() && *number > 0.0;
    text.parse().ok().filter(is_one).ok_or_else(|| "a number above 0 is wanted".into())
}
