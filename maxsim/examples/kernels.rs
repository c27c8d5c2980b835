//! What share of this machine's limit each kernel reaches. x86-64 with AVX-512.
//!
//! ```text
//! cargo run --release -p pagesight-maxsim --example kernels -- [--threads N] [--pages N] [--dim N]
//! ```
//!
//! Question: how near are the kernels to the arithmetic of the CPU and to its memory, and is that so
//! for vectors of every length? Data: pages of 1,030 vectors of dim 128 or as said (noise; for longer
//! vectors as many fewer pages in memory), queries of 32 tokens (two full blocks) and of 25 (what the
//! shared corpus has on average), and four of 25 in one pass. `hot` scores 8 pages over and over,
//! `memory` as many as do not fit in the second-level cache. Peaks are loops of 16 independent
//! chains of the one instruction that counts. Medians of 5 runs of CPU time, which other programs
//! disturb least; JSON Lines.

#[cfg(target_arch = "x86_64")]
fn main() {
    x86::main();
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    eprintln!("the peaks of this CPU are not known here; see the corpus example");
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;
    use std::hint::black_box;
    use std::sync::Barrier;

    use pagesight_core::{PageVectors, QueryVectors};
    use pagesight_maxsim::{
        Bits, ExactQuery, Instructions, Int8Page, Int8Query, ResidualCoder, ScalarCoder, SignCoder,
        SignQuery,
    };
    use pagesight_simd::amx::Tiles;
    use serde_json::json;

    const ROWS: usize = 1030;
    const DIM: usize = 128;
    const CHAINS: usize = 16;
    const STEPS: u64 = 4_000_000;
    const RUNS: usize = 5;

    pub fn main() {
        let arguments: Vec<String> = std::env::args().collect();
        let given = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1)?.parse::<usize>().ok()
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = given("--threads").unwrap_or(cores);
        let dim = given("--dim").unwrap_or(DIM);
        let pages = (given("--pages").unwrap_or(2000) * DIM).div_ceil(dim);
        peaks(threads);
        kernels(threads, pages, dim);
    }

    /// Seconds that `work` takes of a core when it runs on each of `threads` threads at once: the
    /// slowest thread's, the median of the runs.
    fn seconds(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
        let run = || {
            let barrier = Barrier::new(threads);
            let (barrier, work) = (&barrier, &work);
            let one = |thread: usize| {
                barrier.wait();
                let start = cpu_seconds();
                work(thread);
                cpu_seconds() - start
            };
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..threads).map(|n| scope.spawn(move || one(n))).collect();
                all.into_iter().map(|one| one.join().expect("no panic")).fold(0.0, f64::max)
            })
        };
        run();
        let mut runs: Vec<f64> = (0..RUNS).map(|_| run()).collect();
        runs.sort_by(f64::total_cmp);
        runs[RUNS / 2]
    }

    /// What this thread has run for, s: programs beside it do not count.
    fn cpu_seconds() -> f64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock writes into `time`.
        let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(done, 0, "the thread's clock");
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    }

    fn peaks(threads: usize) {
        let report = |name: &str, operations: u64, seconds: f64| {
            let rate = operations as f64 * threads as f64 / seconds / 1e9;
            println!("{}", json!({"peak": name, "threads": threads, "gops": rate.round()}));
        };
        let chains = CHAINS as u64 * STEPS;
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: found above.
            report("f32 fma", chains * 32, seconds(threads, |_| unsafe { fma() }));
        }
        if is_x86_feature_detected!("avx512vnni") {
            // SAFETY: found above.
            report("int8 vnni", chains * 128, seconds(threads, |_| unsafe { vnni() }));
        }
        if is_x86_feature_detected!("avx512vpopcntdq") {
            // SAFETY: found above. A bit that is compared counts as two operations.
            report("1-bit popcnt", chains * 1024, seconds(threads, |_| unsafe { popcnt() }));
        }
        if Instructions::best() == Instructions::Amx {
            let int8 = seconds(threads, |_| amx());
            report("int8 amx", STEPS * 16 * 16 * 64 * 2, int8);
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn fma() {
        let (x, y) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(1e-3)));
        let mut sums = [_mm512_set1_ps(1.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn vnni() {
        let (x, y) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(1)));
        let mut sums = [_mm512_set1_epi32(1); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, y);
            }
        }
        black_box(sums);
    }

    /// Xor, count, add: what a word of signs takes.
    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    unsafe fn popcnt() {
        let mut words = [black_box(_mm512_set1_epi64(77)); CHAINS / 2];
        let other = black_box(_mm512_set1_epi64(99));
        let mut sums = [_mm512_set1_epi64(1); CHAINS / 2];
        for _ in 0..2 * STEPS {
            for (sum, word) in sums.iter_mut().zip(&mut words) {
                // SAFETY: nothing at all; the compiler may not assume that the word stays.
                unsafe { asm!("/* {} */", inout(zmm_reg) * word, options(nomem, nostack)) };
                let differ = _mm512_popcnt_epi64(_mm512_xor_si512(*word, other));
                *sum = _mm512_add_epi64(*sum, differ);
            }
        }
        black_box(sums);
    }

    /// Tile products into four tiles, from four others.
    fn amx() {
        let _set_up = Tiles::load().expect("AMX is the best that this CPU has");
        // SAFETY: the tiles are set up; only they and the counter change.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                "2:",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "dec {steps}",
                "jnz 2b",
                steps = inout(reg) STEPS / 4 => _,
                options(nostack, nomem),
            );
        }
    }

    fn noise(seed: u64, count: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count).map(|_| (2.0 * random.f32() - 1.0) * 0.15).collect()
    }

    fn query(seed: u64, tokens: usize, dim: usize) -> QueryVectors {
        QueryVectors::of_rows(dim, noise(seed, tokens * dim)).expect("noise is finite")
    }

    fn kernels(threads: usize, count: usize, dim: usize) {
        // 16 different pages; copies lie apart in memory, which is what counts.
        let distinct: Vec<PageVectors> = (0..16)
            .map(|n| PageVectors::from_f32(dim, &noise(n, ROWS * dim)).expect("noise is finite"))
            .collect();
        let wide = |page: &PageVectors| page.values().iter().map(|v| v.to_f32()).collect();
        fn many<T: Clone>(of: Vec<T>, count: usize) -> Vec<T> {
            of.iter().cycle().take(count).cloned().collect()
        }
        let batches = [
            vec![query(99, 32, dim)],
            vec![query(99, 25, dim)],
            (0..4).map(|n| query(n, 25, dim)).collect(),
        ];
        for with in [Instructions::Amx, Instructions::Avx512, Instructions::Avx2] {
            if !with.is_available() {
                continue;
            }
            for batch in &batches {
                let batch: Vec<&QueryVectors> = batch.iter().collect();
                let tokens: usize = batch.iter().map(|query| query.len()).sum();
                let measure = |code: &str, pages: usize, score: &(dyn Fn(usize) + Sync)| {
                    for (place, distinct, rounds) in [("hot", 8, 200), ("memory", pages, 1)] {
                        let part = distinct / threads;
                        let work = |thread: usize| {
                            for _ in 0..rounds {
                                (thread * part..(thread + 1) * part).for_each(score);
                            }
                        };
                        let scored = (part * threads * rounds) as f64;
                        let rate = scored / seconds(threads, work);
                        let gops = rate * 2.0 * (tokens * ROWS * dim) as f64 / 1e9;
                        println!(
                            "{}",
                            json!({
                                "code": code, "instructions": format!("{with:?}"), "threads": threads, "dim": dim,
                                "queries": batch.len(), "tokens": tokens, "place": place,
                                "pages_per_s": rate.round(), "gops": gops.round(),
                            })
                        );
                    }
                };
                if batch.len() == 1 && with != Instructions::Amx {
                    let pages: Vec<Vec<f32>> = many(distinct.iter().map(wide).collect(), count);
                    let query = ExactQuery::with(with, batch[0]);
                    measure("f32", count, &|n| _ = black_box(query.score_f32(&pages[n])));
                }
                if with != Instructions::Amx {
                    let pages = many(distinct.clone(), count);
                    let query = ExactQuery::batch(with, &batch).expect("one dim");
                    measure("f16", count, &|n| _ = black_box(query.scores(&pages[n])));
                }
                let pages = many(distinct.iter().map(Int8Page::encode).collect(), 2 * count);
                let query = Int8Query::batch(with, &batch).expect("one dim");
                measure("int8", 2 * count, &|n| _ = black_box(query.scores(&pages[n])));
                drop(pages);
                for (name, bits) in [("4bit", Bits::Four), ("2bit", Bits::Two), ("1bit", Bits::One)]
                {
                    let coder = ScalarCoder::fit(bits, &distinct).expect("one dim");
                    let encode = |page| coder.encode(page).expect("one dim");
                    let pages = many(distinct.iter().map(encode).collect(), 2 * count);
                    let query = coder.query(with, &batch).expect("one dim");
                    measure(name, 2 * count, &|n| _ = black_box(query.scores(&pages[n])));
                }
                for (name, bits) in [("residual4", Bits::Four), ("residual2", Bits::Two)] {
                    let coder = ResidualCoder::fit(bits, &distinct).expect("one dim");
                    let encode = |page| coder.encode(page).expect("one dim");
                    let pages = many(distinct.iter().map(encode).collect(), 2 * count);
                    let query = coder.query(with, &batch).expect("one dim");
                    measure(name, 2 * count, &|n| _ = black_box(query.scores(&pages[n])));
                }
                if batch.len() == 1 && with != Instructions::Amx {
                    let coder = SignCoder::fit(&distinct).expect("one dim");
                    let encode = |page| coder.encode(page).expect("one dim");
                    let pages = many(distinct.iter().map(encode).collect(), 8 * count);
                    let query = SignQuery::with(with, batch[0]);
                    measure("sign", 8 * count, &|n| _ = black_box(query.score(&pages[n])));
                }
            }
        }
    }
}
