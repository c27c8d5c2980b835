//! What a vision tower saw, in its places among the tokens of a page.

use candle_core::{Result, bail};

/// Puts `features`, `[features, hidden]`, into `rows`, `[positions, hidden]`, at `places`, in order.
///
/// # Errors
/// When there are more or fewer features than places.
pub fn put(
    features: &[f32],
    places: impl Iterator<Item = usize>,
    rows: &mut [f32],
    hidden: usize,
) -> Result<()> {
    let mut features = features.chunks_exact(hidden);
    for place in places {
        let Some(feature) = features.next() else { bail!("fewer features than places for them") };
        rows[place * hidden..][..hidden].copy_from_slice(feature);
    }
    if features.next().is_some() {
        bail!("more features than places for them")
    }
    Ok(())
}

/// The places of all sequences, one after the other; of each its length and its own places.
pub fn places<P: IntoIterator<Item = usize>>(
    sequences: impl Iterator<Item = (usize, P)>,
) -> impl Iterator<Item = usize> {
    let mut start = 0;
    sequences.flat_map(move |(length, places)| {
        let first = start;
        start += length;
        places.into_iter().map(move |place| first + place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_stand_in_their_places_and_none_is_left() {
        let sequences = || places([(3, vec![1]), (4, vec![0, 3])].into_iter());
        let mut rows = vec![0.0; 14];
        put(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], sequences(), &mut rows, 2).unwrap();
        let expected = [0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 5.0, 6.0];
        assert_eq!(rows, expected);
        for (count, words) in [(4, "fewer"), (8, "more")] {
            let error = put(&vec![0.0; count], sequences(), &mut rows, 2).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
