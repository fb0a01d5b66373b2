//! What a server offers: asked of it in whole, bounded, and held against what was approved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compere::Client;
use compere::proto::Method;
use compere::text::escape_line;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::consent::Offered;
use crate::hex;
use crate::pins::{
    Digest, Item, Kind, Pins, Standing, canonical, changes, digest, hidden, likenesses,
};

/// How long a server may take to list something.
const LIST_TIME: Duration = Duration::from_secs(30);
/// The longest definition.
const DEFINITION_BYTES: usize = 64 * 1024;
/// The longest instructions.
const INSTRUCTION_BYTES: usize = 64 * 1024;
/// Pages of a list.
const PAGES: usize = 64;
/// Items of a list.
const ITEMS: usize = 2_000;

/// What a server can do besides what it defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Abilities {
    /// It has tools.
    pub tools: bool,
    /// It has prompts.
    pub prompts: bool,
    /// It has resources.
    pub resources: bool,
    /// It tells when resources change.
    pub subscribe: bool,
    /// It completes arguments.
    pub completions: bool,
    /// It writes log messages.
    pub logging: bool,
}

/// What a server says that it offers.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    /// What it can do.
    pub abilities: Abilities,
    /// Everything that is defined, with its digest.
    pub items: BTreeMap<Item, (Value, Digest)>,
    /// What was left out, in words.
    pub left_out: Vec<String>,
}

impl Definitions {
    /// Asks a server.
    pub async fn ask(client: &Client) -> Result<Self, compere::Error> {
        let mut found = Self {
            abilities: abilities(client),
            ..Self::default()
        };
        if let Some(text) = client.instructions() {
            match text.len() <= INSTRUCTION_BYTES {
                true => found.add(Item::new(Kind::Instructions, ""), Value::from(text)),
                false => found
                    .left_out
                    .push("its instructions are too long".to_owned()),
            }
        }
        let abilities = found.abilities;
        for (kind, method, member, there) in [
            (Kind::Tool, Method::ToolsList, "tools", abilities.tools),
            (
                Kind::Prompt,
                Method::PromptsList,
                "prompts",
                abilities.prompts,
            ),
            (
                Kind::Template,
                Method::ResourcesTemplatesList,
                "resourceTemplates",
                abilities.resources,
            ),
        ] {
            if there {
                found.list(client, kind, method, member).await?;
            }
        }
        Ok(found)
    }

    async fn list(
        &mut self,
        client: &Client,
        kind: Kind,
        method: Method,
        member: &str,
    ) -> Result<(), compere::Error> {
        for definition in pages(client, method, member, &mut self.left_out).await? {
            let name = match kind {
                Kind::Template => "uriTemplate",
                _ => "name",
            };
            let name = definition.get(name).and_then(Value::as_str);
            let Some(name) = name.map(str::to_owned) else {
                self.left_out
                    .push(format!("one of its {member} has no name"));
                continue;
            };
            if definition.to_string().len() > DEFINITION_BYTES {
                let name = escape_line(&name);
                self.left_out
                    .push(format!("the definition of {name} is too long"));
                continue;
            }
            let item = Item::new(kind, name);
            if self.items.contains_key(&item) {
                let name = escape_line(&item.name);
                self.left_out
                    .push(format!("it has two {member} named {name}"));
                continue;
            }
            self.add(item, definition);
        }
        Ok(())
    }

    fn add(&mut self, item: Item, definition: Value) {
        let digest = digest(&item, &definition);
        self.items.insert(item, (definition, digest));
    }

    /// Is this what was approved?
    pub fn is_approved(&self, item: &Item, pins: &Pins) -> bool {
        self.items
            .get(item)
            .is_some_and(|(_, digest)| pins.approves(item, digest))
    }

