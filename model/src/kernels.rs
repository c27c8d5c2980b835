//! Which instructions do which work on this CPU.

use pagesight_simd::{Extension, Instructions};

use crate::blocks::matmul::{Arithmetic, best};
use crate::precision::Precision;

/// A kind of work, and what does it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChosenKernel {
    /// The work, in a word or a few.
    pub work: &'static str,
    /// What numbers are multiplied, and by which instructions.
    pub by: String,
}

/// The kernels that were chosen for this CPU, or for the [limit](pagesight_simd::Limit) that was
/// set.
///
/// ```
/// for kernel in pagesight_model::kernels() {
///     println!("{}: {}", kernel.work, kernel.by);
/// }
/// ```
pub fn kernels() -> Vec<ChosenKernel> {
    let of = |arithmetic| product_name(arithmetic, best(arithmetic));
    let bytes = match Instructions::best() {
        Instructions::Amx | Instructions::Avx512 if Extension::Avx512Vnni.is_available() => {
            "bytes by AVX-512 VNNI".into()
        }
        Instructions::Amx | Instructions::Avx512 | Instructions::Avx2 => {
            "pairs of 16 bits by AVX2".into()
        }
        other => format!("pairs of 16 bits by {other}"),
    };
    let searches = Instructions::best().to_string();
    [
        ("nano", of(Precision::Bf16.arithmetic(true))),
        ("models in 16 bits", of(Precision::Bf16.arithmetic(false))),
        ("models in bf16, measured near", of(Precision::Bf16.arithmetic(true))),
        ("models in 8 and 4 bits", of(Precision::Q8.arithmetic(false))),
        ("models in f32", of(Arithmetic::F32)),
        ("reader of scans", bytes),
        ("late interaction", searches),
    ]
    .map(|(work, by)| ChosenKernel { work, by })
    .into()
}

fn product_name(arithmetic: Arithmetic, instructions: Instructions) -> String {
    let numbers = match arithmetic {
        Arithmetic::F32 => "f32",
        Arithmetic::Bf16 => "bf16",
        Arithmetic::Int16 => "whole numbers of 16 bits",
    };
    let extension = match (arithmetic, instructions) {
        (Arithmetic::Bf16, Instructions::Avx512) => " BF16",
        (Arithmetic::Int16, Instructions::Avx512) => " VNNI",
        (Arithmetic::Int16, Instructions::Avx2) if Extension::AvxVnni.is_available() => " VNNI",
        _ => "",
    };
    format!("{numbers} by {instructions}{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_multiplied_as_such_only_where_the_cpu_can() {
        let kernels = kernels();
        let by = |work: &str| kernels.iter().find(|kernel| kernel.work == work).unwrap().by.clone();
        let has_bf16 = Extension::Avx512Bf16.is_available() || Instructions::Amx.is_available();
        for work in
            ["nano", "models in 16 bits", "models in bf16, measured near", "models in 8 and 4 bits"]
        {
            assert_eq!(by(work).starts_with("bf16"), has_bf16, "{}", by(work));
        }
        assert!(by("models in f32").starts_with("f32 by "));
    }
}
