//! Placeholder until the benches land.

use crate::Outcome;

pub(crate) fn run(_arguments: &[String]) -> Outcome {
    Err("the benches are not here yet".to_owned())
}
