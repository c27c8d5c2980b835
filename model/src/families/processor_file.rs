//! The file in which a checkpoint says what the pixels of a page become. It is read here for all
//! families; a family adds the fields that it alone has.

use pagesight_simd::Filter;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::checkpoint::settings::Settings;
use crate::error::ModelError;
use crate::families::normalisation::Normalisation;

/// The name that the file has since transformers 5, where the settings are one part of it, and the
/// name that it had before. As in transformers, what the newer one says of pictures counts where it
/// says anything of them.
const NEW: &str = "processor_config.json";
const OLD: &str = "preprocessor_config.json";

/// Means and deviations of pixels where a file states none: those that OpenAI's CLIP was trained
/// with.
pub const CLIP: [[f32; 3]; 2] =
    [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]];

/// The same, for numbers from -1 to 1.
pub const HALF: [[f32; 3]; 2] = [[0.5; 3]; 2];

/// What a checkpoint says of pictures.
#[derive(Debug)]
pub struct ProcessorFile<F> {
    /// The fields that only this family has.
    pub own: F,
    /// Makes errors about them.
    pub settings: Settings,
    shared: Shared,
}

/// The fields that all families have; each may be left out.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Shared {
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    rescale_factor: Option<f64>,
    resample: Option<u32>,
}

#[derive(Deserialize)]
struct Nested<T> {
    image_processor: T,
}

impl<F: DeserializeOwned> ProcessorFile<F> {
    /// Reads the file of `checkpoint` and checks what all families have; the reference of this one
    /// resizes with `filter`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a step that is left out, for another filter and for deviations of
    /// 0; [`ModelError::Io`] and [`ModelError::Config`] when the file cannot be read.
    pub fn read(checkpoint: &Checkpoint, filter: Filter) -> Result<Self, ModelError> {
        let [new, old] = [NEW, OLD].map(|name| checkpoint.file(name));
        // Other processors than that of pictures have files of the newer name too.
        let is_new = new.exists() && {
            let said: Nested<Option<IgnoredAny>> = read_json(&new)?;
            said.image_processor.is_some() || !old.exists()
        };
        let (settings, shared, own) = if is_new {
            let shared: Nested<Shared> = read_json(&new)?;
            let own: Nested<F> = read_json(&new)?;
            (Settings::of(&new), shared.image_processor, own.image_processor)
        } else {
            (Settings::of(&old), read_json(&old)?, read_json(&old)?)
        };
        let this = Self { own, settings, shared };
        this.check(filter)?;
        Ok(this)
    }
}

