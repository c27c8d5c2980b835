//! The example that the README shows runs, and says what it promises.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn rank_pages_finds_its_pages_and_scores_few_exactly() {
    // Tests lie in `deps`, examples beside it.
    let mut examples = PathBuf::from(std::env::current_exe().unwrap());
    examples.pop();
    examples.pop();
    let program =
        examples.join("examples").join(format!("rank_pages{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(&program);
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let scored: usize = said.split_whitespace().next().unwrap().parse().unwrap();
    assert!((5..40).contains(&scored), "{said}");
    assert!((120..125).all(|page| said.contains(&format!(". page {page}: "))), "{said}");
}
