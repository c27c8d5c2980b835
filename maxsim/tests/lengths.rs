//! Every code and all instructions on pages of awkward lengths: around each tile, and long.

use pagesight_core::{PageVectors, QueryVectors};
use pagesight_maxsim::{
    Bits, ExactQuery, Instructions, Int8Page, Int8Query, ResidualCoder, ScalarCoder, SignCoder,
    SignQuery, maxsim_reference,
};

const DIMS: [usize; 9] = [1, 3, 63, 64, 100, 128, 192, 320, 1024];
const LENGTHS: [usize; 22] =
    [1, 2, 6, 7, 8, 9, 11, 12, 13, 31, 32, 33, 48, 49, 63, 97, 193, 203, 257, 1030, 1031, 5000];

/// Numbers from -1 to 1, the same in every run.
fn noise(seed: usize, count: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    (0..count).map(|_| 2.0 * random.f32() - 1.0).collect()
}

fn query(dim: usize, seed: usize, tokens: usize) -> QueryVectors {
    QueryVectors::of_rows(dim, noise(seed, tokens * dim)).unwrap()
}

/// For each code, the scores of `queries` one by one and as a batch.
fn scores(
    with: Instructions,
    queries: &[&QueryVectors],
    page: &PageVectors,
) -> Vec<(&'static str, Vec<f32>, Vec<f32>)> {
    let one = |score: &dyn Fn(&QueryVectors) -> f32| queries.iter().map(|q| score(q)).collect();
    let mut all = vec![(
        "f16",
        one(&|q| ExactQuery::with(with, q).score(page).unwrap()),
        ExactQuery::batch(with, queries).unwrap().scores(page).unwrap(),
    )];
    let code = Int8Page::encode(page);
    all.push((
        "int8",
        one(&|q| Int8Query::with(with, q).score(&code).unwrap()),
        Int8Query::batch(with, queries).unwrap().scores(&code).unwrap(),
    ));
    for (name, bits) in [("4 bits", Bits::Four), ("2 bits", Bits::Two), ("1 bit", Bits::One)] {
        let coder = ScalarCoder::fit(bits, [page]).unwrap();
        let code = coder.encode(page).unwrap();
        all.push((
            name,
            one(&|q| coder.query(with, &[q]).unwrap().score(&code).unwrap()),
            coder.query(with, queries).unwrap().scores(&code).unwrap(),
        ));
    }
    // Centres of some rows are enough, and found sooner.
    let some = page.len().min(300) * page.dim();
    let some = PageVectors::new(page.dim(), page.values()[..some].to_vec()).unwrap();
    for (name, bits) in [("residual, 4 bits", Bits::Four), ("residual, 2 bits", Bits::Two)] {
        let coder = ResidualCoder::fit(bits, std::slice::from_ref(&some)).unwrap();
        let code = coder.encode(page).unwrap();
        all.push((
            name,
            one(&|q| coder.query(with, &[q]).unwrap().score(&code).unwrap()),
            coder.query(with, queries).unwrap().scores(&code).unwrap(),
        ));
    }
    let code = SignCoder::fit([page]).unwrap().encode(page).unwrap();
    all.push((
        "signs",
        one(&|q| SignQuery::with(with, q).score(&code).unwrap()),
        SignQuery::batch(with, queries).unwrap().scores(&code).unwrap(),
    ));
    all
}

#[test]
fn instructions_agree_and_a_batch_scores_as_each_query_alone() {
    for dim in DIMS {
        // One, two and three blocks of 16 alone; six in one batch.
        let queries = [query(dim, 1, 9), query(dim, 2, 1), query(dim, 3, 25), query(dim, 4, 48)];
        let queries: Vec<&QueryVectors> = queries.iter().collect();
        for length in LENGTHS {
            // The longest pages once; their dim is the usual one. Of long vectors, short pages.
            if length > 1031 && dim != 128 || length > 257 && dim > 192 {
                continue;
            }
            let page = PageVectors::from_f32(dim, &noise(length, length * dim)).unwrap();
            let rows: Vec<f32> = page.values().iter().map(|v| v.to_f32()).collect();
            let portable = scores(Instructions::Portable, &queries, &page);
            for (q, score) in queries.iter().zip(&portable[0].1) {
                let expected = maxsim_reference(dim, q.values(), &rows);
                // Sums of f32 are as far off as there are numbers in them.
                let near = 1e-3 * (dim as f64 / 192.0).max(1.0);
                assert!((f64::from(*score) - expected).abs() < near, "{dim} {length}");
            }
            for &with in Instructions::available() {
                for (got, expected) in scores(with, &queries, &page).iter().zip(&portable) {
                    let place = format!("{} {with:?} dim {dim} length {length}", got.0);
                    assert_eq!(got.1, got.2, "{place}: alone and as a batch");
                    for (got, expected) in got.1.iter().zip(&expected.1) {
                        let near = (got - expected).abs() <= 1e-4 * expected.abs().max(1.0);
                        assert!(near, "{place}: {got} {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_batch_of_two_dims_is_an_error() {
    let (a, b) = (query(2, 1, 1), query(3, 1, 1));
    assert!(ExactQuery::batch(Instructions::best(), &[&a, &b]).is_err());
    assert!(Int8Query::batch(Instructions::best(), &[&a, &b]).is_err());
    assert!(SignQuery::batch(Instructions::best(), &[&a, &b]).is_err());
}
