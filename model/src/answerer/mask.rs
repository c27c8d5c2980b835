//! Masks: 16 codes become a picture of 64 by 64 numbers, above 0 inside the thing, which is pasted
//! into its box. The decoder is that of the VQ-VAE that PaliGemma was trained with, published as
//! `vae-oid.npz`. Source: big_vision 0127fb6 `evaluators/proj/paligemma/transfers/segmentation.py`.

use std::collections::HashMap;
use std::path::Path;

use candle_core::npy::NpzTensors;
use candle_core::{DType, Device, Result as CandleResult, Tensor};

use crate::answerer::objects::{CODES, Object};
use crate::checkpoint::shard::Shard;
use crate::error::ModelError;

/// Edge of a decoded mask.
const EDGE: usize = 64;

/// Codes that there are.
const VOCABULARY: usize = 128;

/// The width of a layer, or of a code, is never above this.
const WIDEST: usize = 4096;

/// The table of codes.
const TABLE: &str = "_vq_vae._embedding";

/// Turns the codes of an [`Object`] into a mask.
#[derive(Debug, Clone)]
pub struct MaskDecoder {
    tensors: HashMap<String, Tensor>,
}

/// Which pixels of a picture belong to a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectMask {
    /// Width of the picture, px.
    pub width_px: u32,
    /// Its height, px.
    pub height_px: u32,
    /// Left, top, right and bottom of the box in it, px; the last two are outside.
    pub box_px: [u32; 4],
    /// A byte a pixel of the box, row by row: 1 is inside the thing.
    pub inside: Vec<u8>,
}

impl ObjectMask {
    /// Whether the pixel belongs to the thing.
    pub fn has(&self, x: u32, y: u32) -> bool {
        let [left, top, right, bottom] = self.box_px;
        if !(left..right).contains(&x) || !(top..bottom).contains(&y) {
            return false;
        }
        self.inside[((y - top) * (right - left) + x - left) as usize] == 1
    }

    /// The box row by row as lengths of runs: pixels outside the thing, pixels inside, outside again,
    /// and so on. The first is 0 where the box begins inside.
    ///
    /// ```
    /// # use pagesight_model::{MaskDecoder, Object, Location};
    /// # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity-paligemma/mask/vae.npz");
    /// # let decoder = MaskDecoder::load(file.as_ref())?;
    /// let object = Object::new(Location([0, 0, 1023, 1023]), "logo".into(), Some([7; 16]));
    /// let mask = decoder.mask(&object, 90, 120)?.expect("it has codes");
    /// assert_eq!(mask.runs().iter().sum::<usize>(), mask.inside.len());
    /// assert_eq!(mask.runs().iter().skip(1).step_by(2).sum::<usize>(), mask.area());
    /// # Ok::<(), pagesight_model::ModelError>(())
    /// ```
    pub fn runs(&self) -> Vec<usize> {
        let runs = self.inside.chunk_by(|a, b| a == b).map(<[u8]>::len);
        let starts_inside = self.inside.first() == Some(&1);
        starts_inside.then_some(0).into_iter().chain(runs).collect()
    }

    /// Pixels of the thing.
    pub fn area(&self) -> usize {
        self.inside.iter().filter(|&&inside| inside == 1).count()
    }
}

