//! Proof against reference tensors: each stage is fed with the reference's own input of that
//! stage, so a difference points at its cause.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device as CandleDevice, Tensor};
use pagesight_core::PageImage;
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

/// The largest differences inside a model, and of a vector's number.
#[derive(Debug, Clone, Copy)]
pub struct Tolerances {
    pub stage: f64,
    pub vectors: f64,
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
