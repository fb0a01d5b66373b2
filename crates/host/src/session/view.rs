//! What one app sees: the approved things of the servers that it may see, under names of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::config::settings::open_to;
use crate::host::Host;
use crate::naming;
use crate::pins::{Item, Kind};
use crate::servers::Server;

/// The instructions of one server are cut here.
const INSTRUCTIONS: usize = 4 * 1024;
/// Those of all together here.
const ALL_INSTRUCTIONS: usize = 32 * 1024;

/// What one app sees.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The servers, by what stands for them in names.
    pub(crate) servers: BTreeMap<String, Arc<Server>>,
    /// What is behind the names of tools.
    pub(crate) tool_names: BTreeMap<String, (Arc<Server>, Item)>,
    /// What is behind the names of prompts.
    pub(crate) prompt_names: BTreeMap<String, (Arc<Server>, Item)>,
    /// What is behind templates, as they are offered.
    pub(crate) template_names: BTreeMap<String, (Arc<Server>, Item)>,
    /// The lists, as they are sent.
    pub(crate) tools: Vec<Value>,
    pub(crate) prompts: Vec<Value>,
    pub(crate) templates: Vec<Value>,
    /// What the servers say of their use.
    pub(crate) instructions: Option<String>,
}

impl View {
    pub(crate) fn of(host: &Host, app: &str, session: u64) -> Self {
        let catalog = host.catalog();
        let mut view = Self::default();
        let known = catalog.apps.get(app).cloned().unwrap_or_default();
        for server in catalog.servers.values() {
            let visible = server.entry.enabled
                && open_to(&server.entry.settings.apps, app)
                && open_to(&known.servers, &server.name)
                && server.approved_launch().is_some();
            // Two that have the same handle would be one: the later is left out.
            if visible && !view.servers.contains_key(&server.handle) {
                view.servers.insert(server.handle.clone(), server.clone());
            }
        }
        let mut templates: BTreeMap<String, Vec<(Arc<Server>, Value)>> = BTreeMap::new();
        let mut instructions = String::new();
        for server in view.servers.values().cloned().collect::<Vec<_>>() {
            let approvals = server.approvals();
            let running = server.running_for(session).map(|running| running.offers());
            for (item, pin) in approvals.pins.iter() {
                // What the server says of it by now is another thing: it waits.
                if let Some(offers) = &running
                    && !offers.is_approved(item, &approvals.pins)
                {
                    continue;
                }
                let definition = pin.definition.clone();
                match item.kind {
                    Kind::Tool if open_to(&server.entry.settings.tools, &item.name) => {
                        let name = naming::offered(&server.name, &item.name);
                        view.tools.push(named(definition, &name));
                        view.tool_names.insert(name, (server.clone(), item.clone()));
                    }
                    Kind::Prompt if open_to(&server.entry.settings.tools, &item.name) => {
                        let name = naming::offered(&server.name, &item.name);
                        view.prompts.push(named(definition, &name));
                        view.prompt_names
                            .insert(name, (server.clone(), item.clone()));
                    }
                    Kind::Template => {
                        let of = templates.entry(item.name.clone()).or_default();
                        of.push((server.clone(), definition));
                    }
                    Kind::Instructions => {
                        if let Some(text) = definition.as_str() {
                            quote(&mut instructions, &server.handle, text);
                        }
                    }
                    _ => {}
                }
            }
        }
        for (template, owners) in templates {
            let alone = owners.len() == 1;
            for (server, mut definition) in owners {
                let offered = match alone {
                    true => template.clone(),
                    false => naming::wrapped(&server.name, &template),
                };
                if let Value::Object(members) = &mut definition {
                    members.insert("uriTemplate".to_owned(), offered.clone().into());
                }
                let item = Item::new(Kind::Template, template.clone());
                view.templates.push(definition);
                view.template_names.insert(offered, (server, item));
            }
        }
        view.instructions = (!instructions.is_empty()).then(|| {
            format!(
                "What follows are the words of single servers, each about its own tools, whose names begin with its name and two underscores.\n{instructions}"
            )
        });
        view
    }
}

/// A definition under the name by which it is offered.
fn named(mut definition: Value, name: &str) -> Value {
    if let Value::Object(members) = &mut definition {
        members.insert("name".to_owned(), name.into());
        // What a server asks of its host is not passed on to apps.
        members.remove("execution");
    }
    definition
}

/// The words of a server, so that none of them can pass for those of another one, or for ours.
fn quote(all: &mut String, server: &str, text: &str) {
    let mut quoted = format!("\n{server} says:\n");
    // Whatever may be read as the end of a line is one.
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    for line in text.split(ends) {
        quoted.push_str("> ");
        quoted.push_str(line);
        quoted.push('\n');
        if quoted.len() > INSTRUCTIONS {
            let mut end = INSTRUCTIONS;
            while !quoted.is_char_boundary(end) {
                end -= 1;
            }
            quoted.truncate(end);
            quoted.push_str("…\n");
            break;
        }
    }
    if all.len() + quoted.len() <= ALL_INSTRUCTIONS {
        all.push_str(&quoted);
    }
}
