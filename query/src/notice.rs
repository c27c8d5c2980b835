//! What a user should know of an answer beside its hits.

use std::fmt;

use pagesight_core::{Channel, Quality};
use serde::{Deserialize, Serialize};

/// What a user should know of an answer: which channels stayed silent, and how exact the ranking
/// is. A program acts on the variant; [`Display`](fmt::Display) makes the sentence for a person.
///
/// [`search()`](crate::search()) gives those that it can know. `ModelOutOfReach`, `Compared` and
/// `Compact` are for whoever opened the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// The patches were asked too, and there is no model.
    NoModel,
    /// The patches were asked too, and the model that the index was made with cannot be loaded.
    ModelOutOfReach {
        /// Why, one line.
        reason: String,
    },
    /// The passages were asked too, and the model that encoded them cannot be loaded.
    EmbedderOutOfReach {
        /// Why, one line.
        reason: String,
    },
    /// The passages were asked too, and their codes are damaged: the others answer. The next run of
    /// indexing encodes the texts again.
    PassagesDamaged {
        /// What is damaged, one line.
        reason: String,
    },
    /// A channel was asked too that the index does not have.
    NoChannel {
        /// The channel.
        channel: Channel,
    },
    /// Words alone answer: the model's tokenizer has no pieces for most of
    /// the query.
    Unspelled {
        /// Tokens that the model cannot read.
        unspelled: usize,
        /// All tokens of the query.
        tokens: usize,
    },
    /// The codes are damaged, so the full-precision vectors of all pages were read. The ranking is
    /// exact.
    CodesDamaged {
        /// What is damaged, one line.
        reason: String,
    },
    /// What lies in a bucket cannot be read now: the answer is of what this machine has. Pages are ranked by
    /// their codes, or where these are not here by words alone, and some hits may have no text.
    OutOfReach {
        /// Why, one line.
        reason: String,
    },
    /// Sketches chose the pages that were compared: the ranking is an approximation.
    Compared {
        /// Pages that were compared.
        compared: usize,
        /// Pages in all.
        seen: usize,
        /// What that was measured to lose on these pages; `None` when nobody has measured it.
        quality: Option<Quality>,
    },
    /// The index keeps codes of 4 bits in place of full-precision vectors: the ranking is an
    /// approximation.
    Compact {
        /// What that was measured to lose on these pages.
        quality: Quality,
    },
}

impl Notice {
    /// Whether it says that the ranking is an approximation.
    pub fn is_approximation(&self) -> bool {
        matches!(self, Self::Compared { .. } | Self::Compact { .. })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel => write!(f, "no vision model: words alone answer"),
            Self::ModelOutOfReach { reason } => write!(f, "{reason}: words alone answer"),
            Self::EmbedderOutOfReach { reason } => {
                write!(f, "{reason}: the meaning of the text is not searched")
            }
            Self::PassagesDamaged { reason } => {
                write!(
                    f,
                    "{reason}: the meaning of the text is not searched until it is encoded again"
                )
            }
            Self::NoChannel { channel } => {
                write!(f, "the index has no channel `{channel}`: the others answer")
            }
            Self::Unspelled { .. } => {
                write!(f, "the model cannot read most letters of this query: words alone answer")
            }
            Self::CodesDamaged { reason } => write!(f, "{reason}: all vectors were read"),
            Self::OutOfReach { reason } => {
                write!(f, "{reason}: the answer is of what this machine has")
            }
            Self::Compared { compared, seen, quality } => {
                write!(f, "approximate: {compared} of {seen} pages were compared; ")?;
                match quality {
                    Some(quality) => write_quality(f, quality),
                    None => write!(f, "not measured on these pages"),
                }
            }
            Self::Compact { quality } => {
                write!(f, "approximate: vectors are kept in 4 bits; ")?;
                write_quality(f, quality)
            }
        }
    }
}

fn write_quality(f: &mut fmt::Formatter<'_>, quality: &Quality) -> fmt::Result {
    let Quality { overlap10, ndcg_ratio, questions, .. } = quality;
    write!(f, "overlap@10 {overlap10:.3} and nDCG ratio {ndcg_ratio:.3} in {questions} questions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notice_is_one_line_and_comes_back_from_json() {
        let quality = Quality { overlap10: 0.9, ndcg_ratio: 0.99, questions: 50 };
        let measured = "overlap@10 0.900 and nDCG ratio 0.990 in 50 questions";
        let reason = || "the model is gone".to_string();
        let cases = [
            (Notice::NoModel, "no vision model: words alone answer".into()),
            (
                Notice::ModelOutOfReach { reason: reason() },
                "the model is gone: words alone answer".into(),
            ),
            (
                Notice::EmbedderOutOfReach { reason: reason() },
                "the model is gone: the meaning of the text is not searched".into(),
            ),
            (
                Notice::PassagesDamaged { reason: reason() },
                "the model is gone: the meaning of the text is not searched until it is encoded \
                 again"
                    .into(),
            ),
            (
                Notice::NoChannel { channel: Channel::Passages },
                "the index has no channel `passages`: the others answer".into(),
            ),
            (
                Notice::Unspelled { unspelled: 3, tokens: 4 },
                "the model cannot read most letters of this query: words alone answer".into(),
            ),
            (
                Notice::CodesDamaged { reason: reason() },
                "the model is gone: all vectors were read".into(),
            ),
            (
                Notice::OutOfReach { reason: "the bucket is gone".into() },
                "the bucket is gone: the answer is of what this machine has".into(),
            ),
            (
                Notice::Compared { compared: 9, seen: 20, quality: None },
                "approximate: 9 of 20 pages were compared; not measured on these pages".into(),
            ),
            (
                Notice::Compared { compared: 9, seen: 20, quality: Some(quality) },
                format!("approximate: 9 of 20 pages were compared; {measured}"),
            ),
            (
                Notice::Compact { quality },
                format!("approximate: vectors are kept in 4 bits; {measured}"),
            ),
        ];
        for (notice, sentence) in cases {
            assert_eq!(notice.to_string(), sentence);
            assert_eq!(notice.is_approximation(), sentence.starts_with("approximate"));
            let json = serde_json::to_string(&notice).unwrap();
            assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), notice, "{json}");
        }
    }
}
