//! What tools promised of their results: the output schemas that a server listed, against which the
//! structured content of later calls is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use compere_proto::Limits;
use compere_proto::tools::{CallToolResult, Tool};
use serde_json::Value;

use crate::server::schema;
use crate::server::tools::kept;
use crate::validate::Validation;

/// The promises of one server, by tool.
#[derive(Default)]
pub(crate) struct Promises(Mutex<HashMap<String, Arc<Validation>>>);

impl Promises {
    /// Takes in what was listed. A schema that is refused by its bounds promises nothing.
    pub(crate) fn learn(&self, tools: &[Tool], limits: &Limits) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in tools {
            known.remove(&tool.name);
            let Some(promised) = &tool.output_schema else {
                continue;
            };
            let Ok(promised) = promised.decode::<Value>() else {
                continue;
            };
            if known.len() >= limits.list_items || schema::check(&promised, limits).is_err() {
                continue;
            }
            let validation = Validation::by_schema(promised, limits);
            known.insert(tool.name.clone(), Arc::new(validation));
        }
    }

    /// The list changed: what was promised is over.
    pub(crate) fn forget(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Is the promise of this tool kept? A tool that was not listed made none.
    pub(crate) fn check(
        &self,
        tool: &str,
        result: &CallToolResult,
        limits: &Limits,
    ) -> Result<(), String> {
        let promised = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(tool).cloned()
        };
        match promised {
            Some(validation) => kept(&validation, result, limits),
            None => Ok(()),
        }
    }
}
