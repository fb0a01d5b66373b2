//! What tools said of themselves when they were listed: the output schemas against which the structured
//! content of later calls is held, and which of them must be called as tasks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compere_proto::Limits;
use compere_proto::tasks::TaskSupport;
use compere_proto::tools::{CallToolResult, Tool};
use serde_json::Value;

use crate::server::schema;
use crate::server::tools::kept;
use crate::validate::Validation;

/// The promises of one server, by tool.
#[derive(Default)]
pub(crate) struct Promises {
    schemas: Mutex<HashMap<String, Arc<Validation>>>,
    only_as_tasks: Mutex<HashSet<String>>,
}

impl Promises {
    /// Takes in what was listed. A schema that is refused by its bounds promises nothing.
    pub(crate) fn learn(&self, tools: &[Tool], limits: &Limits) {
        let mut known = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in tools {
            self.learn_of_tasks(tool, limits);
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

    fn only_as_tasks(&self) -> MutexGuard<'_, HashSet<String>> {
        self.only_as_tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_of_tasks(&self, tool: &Tool, limits: &Limits) {
        let mut known = self.only_as_tasks();
        known.remove(&tool.name);
        let required = TaskSupport::of(tool.execution.as_ref()) == TaskSupport::Required;
        if required && known.len() < limits.list_items {
            known.insert(tool.name.clone());
        }
    }

    /// Must this tool be called as a task?
    pub(crate) fn is_only_a_task(&self, tool: &str) -> bool {
        self.only_as_tasks().contains(tool)
    }

    /// The list changed: what was promised is over.
    pub(crate) fn forget(&self) {
        let mut known = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        self.only_as_tasks().clear();
    }

    /// Is the promise of this tool kept? A tool that was not listed made none.
    pub(crate) fn check(
        &self,
        tool: &str,
        result: &CallToolResult,
        limits: &Limits,
    ) -> Result<(), String> {
        let promised = {
            let known = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(tool).cloned()
        };
        match promised {
            Some(validation) => kept(&validation, result, limits),
            None => Ok(()),
        }
    }
}
