//! Proof against reference tensors: each stage is fed with the reference's own input of that
//! stage, so a difference points at its cause.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device as CandleDevice, Tensor};
use pagesight_core::PageImage;
use pagesight_maxsim::maxsim_reference;
use serde::Serialize;

use crate::error::ModelError;
use crate::picture::read_picture;

/// One stage compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageReport {
    /// The name of the expected tensor, or of the file for pixel formats.
    pub stage: String,
    /// The largest difference that passes; 0 is exact.
    pub tolerance: f64,
    /// The largest difference found; infinite for another shape or a number that is not one.
    pub max_difference: f64,
}

impl StageReport {
    /// Whether the stage is within its tolerance.
    pub fn passed(&self) -> bool {
        self.max_difference <= self.tolerance
    }
}

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParityError {
    /// The model could not be loaded or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The expected tensors cannot be read.
    #[error("{path} cannot be read")]
    Expected {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<candle_core::Error>,
    },
    /// An expected tensor is not there.
    #[error("expected.safetensors lacks {name}")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A picture cannot be read.
    #[error("{path} is not a picture")]
    Image {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: image::ImageError,
    },
    /// The folder has no pages to compare.
    #[error("{path} has no page*.png")]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
}

impl From<candle_core::Error> for ParityError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

/// The reference's tensors, and what comparing with them has found so far.
pub struct Stages {
    expected: HashMap<String, Tensor>,
    /// A report a stage, in order.
    pub reports: Vec<StageReport>,
}

impl Stages {
    /// Reads `folder/expected.safetensors`.
    ///
    /// # Errors
    /// [`ParityError::Expected`].
    pub fn read(folder: &Path) -> Result<Self, ParityError> {
        Self::read_file(folder.join("expected.safetensors"))
    }

    /// As [`read`](Self::read), from a file of another name.
    ///
    /// # Errors
    /// [`ParityError::Expected`].
    pub fn read_file(path: PathBuf) -> Result<Self, ParityError> {
        let expected = candle_core::safetensors::load(&path, &CandleDevice::Cpu)
            .map_err(|source| ParityError::Expected { path, source: Box::new(source) })?;
        Ok(Self { expected, reports: Vec::new() })
    }

    /// Expected tensor `name`.
    pub fn get(&self, name: &str) -> Result<Tensor, ParityError> {
        let tensor = self.expected.get(name).cloned();
        tensor.ok_or_else(|| ParityError::Missing { name: name.into() })
    }

    /// Whether there is an expected tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.expected.contains_key(name)
    }

    /// Notes how far a stage is off.
    pub fn report(&mut self, stage: &str, tolerance: f64, max_difference: f64) {
        self.reports.push(StageReport { stage: stage.into(), tolerance, max_difference });
    }

    /// Compares `got` with the expected tensor `name`.
    pub fn compare_one(
        &mut self,
        name: &str,
        tolerance: f64,
        got: &Tensor,
    ) -> Result<(), ParityError> {
        let worst = max_difference(got, &self.get(name)?)?;
        self.report(name, tolerance, worst);
        Ok(())
    }

    /// Compares `got`, one tensor an item, with the items of the expected tensor `name`, the
    /// first `lengths[i]` rows of each where lengths are given.
    pub fn compare(
        &mut self,
        name: &str,
        tolerance: f64,
        got: &[Tensor],
        lengths: Option<&[usize]>,
    ) -> Result<(), ParityError> {
        let expected = self.get(name)?;
        let mut worst: f64 = if expected.dim(0)? == got.len() { 0.0 } else { f64::INFINITY };
        for (i, got) in got.iter().enumerate().take(expected.dim(0)?) {
            let expected = expected.get(i)?;
            let expected = match lengths {
                Some(lengths) => expected.narrow(0, 0, lengths[i])?,
                None => expected,
            };
            worst = worst.max(max_difference(got, &expected)?);
        }
        self.report(name, tolerance, worst);
        Ok(())
    }
}

/// What a language model makes of one sequence, step by step; all tensors are `[positions, width]`.
pub trait Steps {
    /// Number of layers.
    fn depth(&self) -> usize;

    /// What layer `n` makes of `x`, where the first layer's input was `input`.
    fn layer(&self, n: usize, input: &Tensor, x: &Tensor) -> Result<Tensor, ParityError>;

    /// The last norm.
    fn output(&self, x: &Tensor) -> Result<Tensor, ParityError>;

    /// The head.
    fn head(&self, x: &Tensor) -> Result<Tensor, ParityError>;

