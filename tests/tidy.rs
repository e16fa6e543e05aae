//! The agreements on how this project is built, as a test: which module may import which, where `unsafe` may stand, and
//! that nothing is forgotten. Plain text scanning; every rule is first tried on small bad pieces of its own.

mod tidy {
    pub mod floors;
    pub mod form;
    pub mod modules;
    pub mod source;
    pub mod unsafety;
}

use tidy::source::{Problem, Tree};
use tidy::{floors, form, modules, unsafety};

#[test]
fn modules_import_only_from_floors_below() {
    none(floors::check(&Tree::of_package()));
}

#[test]
fn unsafe_is_fenced_and_argued() {
    none(unsafety::check(&Tree::of_package()));
}

#[test]
fn files_have_their_form() {
    none(form::check(&Tree::of_package()));
}

#[test]
fn no_file_and_no_test_is_forgotten() {
    none(modules::check(&Tree::of_package()));
}

fn none(problems: Vec<Problem>) {
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} to put right:\n{}", list.len(), list.join("\n"));
}