impl MaskDecoder {
    /// Reads the decoder from `vae-oid.npz`, or from a safetensors file with the same tensors. The
    /// encoder that the file also holds is not read.
    ///
    /// # Errors
    /// [`ModelError::Weights`] for a file that is no archive, or whose arrays are missing, of another
    /// type, of shapes that do not fit each other, or cut off; [`ModelError::Io`] when it is not
    /// there.
    ///
    /// ```
    /// use pagesight_model::MaskDecoder;
    /// let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity-paligemma/mask/vae.npz");
    /// MaskDecoder::load(file.as_ref())?;
    /// # Ok::<(), pagesight_model::ModelError>(())
    /// ```
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            let shard = Shard::open(path.into())?;
            let shape = |name: &str| shard.get(name).map(|tensor| tensor.shape().to_vec());
            let tensor = |name: &str| match shard.get(name) {
                Some(tensor) => tensor.to_f32(),
                None => unreachable!("its shape was found"),
            };
            return Self::take(path, shape, tensor);
        }
        // The file itself first: what a library says of a missing one is less.
        std::fs::File::open(path).map_err(|source| ModelError::Io { path: path.into(), source })?;
        let archive = NpzTensors::new(path).map_err(|error| wrong(path, error.to_string()))?;
        let shape = |name: &str| {
            let (shape, dtype) = archive.get_shape_and_dtype(name).ok()?;
            (dtype == DType::F32).then(|| shape.dims().to_vec())
        };
        let tensor = |name: &str| match archive.get(name) {
            Ok(Some(tensor)) => Ok(tensor),
            Ok(None) => Err(wrong(path, format!("it lacks {name}"))),
            Err(error) => Err(wrong(path, format!("{name}: {error}"))),
        };
        Self::take(path, shape, tensor)
    }

    /// Writes the decoder as a safetensors file, which is read without an archive around it.
    ///
    /// # Errors
    /// [`ModelError::Compute`] when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        Ok(candle_core::safetensors::save(&self.tensors, path)?)
    }

    /// Takes all arrays. Shapes are compared with those that the first two give before any number is
    /// read, so a file that lies makes no large allocation.
    fn take(
        path: &Path,
        shape: impl Fn(&str) -> Option<Vec<usize>>,
        tensor: impl Fn(&str) -> Result<Tensor, ModelError>,
    ) -> Result<Self, ModelError> {
        let of = |name: &str| {
            shape(name).ok_or_else(|| wrong(path, format!("it has no f32 array {name}")))
        };
        let (code, width) = match (of(TABLE)?.as_slice(), of("decoder.0.weight")?.as_slice()) {
            (&[VOCABULARY, code], &[width, ..]) => (code, width),
            (table, _) => {
                let expected = format!("{TABLE} is {table:?}, expected [{VOCABULARY}, any]");
                return Err(wrong(path, expected));
            }
        };
        if !(1..=WIDEST).contains(&code) || !(8..=WIDEST).contains(&width) || width % 8 != 0 {
            return Err(wrong(path, format!("codes of {code} and layers of {width} numbers")));
        }
        let mut tensors = HashMap::new();
        for (name, expected) in inventory(code, width) {
            let got = of(&name)?;
            if got != expected {
                let reason = format!("{name} is {got:?}, expected {expected:?}");
                return Err(wrong(path, reason));
            }
            let found = tensor(&name)?;
            let numbers = found.flatten_all()?.to_vec1::<f32>()?;
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(wrong(path, format!("{name} has numbers that are not finite")));
            }
            tensors.insert(name, found);
        }
        Ok(Self { tensors })
    }

    /// The mask of 64 by 64 that `codes` stand for, row by row; above 0 is inside. A code above 127
    /// counts as 127.
    ///
    /// # Errors
    /// [`ModelError::Compute`] when there is no memory.
    pub fn decode(&self, codes: &[u8; CODES]) -> Result<Vec<f32>, ModelError> {
        let codes = codes.map(|code| u32::from(code).min(VOCABULARY as u32 - 1));
        let table = &self.tensors[TABLE];
        let x = table.index_select(&Tensor::new(&codes, &Device::Cpu)?, 0)?;
        let x = x.t()?.reshape((1, x.dim(1)?, 4, 4))?.contiguous()?;
        let mut x = self.convolve(&x, "decoder.0", 0)?.relu()?;
        for block in [2, 3] {
            let name = |n: usize| format!("decoder.{block}.net.{n}");
            let y = self.convolve(&x, &name(0), 1)?.relu()?;
            let y = self.convolve(&y, &name(2), 1)?.relu()?;
            x = (x + self.convolve(&y, &name(4), 0)?)?;
        }
        for layer in [4, 6, 8, 10] {
            let name = format!("decoder.{layer}");
            let weight = &self.tensors[&format!("{name}.weight")];
            let y = x.conv_transpose2d(weight, 1, 0, 2, 1)?;
            x = self.biased(&y, &name)?.relu()?;
        }
        Ok(self.convolve(&x, "decoder.12", 0)?.flatten_all()?.to_vec1()?)
    }

    /// The mask of `object` on a picture of `width` by `height` px; `None` when it has no codes.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn mask(
        &self,
        object: &Object,
        width: u32,
        height: u32,
    ) -> Result<Option<ObjectMask>, ModelError> {
        let Some(codes) = &object.codes else { return Ok(None) };
        Ok(Some(paste(&self.decode(codes)?, object.location.0, width, height)))
    }

    fn convolve(&self, x: &Tensor, name: &str, padding: usize) -> CandleResult<Tensor> {
        let y = x.conv2d(&self.tensors[&format!("{name}.weight")], padding, 1, 1, 1)?;
        self.biased(&y, name)
    }

    fn biased(&self, y: &Tensor, name: &str) -> CandleResult<Tensor> {
        let bias = &self.tensors[&format!("{name}.bias")];
        y.broadcast_add(&bias.reshape((1, bias.dim(0)?, 1, 1))?)
    }
}

