//! What a page gives to any question at all.
//!
//! The maximum over many vectors is larger than the maximum over few: a page full of print has more
//! chances for a look-alike of any word than a slide has, and goes before it whatever is asked.
//! What a page gives to questions that have nothing to do with it says how much of its score is
//! chance. It is measured once a page, and a search takes it off.

use pagesight_core::{PageVectors, QueryVectors};

use crate::codes::{Int8Page, Int8Query, Int8View};
use crate::error::DimMismatch;

/// Neutral questions, ready to measure what pages give to them.
#[derive(Clone)]
pub struct Neutral {
    coded: Int8Query,
    vectors: QueryVectors,
    id: u32,
}

/// What a page gives to neutral questions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Background {
    /// The mean of their MaxSim, a query token.
    pub per_token: f32,
    /// Which questions: [`Neutral::id`].
    pub of: u32,
}

impl Neutral {
    /// Lays `questions` out, which are called `name`: their model and their words, since the vectors
    /// that a model gives differ in their last bits from one kind of CPU to another. `None` when they
    /// have no token, or differ in dim.
    ///
    /// ```
    /// use pagesight_core::{PageVectors, QueryVectors};
    /// use pagesight_maxsim::Neutral;
    /// let questions = [vec![1.0, 0.0], vec![0.0, 1.0]].map(|row| QueryVectors::of_rows(2, row));
    /// let neutral = Neutral::new("any two", &questions.map(Result::unwrap)).unwrap();
    /// let page = PageVectors::from_f32(2, &[0.5, 0.25]).unwrap();
    /// assert!((neutral.measure(&page).unwrap().per_token - 0.375).abs() < 5e-3);
    /// ```
    pub fn new(name: &str, questions: &[QueryVectors]) -> Option<Self> {
        let dim = questions.first()?.dim();
        if questions.iter().any(|question| question.dim() != dim) {
            return None;
        }
        // The sum over the tokens of all of them is that over the tokens of one long question.
        let values: Vec<f32> = questions.iter().flat_map(|q| q.values()).copied().collect();
        let vectors = QueryVectors::of_rows(dim, values).ok()?;
        let coded = Int8Query::new(&vectors);
        Some(Self { coded, vectors, id: Self::id_of(name) })
    }

    /// The number of questions that are called `name`; never 0.
    pub fn id_of(name: &str) -> u32 {
        crc32c::crc32c(name.as_bytes()).max(1)
    }

    /// Says which questions, and with them the model; never 0.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The query vectors of all questions, one after another.
    pub fn vectors(&self) -> &QueryVectors {
        &self.vectors
    }

    /// Measures a page, by its int8 code: so it has one background, whether its codes are there or
    /// are lost and made again.
    ///
    /// # Errors
    /// [`DimMismatch`].
    pub fn measure(&self, page: &PageVectors) -> Result<Background, DimMismatch> {
        self.measure_code(&(&Int8Page::encode(page)).into())
    }

    /// Measures a page by its int8 code.
    ///
    /// # Errors
    /// [`DimMismatch`].
    pub fn measure_code(&self, page: &Int8View<'_>) -> Result<Background, DimMismatch> {
        Ok(self.of_score(self.coded.score(page)?))
    }

    /// The background of a page that the [`vectors`](Self::vectors) give `score`.
    pub fn of_score(&self, score: f32) -> Background {
        Background { per_token: score / self.vectors.len() as f32, of: self.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maxsim_reference;

    #[test]
    fn it_is_the_mean_a_token_over_all_questions() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut rows = |n: usize| -> Vec<f32> { (0..n * 8).map(|_| random.f32() - 0.5).collect() };
        let questions: Vec<Vec<f32>> = (1..6).map(&mut rows).collect();
        let page = PageVectors::from_f32(8, &rows(40)).unwrap();
        let values: Vec<f32> = page.values().iter().map(|value| value.to_f32()).collect();
        let tokens: usize = questions.iter().map(|question| question.len() / 8).sum();
        let all: f64 = questions.iter().map(|rows| maxsim_reference(8, rows, &values)).sum();
        let of = |rows: &Vec<f32>| QueryVectors::of_rows(8, rows.clone()).unwrap();
        let questions: Vec<QueryVectors> = questions.iter().map(of).collect();
        let neutral = Neutral::new("ours", &questions).unwrap();
        let background = neutral.measure(&page).unwrap();
        let expected = all / tokens as f64;
        assert!((f64::from(background.per_token) - expected).abs() < 5e-3);
        assert_eq!(background.of, neutral.id());
        let code = Int8Page::encode(&page);
        let coded = neutral.measure_code(&(&code).into()).unwrap();
        assert_eq!(coded, background);
        // Other questions have another name, the same ones the same.
        assert_ne!(Neutral::new("others", &questions).unwrap().id(), neutral.id());
        assert_eq!(Neutral::new("ours", &questions).unwrap().id(), neutral.id());
        assert!(Neutral::new("ours", &[]).is_none());
        let other = QueryVectors::of_rows(4, vec![0.0; 4]).unwrap();
        assert!(Neutral::new("ours", &[questions[0].clone(), other]).is_none());
    }
}
