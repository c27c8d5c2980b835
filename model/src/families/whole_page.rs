//! Recipes of families whose models see a page in one piece.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;
use crate::families::recipe::{FILE, FamilyRecipe, RecipeOrigin, chosen};
use crate::families::vector_recipe::VectorRecipe;
use crate::options::RecipeChoice;

/// Such a recipe.
pub trait WholePageRecipe: FamilyRecipe + Serialize + Clone {
    /// The part about vectors.
    fn vectors(&self) -> &VectorRecipe;

    /// The same, to be changed.
    fn vectors_mut(&mut self) -> &mut VectorRecipe;

    /// All fields as JSON. Equal recipes give equal text.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a recipe is plain data")
    }

    /// The part that is hashed into the model id: all fields that vectors depend on.
    fn identity(&self) -> String {
        let mut this = self.clone();
        *this.vectors_mut() = self.vectors().of_identity();
        this.to_json()
    }

    /// The caller's recipe, else the one beside the weights, else `own`. Fields that a recipe leaves
    /// out have the values of `default`, the family's.
    ///
    /// # Errors
    /// [`ModelError`] for a recipe that is not one.
    fn in_force(
        checkpoint: &Checkpoint,
        choice: Option<&RecipeChoice>,
        default: &Self,
        own: (Self, RecipeOrigin),
    ) -> Result<(Self, RecipeOrigin), ModelError> {
        let file = checkpoint.files().file(FILE);
        let (path, said, origin) = match choice {
            Some(named @ RecipeChoice::Named(_)) => {
                return Ok((chosen(named)?, RecipeOrigin::Caller));
            }
            Some(RecipeChoice::File(path)) => {
                (path.clone(), read_json::<Value>(&path.as_path().into())?, RecipeOrigin::Caller)
            }
            Some(RecipeChoice::Json(text)) => {
                let path = PathBuf::from(FILE);
                let said = serde_json::from_str(text)
                    .map_err(|source| ModelError::Config { path: path.clone(), source })?;
                (path, said, RecipeOrigin::Caller)
            }
            None if file.exists() => {
                (file.shown(), read_json::<Value>(&file)?, RecipeOrigin::File(file.shown()))
            }
            None => return Ok(own),
        };
        let recipe: Self = over(default, said)
            .map_err(|source| ModelError::Config { path: path.clone(), source })?;
        recipe.check(&path)?;
        Ok((recipe, origin))
    }
}

/// What `said` says, and `default` where it leaves a field out.
fn over<R: WholePageRecipe>(default: &R, said: Value) -> Result<R, serde_json::Error> {
    let Value::Object(said) = said else { return serde_json::from_value(said) };
    let mut all = match serde_json::to_value(default)? {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    all.extend(said);
    serde_json::from_value(Value::Object(all))
}