    /// The vectors: the head, and rows of length 1.
    fn vectors(&self, x: &Tensor) -> Result<Tensor, ParityError>;
}

/// Where the rows of a sequence are in a batch of the reference.
#[derive(Debug, Clone, Copy)]
pub struct OfBatch {
    /// Its number.
    pub row: usize,
    /// Its positions.
    pub length: usize,
    /// Whether the batch is padded before it, not after it.
    pub padded_before: bool,
}

impl OfBatch {
    /// The rows of the sequence in the tensor of a batch.
    pub fn rows(self, batch: &Tensor) -> Result<Tensor, ParityError> {
        let rows = batch.get(self.row)?;
        let padding = rows.dim(0)?.saturating_sub(self.length);
        let (start, count) = (if self.padded_before { padding } else { 0 }, rows.dim(0)? - padding);
        Ok(rows.narrow(0, start, count)?.contiguous()?)
    }
}

/// The largest differences inside a model, and of a vector's number.
#[derive(Debug, Clone, Copy)]
pub struct Tolerances {
    pub stage: f64,
    pub vectors: f64,
}

impl Stages {
    /// The layers, the last norm and the head of one sequence, each fed with the reference's own
    /// input; of a batch the row `of_batch`.
    pub fn layers(
        &mut self,
        kind: &str,
        steps: &dyn Steps,
        of_batch: Option<OfBatch>,
        tolerances: Tolerances,
    ) -> Result<(), ParityError> {
        let get = |stages: &Self, what: &str| -> Result<Option<Tensor>, ParityError> {
            let name = format!("{kind}.{what}");
            if !stages.has(&name) {
                return Ok(None);
            }
            let tensor = stages.get(&name)?;
            Ok(Some(match of_batch {
                Some(of_batch) => of_batch.rows(&tensor)?,
                None => tensor,
            }))
        };
        let Some(input) = get(self, "lm.input")? else { return Ok(()) };
        let stage = |what: &str| match of_batch {
            Some(of_batch) => format!("{kind}{}.{what}", of_batch.row),
            None => format!("{kind}.{what}"),
        };
        let mut x = input.clone();
        for n in 0..steps.depth() {
            x = steps.layer(n, &input, &x)?;
            let what = format!("lm.layer.{n}");
            if let Some(expected) = get(self, &what)? {
                let worst = max_difference(&x, &expected)?;
                self.report(&stage(&what), tolerances.stage, worst);
                x = expected;
            }
        }
        x = steps.output(&x)?;
        if let Some(expected) = get(self, "lm.output")? {
            let worst = max_difference(&x, &expected)?;
            self.report(&stage("lm.output"), tolerances.stage, worst);
            x = expected;
        }
        if let Some(expected) = get(self, "head.output")? {
            let worst = max_difference(&steps.head(&x)?, &expected)?;
            self.report(&stage("head.output"), tolerances.stage, worst);
        }
        if let Some(expected) = get(self, "embeddings")? {
            let worst = max_difference(&steps.vectors(&x)?, &expected)?;
            self.report(&stage("normalisation"), tolerances.vectors, worst);
        }
        Ok(())
    }

    /// The vectors of queries, `[sum of lengths, dim]`, against a batch of the reference; returns
    /// those of each.
    pub fn queries(
        &mut self,
        kind: &str,
        rows: &Tensor,
        lengths: &[usize],
        padded_before: bool,
        tolerance: f64,
    ) -> Result<Vec<Tensor>, ParityError> {
        let expected = self.get("hf.query.embeddings")?;
        let (mut start, mut parts) = (0, Vec::new());
        for (row, &length) in lengths.iter().enumerate() {
            let part = rows.narrow(0, start, length)?.contiguous()?;
            let of_batch = OfBatch { row, length, padded_before };
            let worst = max_difference(&part, &of_batch.rows(&expected)?)?;
            self.report(&format!("{kind}.query{row}.embeddings"), tolerance, worst);
            parts.push(part);
            start += length;
        }
        Ok(parts)
    }

