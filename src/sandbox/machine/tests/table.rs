//! Every state with every request, against the table that people agreed on.

use std::fmt::Write;

use super::*;

/// The answers in words. `ignore` stands for all requests that the state does not list.
const TABLE: &str = include_str!("table.txt");

#[test]
fn every_state_answers_every_request() {
    let answers = written_down();
    assert_eq!(answers, TABLE, "the machine answers:\n{answers}");
}

#[test]
fn the_states_cover_every_phase() {
    for phase in Phase::ALL {
        assert!(states().iter().any(|(_, state)| state.phase() == phase), "{phase}");
    }
}

fn written_down() -> String {
    let config = LifecycleConfig::default();
    let mut text = String::new();
    for (name, state) in states() {
        writeln!(text, "{name}").unwrap();
        for (request_name, request) in requests() {
            let decision = decide(&state, &request, context(&config));
            if decision != Decision::Ignore {
                writeln!(text, "  {request_name:<15} {}", answer(&state, decision)).unwrap();
            }
        }
    }
    text
}

fn answer(state: &State, decision: Decision) -> String {
    match decision {
        Decision::Ignore => "ignore".to_owned(),
        Decision::Wait => "wait".to_owned(),
        Decision::Deny(refusal) => format!("deny {refusal:?}"),
        Decision::Accept(next, effect) => {
            let moved = if next.phase() == state.phase() { "stays".to_owned() } else { format!("-> {}", next.phase()) };
            let reason = if next.status.reason == state.status.reason {
                String::new()
            } else {
                format!(" {}", next.status.reason.as_str())
            };
            let effect = effect.map(|effect| format!(", {effect:?}")).unwrap_or_default();
            format!("{moved}{reason}{effect}")
        }
    }
}
