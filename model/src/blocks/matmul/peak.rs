//! The limit that kernels are measured against: multiply-adds on registers, no memory.

use std::time::Instant;

/// Name and multiplications and additions a second of all cores, for the instructions that this
/// CPU has. For benches.
///
/// ```
/// for (name, rate) in pagesight_model::peak() {
///     println!("{name} {:.0} GFLOP/s", rate / 1e9);
/// }
/// ```
pub fn peak() -> Vec<(&'static str, f64)> {
    let mut rates = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use pagesight_simd::amx::Tiles;

        use super::{amx, avx512};
        const ROUNDS: usize = 500_000;
        let measure = |work: f64, run: &(dyn Fn() + Sync)| {
            // Every thread by itself, as fast as it was: others may use the CPU too.
            let rates = rayon::broadcast(|_| {
                let rate = |_| {
                    let start = Instant::now();
                    run();
                    work * ROUNDS as f64 / start.elapsed().as_secs_f64()
                };
                (0..3).map(rate).fold(0.0, f64::max)
            });
            rates.iter().sum()
        };
        if pagesight_simd::amx::is_available() {
            // 4 products of 16 x 16 x 32.
            let work = 4.0 * 2.0 * 16.0 * 16.0 * 32.0;
            let run = || {
                if let Some(tiles) = Tiles::load() {
                    amx::peak_bf16(&tiles, ROUNDS);
                }
            };
            rates.push(("AMX bf16", measure(work, &run)));
        }
        if is_x86_feature_detected!("avx512f") {
            // 24 products of 16.
            // SAFETY: the feature was found.
            let run = || unsafe { avx512::peak_f32(ROUNDS) };
            rates.push(("AVX-512 f32", measure(24.0 * 2.0 * 16.0, &run)));
        }
        if is_x86_feature_detected!("avx512bf16") {
            // SAFETY: the feature was found.
            let run = || unsafe { avx512::peak_bf16(ROUNDS) };
            rates.push(("AVX-512 bf16", measure(24.0 * 4.0 * 16.0, &run)));
        }
    }
    rates
}