impl<F> ProcessorFile<F> {
    fn check(&self, filter: Filter) -> Result<(), ModelError> {
        let (shared, settings) = (&self.shared, &self.settings);
        settings.is("do_resize", "true", shared.do_resize)?;
        settings.is("do_rescale", "true", shared.do_rescale)?;
        settings.is("do_normalize", "true", shared.do_normalize)?;
        // The numbers that Pillow has for them.
        let (number, name) = match filter {
            Filter::Lanczos => (1, "1 (Lanczos)"),
            Filter::Bilinear => (2, "2 (bilinear)"),
            Filter::Bicubic => (3, "3 (bicubic)"),
        };
        if let Some(other) = shared.resample.filter(|resample| *resample != number) {
            return settings.wrong("resample", name, other.to_string());
        }
        match shared.image_std {
            Some(deviation) if deviation.contains(&0.0) => {
                settings.wrong("image_std", "no zero", format!("{deviation:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What bytes become; means and deviations that are left out are those of `default`.
    pub fn normalisation(&self, default: [[f32; 3]; 2]) -> Normalisation {
        let [mean, deviation] = default;
        Normalisation {
            factor: self.shared.rescale_factor.unwrap_or(1.0 / 255.0),
            mean: self.shared.image_mean.unwrap_or(mean),
            deviation: self.shared.image_std.unwrap_or(deviation),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::families::testing::{at, changed, fixture};
    use crate::options::LoadOptions;

    #[derive(Debug, Deserialize)]
    struct Own {
        size: Option<u32>,
    }

    /// What is read where the files of both names say this; `None` for a file that is not there.
    fn read(new: Option<Value>, old: Option<Value>) -> Result<ProcessorFile<Own>, ModelError> {
        let folder = changed(&fixture("neomme").join("hf"), |_| ());
        for (name, said) in [(NEW, new), (OLD, old)] {
            let file = folder.path().join(name);
            match said {
                Some(said) => fs::write(&file, said.to_string()).unwrap(),
                None => drop(fs::remove_file(&file)),
            }
        }
        let checkpoint = Checkpoint::open(&at(folder.path()), &LoadOptions::default()).unwrap();
        ProcessorFile::read(&checkpoint, Filter::Bicubic)
    }

    fn refusal(new: Option<Value>, old: Option<Value>) -> (String, String) {
        let error = read(new, old).unwrap_err();
        let (path, message) = match &error {
            ModelError::Setting { path, .. } => (path.clone(), error.to_string()),
            ModelError::Config { path, source } => (path.clone(), source.to_string()),
            ModelError::Io { path, source } => (path.clone(), source.to_string()),
            _ => panic!("{error:?}"),
        };
        (path.file_name().unwrap_or_default().to_string_lossy().into(), message)
    }

    #[test]
    fn the_newer_file_counts_where_it_says_anything_of_pictures() {
        let inner = |size: u32| json!({ "image_processor": { "size": size } });
        let of_words = json!({ "processor_class": "ColQwen2Processor" });
        for (new, old, size) in [
            (None, Some(json!({ "size": 1 })), Some(1)),
            (Some(inner(2)), None, Some(2)),
            (Some(inner(2)), Some(json!({ "size": 1 })), Some(2)),
            (Some(of_words.clone()), Some(json!({ "size": 1 })), Some(1)),
            (None, Some(json!({})), None),
        ] {
            assert_eq!(read(new, old).unwrap().own.size, size);
        }
        let (file, message) = refusal(Some(of_words), None);
        assert_eq!(file, NEW);
        assert!(message.starts_with("missing field `image_processor`"), "{message}");
        assert_eq!(refusal(None, None).0, OLD);
        let (file, message) = refusal(None, Some(json!({ "size": "large" })));
        assert_eq!(file, OLD);
        assert!(message.contains("invalid type: string \"large\", expected u32"), "{message}");
    }

    #[test]
    fn what_gives_other_numbers_is_refused_by_name() {
        for (field, value, expected) in [
            ("do_resize", json!(false), "do_resize is false, expected true"),
            ("do_rescale", json!(false), "do_rescale is false, expected true"),
            ("do_normalize", json!(false), "do_normalize is false, expected true"),
            ("resample", json!(2), "resample is 2, expected 3 (bicubic)"),
            ("image_std", json!([0.5, 0.0, 0.5]), "image_std is [0.5, 0.0, 0.5], expected no zero"),
        ] {
            let old = json!({ field: value.clone() });
            let (file, message) = refusal(None, Some(old.clone()));
            assert_eq!(file, OLD);
            assert!(message.contains(expected), "{message}");
            let (file, message) = refusal(Some(json!({ "image_processor": old })), None);
            assert_eq!(file, NEW);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn what_is_left_out_is_the_familys() {
        let said = json!({ "image_mean": [0.1, 0.2, 0.3], "image_std": null, "rescale_factor": 1 });
        let normalisation = read(None, Some(said)).unwrap().normalisation(CLIP);
        let expected = Normalisation { factor: 1.0, mean: [0.1, 0.2, 0.3], deviation: CLIP[1] };
        assert_eq!(normalisation, expected);
        let normalisation = read(None, Some(json!({}))).unwrap().normalisation(HALF);
        assert_eq!(normalisation.factor, 1.0 / 255.0);
        assert_eq!([normalisation.mean, normalisation.deviation], HALF);
    }
}