    /// The ids, the mask and the model's input of a query of the batch `hf.query`.
    pub fn query_input(
        &mut self,
        ids: &[u32],
        input: &Tensor,
        of_batch: OfBatch,
        tolerance: f64,
    ) -> Result<(), ParityError> {
        let OfBatch { row, length, padded_before } = of_batch;
        let worst =
            max_difference(&id_tensor(ids)?, &of_batch.rows(&self.get("hf.query.input_ids")?)?)?;
        self.report(&format!("hf.query{row}.input_ids"), 0.0, worst);
        let mask = self.get("hf.query.attention_mask")?.get(row)?;
        let width = mask.dim(0)?;
        let is_seen = |i: usize| if padded_before { i + length >= width } else { i < length };
        let seen: Vec<u32> = (0..width).map(|i| u32::from(is_seen(i))).collect();
        let worst = max_difference(&id_tensor(&seen)?, &mask)?;
        self.report(&format!("hf.query{row}.attention_mask"), 0.0, worst);
        let worst = max_difference(input, &of_batch.rows(&self.get("hf.query.lm.input")?)?)?;
        self.report(&format!("hf.query{row}.lm.input"), tolerance, worst);
        Ok(())
    }

    /// MaxSim of each query with each page, or with `mean` its mean over the tokens of the query.
    pub fn scores(
        &mut self,
        kind: &str,
        queries: &[Tensor],
        pages: &[Tensor],
        mean: bool,
    ) -> Result<(), ParityError> {
        let pages = pages.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let row = |query: &Tensor| -> Result<Tensor, ParityError> {
            let (tokens, dim) = query.dims2()?;
            let (query, parts) = (numbers(query)?, if mean { tokens as f32 } else { 1.0 });
            let score = |page: &Vec<f32>| maxsim_reference(dim, &query, page) as f32 / parts;
            let scores: Vec<f32> = pages.iter().map(score).collect();
            Ok(Tensor::new(scores, &CandleDevice::Cpu)?)
        };
        let scores = queries.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        self.compare("hf.scores", 1e-4, &scores, None)?;
        if let Some(report) = self.reports.last_mut() {
            report.stage = format!("{kind}.scores");
        }
        Ok(())
    }
}

/// The pictures `folder/images/page*.png`, by name.
///
/// # Errors
/// [`ParityError::NoImages`].
pub fn page_pictures(folder: &Path) -> Result<Vec<PathBuf>, ParityError> {
    let folder = folder.join("images");
    let entries = std::fs::read_dir(&folder)
        .map_err(|source| ModelError::Io { path: folder.clone(), source })?;
    let mut pages: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    pages.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("page") && name.ends_with(".png")
    });
    pages.sort();
    if pages.is_empty() {
        return Err(ParityError::NoImages { path: folder });
    }
    Ok(pages)
}

/// Reads a picture.
///
/// # Errors
/// [`ParityError::Image`].
pub fn read_image(path: &Path) -> Result<PageImage, ParityError> {
    read_picture(path).map_err(|source| ParityError::Image { path: path.to_path_buf(), source })
}

/// A picture as a tensor, `[height, width, 3]` u8.
pub fn image_tensor(image: &PageImage) -> Result<Tensor, ParityError> {
    let shape = (image.height_px() as usize, image.width_px() as usize, 3);
    Ok(Tensor::from_slice(image.rgb(), shape, &CandleDevice::Cpu)?)
}

/// The inverse of [`image_tensor`].
pub fn tensor_image(tensor: &Tensor) -> Result<PageImage, ParityError> {
    let (height, width, _) = tensor.dims3()?;
    let bytes = tensor.flatten_all()?.to_vec1::<u8>()?;
    Ok(PageImage::new(width as u32, height as u32, bytes).expect("the tensor is a picture"))
}

/// Ids as a tensor, `[n]`.
pub fn id_tensor(ids: &[u32]) -> Result<Tensor, ParityError> {
    Ok(Tensor::new(ids, &CandleDevice::Cpu)?)
}

/// The items of a tensor along its first axis.
pub fn items(tensor: &Tensor) -> Result<Vec<Tensor>, ParityError> {
    (0..tensor.dim(0)?).map(|i| Ok(tensor.get(i)?.contiguous()?)).collect()
}

/// All numbers of a tensor, row-major.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f32>, ParityError> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?)
}

/// The largest difference; infinite for another shape or a number that is not one.
pub fn max_difference(got: &Tensor, expected: &Tensor) -> Result<f64, ParityError> {
    if got.dims() != expected.dims() {
        return Ok(f64::INFINITY);
    }
    let exact = |tensor: &Tensor| -> Result<Vec<f64>, ParityError> {
        Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?)
    };
    let pairs = exact(got)?.into_iter().zip(exact(expected)?);
    let differences = pairs.map(|(a, b)| (a - b).abs());
    Ok(differences.fold(0.0, |worst: f64, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) }))
}