/// Every array of the decoder and its shape, for codes of `code` numbers and layers of `width`.
fn inventory(code: usize, width: usize) -> Vec<(String, Vec<usize>)> {
    let mut list = vec![(TABLE.to_string(), vec![VOCABULARY, code])];
    let mut add = |name: String, shape: Vec<usize>, outputs: usize| {
        list.push((format!("{name}.weight"), shape));
        list.push((format!("{name}.bias"), vec![outputs]));
    };
    add("decoder.0".into(), vec![width, code, 1, 1], width);
    for block in [2, 3] {
        for (n, edge) in [(0, 3), (2, 3), (4, 1)] {
            add(format!("decoder.{block}.net.{n}"), vec![width, width, edge, edge], width);
        }
    }
    for (n, (from, to)) in [(1, 1), (1, 2), (2, 4), (4, 8)].into_iter().enumerate() {
        let (input, output) = (width / from, width / to);
        add(format!("decoder.{}", 4 + 2 * n), vec![input, output, 4, 4], output);
    }
    add("decoder.12".into(), vec![1, width / 8, 1, 1], 1);
    list
}

fn wrong(path: &Path, reason: String) -> ModelError {
    ModelError::Weights { path: path.into(), source: reason.into() }
}

/// Pastes a mask of 64 by 64 into its box (top, left, bottom, right in 1,023rds) on a picture. As
/// the reference's evaluator does, edges are cut to whole pixels and the mask is resized as Pillow
/// resizes pictures of floats, bilinear.
fn paste(mask: &[f32], location: [u16; 4], width: u32, height: u32) -> ObjectMask {
    let [top, left, bottom, right] = location;
    let at = |n: u16, size: u32| (f64::from(n.min(1023)) / 1023.0 * f64::from(size)) as u32;
    let [top, bottom] = [top, bottom].map(|n| at(n, height));
    let [left, right] = [left, right].map(|n| at(n, width));
    let (wide, high) = (right.saturating_sub(left), bottom.saturating_sub(top));
    let inside = if wide == 0 || high == 0 {
        Vec::new()
    } else {
        let resized = resize(mask, wide as usize, high as usize);
        resized.iter().map(|&value| u8::from(value > 0.0)).collect()
    };
    let [right, bottom] = if inside.is_empty() { [left, top] } else { [right, bottom] };
    ObjectMask { width_px: width, height_px: height, box_px: [left, top, right, bottom], inside }
}

/// What each number of an axis of `to` becomes: the first of the numbers before, and their weights.
/// Source: Pillow 11.3 `src/libImaging/Resample.c`.
fn weights(to: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = EDGE as f64 / to as f64;
    let widened = scale.max(1.0);
    let weights = (0..to).map(|i| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - widened + 0.5).max(0.0) as usize;
        let end = ((centre + widened + 0.5) as usize).min(EDGE);
        let triangle = |x: f64| (1.0 - x.abs()).max(0.0);
        let mut weights: Vec<f64> =
            (first..end).map(|at| triangle((at as f64 - centre + 0.5) / widened)).collect();
        let total: f64 = weights.iter().sum();
        if total != 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= total);
        }
        (first, weights)
    });
    weights.collect()
}