    /// What a person has not approved, as they are shown it; all of it together is what they answer.
    pub fn waiting(&self, pins: &Pins) -> Vec<Offered> {
        let mut alike: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for kind in [Kind::Tool, Kind::Prompt] {
            let names: Vec<&str> = self
                .items
                .keys()
                .filter(|item| item.kind == kind)
                .map(|item| item.name.as_str())
                .collect();
            for likeness in likenesses(names.iter().copied()) {
                for name in names
                    .iter()
                    .filter(|name| likeness.names.iter().any(|of| of == *name))
                {
                    let others = likeness.names.iter().filter(|other| other != name);
                    alike.entry(name).or_default().extend(others.cloned());
                }
            }
        }
        let waits = self.items.iter().filter_map(|(item, (definition, _))| {
            let changes = match pins.standing(item, definition) {
                Standing::Approved => return None,
                Standing::New => Vec::new(),
                Standing::Changed(before) => changes(before, definition),
            };
            let mut warnings: Vec<String> = hidden(definition)
                .into_iter()
                .map(|hidden| {
                    format!(
                        "{} hidden in {}: {}",
                        hidden.count, hidden.path, hidden.what
                    )
                })
                .collect();
            if let Some(others) = alike.get(item.name.as_str()) {
                warnings.push(format!("its name looks like {}", others.join(", ")));
            }
            Some(Offered {
                kind: kind_name(item.kind).to_owned(),
                name: item.name.clone(),
                description: described(item.kind, definition),
                changes,
                warnings,
            })
        });
        waits.collect()
    }

    /// One digest for all that waits: an answer is to exactly this.
    pub fn digest_of_waiting(&self, pins: &Pins) -> String {
        let waiting: BTreeMap<String, &Digest> = self
            .items
            .iter()
            .filter(|(item, (_, digest))| !pins.approves(item, digest))
            .map(|(item, (_, digest))| (format!("{:?} {}", item.kind, item.name), digest))
            .collect();
        hex::text(&Sha256::digest(canonical(&json!(waiting))))
    }
}

fn abilities(client: &Client) -> Abilities {
    let Some(has) = client.server_capabilities() else {
        return Abilities::default();
    };
    let unspoken = Method::CompletionComplete.capability_in(client.revision())
        == compere::proto::capability::Capability::None;
    Abilities {
        tools: has.tools.is_some(),
        prompts: has.prompts.is_some(),
        resources: has.resources.is_some(),
        subscribe: has
            .resources
            .as_ref()
            .is_some_and(|of| of.subscribe == Some(true)),
        completions: has.completions.is_some() || unspoken,
        logging: has.logging.is_some(),
    }
}

/// A list in whole: every page, within bounds, each cursor once.
pub(crate) async fn pages(
    client: &Client,
    method: Method,
    member: &str,
    left_out: &mut Vec<String>,
) -> Result<Vec<Value>, compere::Error> {
    let mut items = Vec::new();
    let mut cursors = BTreeSet::new();
    let mut params = "{}".to_owned();
    for _ in 0..PAGES {
        let page = tokio::time::timeout(LIST_TIME, client.pass(method, &params, None)).await;
        let Ok(page) = page else {
            left_out.push(format!("its {member} took too long"));
            return Ok(items);
        };
        let mut page: Value = match serde_json::from_str(&page?) {
            Ok(page) => page,
            Err(_) => {
                left_out.push(format!("its {member} cannot be read"));
                return Ok(items);
            }
        };
        let Some(Value::Array(found)) = page.get_mut(member).map(Value::take) else {
            left_out.push(format!("its {member} are no list"));
            return Ok(items);
        };
        items.extend(found);
        if items.len() > ITEMS {
            left_out.push(format!("it has more than {ITEMS} {member}"));
            items.truncate(ITEMS);
            return Ok(items);
        }
        let Some(cursor) = page.get("nextCursor").and_then(Value::as_str) else {
            return Ok(items);
        };
        if !cursors.insert(cursor.to_owned()) {
            left_out.push(format!("its {member} begin again"));
            return Ok(items);
        }
        params = json!({"cursor": cursor}).to_string();
    }
    left_out.push(format!("its {member} have more than {PAGES} pages"));
    Ok(items)
}

/// How a kind is called.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Fetch => "fetching",
        Kind::Launch => "launch",
        Kind::Program => "program",
        Kind::Instructions => "instructions",
        Kind::Tool => "tool",
        Kind::Prompt => "prompt",
        Kind::Resource => "resource",
        Kind::Template => "template",
    }
}

fn described(kind: Kind, definition: &Value) -> String {
    let text = match kind {
        Kind::Instructions => definition.as_str(),
        _ => definition.get("description").and_then(Value::as_str),
    };
    text.unwrap_or_default().to_owned()
}
