//! Workers as processes. This binary is its own worker program, so it has a `main`: it is also
//! what tries to break out of the sandbox, and none of that is in the program that ships.

#[cfg(target_os = "linux")]
mod escape;
#[cfg(unix)]
mod hostile;
mod pixels;
mod pool;
mod replaced;
mod words;

use std::path::{Path, PathBuf};

use pagesight_pdf::{RenderOptions, Renderer, Sandbox, StartError};

struct Test {
    name: &'static str,
    run: fn(),
    /// What it needs that not every system has; such a test runs when it is asked for.
    needs: Option<&'static str>,
}

const fn test(name: &'static str, run: fn()) -> Test {
    Test { name, run, needs: None }
}

fn main() {
    pagesight_pdf::serve_worker_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(target_os = "linux")]
    escape::attempt_if_asked(&arguments);
    let mut tests: Vec<Test> = vec![
        test("pixels_do_not_depend_on_the_machine", pixels::do_not_depend_on_the_machine),
        test("pixels_do_not_depend_on_what_was_read_before", pixels::do_not_depend_on_the_text),
        test(
            "fonts_that_are_not_embedded_are_drawn",
            pixels::fonts_that_are_not_embedded_are_drawn,
        ),
        test("words_outside_the_page_are_none", words::outside_the_page_and_its_clips_are_none),
        test("words_of_layers_that_are_off_are_none", words::of_layers_that_are_off_are_none),
        test("words_of_annotations_are_read", words::of_annotations_are_read),
        test(
            "words_of_annotations_on_layers_that_are_off_are_none",
            words::of_annotations_on_layers_that_are_off_are_none,
        ),
        test("words_of_a_choice_are_its_label", words::of_a_choice_are_its_label),
        test("words_of_tags_stand_for_their_content", words::of_tags_stand_for_their_content),
        test("words_keep_every_letter", words::keep_every_letter),
        test(
            "words_in_fonts_that_are_drawn_have_the_names_of_their_glyphs",
            words::in_fonts_that_are_drawn_have_the_names_of_their_glyphs,
        ),
        test("words_say_where_they_stand", words::say_where_they_stand),
        test("words_stand_where_they_are_displayed", words::stand_where_they_are_displayed),
        test("notes_say_what_is_not_read", words::notes_say_what_is_not_read),
        test(
            "pixels_are_squeezed_with_the_filter_that_is_asked_for",
            pixels::are_squeezed_with_the_filter_that_is_asked_for,
        ),
        test("letters_beyond_latin_1_are_drawn", pixels::letters_beyond_latin_1_are_drawn),
        test(
            "signs_in_fonts_of_ideographs_are_drawn",
            pixels::signs_in_fonts_of_ideographs_are_drawn,
        ),
        test("workers_are_replaced_in_time", replaced::in_time),
        test("the_pool_keeps_the_contract", pool::keeps_the_contract),
        test("a_second_picture_starts_no_process", pool::a_second_picture_starts_no_process),
        test("workers_outlive_the_thread_that_started_them", pool::workers_outlive_threads),
        test("a_set_stop_flag_ends_a_drawing", pool::a_stop_flag_ends_a_drawing),
        test("a_picture_too_large_costs_no_worker", pool::a_picture_too_large_costs_no_worker),
        test("a_document_wears_out_few_workers", pool::a_document_wears_out_few_workers),
        test("start_errors_say_what_is_missing", pool::start_errors_say_what_is_missing),
    ];
    #[cfg(target_os = "linux")]
    {
        let needs = Some("landlock and seccomp");
        let sandbox = |name, run| Test { name, run, needs };
        tests.extend([
            test("a_killed_worker_is_replaced", pool::a_killed_worker_is_replaced as fn()),
            test("idle_workers_end", pool::idle_workers_end),
            test("the_worker_program_serves", pool::the_worker_program_serves),
            sandbox("the_sandbox_refuses_every_way_out", escape::every_way_out_is_refused),
            sandbox(
                "the_sandbox_holds_a_worker_that_serves",
                escape::a_worker_that_serves_is_shut_in,
            ),
        ]);
    }
    #[cfg(unix)]
    tests.extend([
        test("a_worker_that_talks_nonsense_is_stopped", hostile::nonsense_is_stopped as fn()),
        test("a_worker_that_is_silent_is_stopped", hostile::silence_is_stopped),
    ]);
    // As much of the usual harness as `cargo test NAME`, `-- --ignored` and
    // `-- --include-ignored` need.
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        return;
    }
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    for Test { name, run, needs } in tests {
        if !(names.is_empty() || names.iter().any(|part| name.contains(*part))) {
            continue;
        }
        match needs {
            Some(needs) if !has("--ignored") && !has("--include-ignored") => {
                println!("test {name} ... ignored, needs {needs}");
            }
            None if has("--ignored") => {}
            _ => {
                run();
                println!("test {name} ... ok");
            }
        }
    }
}

/// The libpdfium that `cargo xtask setup` fetched.
fn pdfium() -> PathBuf {
    let given = std::env::var_os("PAGESIGHT_PDFIUM").map(PathBuf::from);
    given.expect(".cargo/config.toml sets PAGESIGHT_PDFIUM; run the tests with cargo")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fixtures")
}

fn options(sandbox: Sandbox) -> RenderOptions {
    RenderOptions { pdfium: Some(pdfium()), sandbox, ..RenderOptions::default() }
}

fn start(sandbox: Sandbox) -> Result<Renderer, StartError> {
    Renderer::start(&options(sandbox))
}