/// Resizes 64 by 64 numbers, the horizontal pass first.
fn resize(mask: &[f32], wide: usize, high: usize) -> Vec<f32> {
    let sum = |weights: &[f64], value: &dyn Fn(usize) -> f32| {
        weights.iter().enumerate().map(|(i, weight)| f64::from(value(i)) * weight).sum::<f64>()
            as f32
    };
    let rows: Vec<f32> = if wide == EDGE {
        mask.to_vec()
    } else {
        let weights = weights(wide);
        let rows = mask.chunks(EDGE).flat_map(|row| {
            weights.iter().map(|(first, weights)| sum(weights, &|i| row[first + i]))
        });
        rows.collect()
    };
    if high == EDGE {
        return rows;
    }
    let columns = weights(high).into_iter().flat_map(|(first, weights)| {
        let rows = &rows;
        (0..wide).map(move |x| sum(&weights, &|i| rows[(first + i) * wide + x]))
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn npz() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity-paligemma/mask/vae.npz")
    }

    /// The fixture with `from` replaced by `to`, of the same length, wherever it stands.
    fn changed(from: &str, to: &str) -> Result<MaskDecoder, ModelError> {
        assert_eq!(from.len(), to.len());
        let mut bytes = fs::read(npz()).unwrap();
        let places: Vec<usize> = (0..bytes.len() - from.len())
            .filter(|&at| bytes[at..].starts_with(from.as_bytes()))
            .collect();
        assert!(!places.is_empty(), "{from}");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        loaded(&bytes)
    }

    fn loaded(bytes: &[u8]) -> Result<MaskDecoder, ModelError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vae-oid.npz");
        fs::write(&path, bytes).unwrap();
        MaskDecoder::load(&path)
    }

    #[test]
    fn a_file_that_lies_about_its_shapes_is_refused() {
        for (from, to) in [
            // More numbers than there are, and fewer.
            ("(128, 24)", "(128, 99)"),
            ("(128, 24)", "(128, 20)"),
            ("(128, 24)", "(999, 24)"),
            ("(16, 24, 1, 1)", "(99, 24, 1, 1)"),
            ("(16, 16, 4, 4)", "(99999999,99,)"),
            ("(16, 16, 3, 3)", "(9999999999,9)"),
            ("(16, 16, 3, 3)", "(16, 16, 3, 9)"),
            ("(1, 2, 1, 1)", "(1, 2, 1, 0)"),
            // Another type, another order, and objects, which would be a pickle.
            ("'<f4'", "'<f2'"),
            ("'<f4'", "'>f4'"),
            ("'<f4'", "'|O4'"),
            ("False", "True "),
            // Another name.
            ("decoder.12", "decoder.13"),
            ("_vq_vae", "_vq_vaa"),
        ] {
            let error = changed(from, to).unwrap_err();
            assert!(matches!(error, ModelError::Weights { .. }), "{to}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_or_no_archive_is_refused() {
        let whole = fs::read(npz()).unwrap();
        for bytes in [&whole[..0], &whole[..100], &whole[..whole.len() - 1], b"PK\x05\x06", b"\0"] {
            assert!(matches!(loaded(bytes), Err(ModelError::Weights { .. })));
        }
        let missing = MaskDecoder::load(Path::new("/no/such/vae-oid.npz"));
        assert!(matches!(missing, Err(ModelError::Io { .. })));
    }

    #[test]
    fn what_was_saved_decodes_to_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vae-oid.safetensors");
        let decoder = MaskDecoder::load(&npz()).unwrap();
        decoder.save(&path).unwrap();
        let again = MaskDecoder::load(&path).unwrap();
        let codes = std::array::from_fn(|i| 8 * i as u8);
        assert_eq!(decoder.decode(&codes).unwrap(), again.decode(&codes).unwrap());
        assert_eq!(decoder.decode(&[255; 16]).unwrap(), decoder.decode(&[127; 16]).unwrap());
    }

    #[test]
    fn a_mask_lies_in_its_box() {
        let mask = vec![1.0; EDGE * EDGE];
        let pasted = paste(&mask, [0, 512, 1023, 1023], 10, 4);
        assert_eq!((pasted.box_px, pasted.area()), ([5, 0, 10, 4], 20));
        assert!(pasted.has(5, 0) && pasted.has(9, 3) && !pasted.has(4, 0) && !pasted.has(5, 4));
        // Less than a pixel, a picture of nothing, and a box the wrong way round.
        for (location, size) in
            [([10, 10, 12, 11], 60), ([0, 0, 1023, 1023], 0), ([9, 9, 3, 3], 99)]
        {
            let pasted = paste(&mask, location, size, size);
            assert_eq!((pasted.area(), pasted.has(0, 0)), (0, false));
        }
    }
}
