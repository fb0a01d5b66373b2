//! Which parameters of which tools stand in headers too, as far as the lists of tools have said that came
//! through: then calls are held against their headers, as a server that knows its tools does it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compere_proto::Limits;
use compere_proto::wire::header::{self, Mirrored};
use serde::Deserialize;
use serde_json::Value;

/// By who a list was for: others may see other tools.
type Known = HashMap<Arc<str>, HashMap<String, Arc<[Mirrored]>>>;

/// The marks of all clients' tools.
#[derive(Default)]
pub(crate) struct Marks(Mutex<Known>);

#[derive(Deserialize)]
struct Page {
    tools: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(rename = "inputSchema", default)]
    input_schema: Value,
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, principal: &str, tool: &str) -> Option<Arc<[Mirrored]>> {
        self.lock().get(principal)?.get(tool).cloned()
    }

    /// Learns from a page of tools. A tool whose marks break a rule has none here: clients leave it out.
    pub(super) fn learn(&self, principal: &Arc<str>, page: &str, limits: &Limits) {
        // Most tools have none, and nobody has to forget any.
        let is_known = self.lock().contains_key(principal);
        if !is_known && !page.contains("x-mcp-header") {
            return;
        }
        let Ok(page) = serde_json::from_str::<Page>(page) else {
            return;
        };
        let mut known = self.lock();
        if known.len() >= limits.sessions && !known.contains_key(principal) {
            // Whoever lists the tools again is known again.
            known.clear();
        }
        let tools = known.entry(principal.clone()).or_default();
        for tool in page.tools {
            let marks = header::mirrored(&tool.input_schema).unwrap_or_default();
            if marks.is_empty() || tools.len() >= limits.list_items {
                tools.remove(&tool.name);
            } else {
                tools.insert(tool.name, marks.into());
            }
        }
    }
}
