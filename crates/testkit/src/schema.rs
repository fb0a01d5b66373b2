//! Checks messages that we emit against the official schema of their revision: the form by the
//! schema itself, and that no member is there that the schema does not name.
//!
//! The schemas are not in this repository; the test runner fetches them from a package registry
//! and checks their digests. Which definition a message must fit follows from its method, for a
//! result from the method of its request.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use compere_proto::Revision;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Author {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// The schema of one revision, and the requests of one connection whose results are awaited.
pub struct SchemaCheck {
    document: Value,
    definitions: &'static str,
    compiled: HashMap<String, Validator>,
    /// Which definition the result of a request must fit, by the author and the id of the request.
    asked: HashMap<(Author, String), String>,
}

/// Where the test runner put the schemas: `target/schemas` of the workspace.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/schemas")
}

impl SchemaCheck {
    /// Loads the schema of a revision; `None` if the test runner has not fetched it.
    pub fn load(revision: Revision) -> Option<Self> {
        let path = directory().join(format!("{revision}.json"));
        let text = std::fs::read_to_string(path).ok()?;
        let document: Value = serde_json::from_str(&text).ok()?;
        let definitions = if document.get("$defs").is_some() {
            "$defs"
        } else {
            "definitions"
        };
        Some(Self {
            document,
            definitions,
            compiled: HashMap::new(),
            asked: HashMap::new(),
        })
    }

    /// Remembers a request of anyone, so that its result can be checked.
    fn remember(&mut self, author: Author, message: &Value) {
        for part in message.as_array().into_iter().flatten() {
            self.remember(author, part);
        }
        if let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) {
            let result = self.result_of(method, &message["params"]);
            self.asked.insert((author, id.to_string()), result);
        }
    }

    /// A message that someone else wrote: only its requests are remembered.
    pub fn observe(&mut self, author: Author, line: &str) {
        if let Ok(message) = serde_json::from_str(line) {
            self.remember(author, &message);
        }
    }

    /// A message that we wrote. `Err` says what is wrong with it.
    pub fn check(&mut self, author: Author, line: &str) -> Result<(), String> {
        let message: Value =
            serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
        if message.get("method").is_some() {
            self.remember(author, &message);
        }
        if message.get("error").is_some() && message.get("id") == Some(&Value::Null) {
            // JSON-RPC wants null where the id could not be read; the schema has no such message.
            return Ok(());
        }
        let (name, body) = self.definition_of(author, &message)?;
        if self.definition(&name).is_none() {
            return Err(format!("the schema has no {name}: {line}"));
        }
        let faults = self.faults(&name, &body)?;
        if !faults.is_empty() {
            return Err(format!("{line}\nis no {name}: {}", faults.join("; ")));
        }
        let schema = json!({ "$ref": format!("#/{}/{name}", self.definitions) });
        self.unknown_keys(&schema, &body, "")
            .map_err(|why| format!("{line}\nas {name}: {why}"))
    }

    fn definition(&self, name: &str) -> Option<&Value> {
        self.document[self.definitions].get(name)
    }

    /// The definition, and the part of the message that it describes.
    fn definition_of(&self, author: Author, message: &Value) -> Result<(String, Value), String> {
        if let Some(method) = message["method"].as_str() {
            let kind = if message.get("id").is_some() {
                "Request"
            } else {
                "Notification"
            };
            let found = self.by_method(method, kind);
            // Older schemas describe the method and params only.
            return found
                .map(|name| (name, message.clone()))
                .ok_or_else(|| format!("the schema has no {kind} with the method {method}"));
        }
        if message.get("error").is_some() {
            let name = ["JSONRPCErrorResponse", "JSONRPCError"]
                .into_iter()
                .find(|name| self.definition(name).is_some())
                .unwrap_or("JSONRPCError");
            return Ok((name.to_owned(), message.clone()));
        }
        let asker = match author {
            Author::Client => Author::Server,
            Author::Server => Author::Client,
        };
        let id = message["id"].to_string();
        let name = self
            .asked
            .get(&(asker, id))
            .ok_or_else(|| format!("a result of no request: {message}"))?;
        if message["result"]["resultType"] == "input_required" {
            let asks = ["CallToolResult", "GetPromptResult", "ReadResourceResult"];
            if !asks.contains(&name.as_str()) {
                return Err(format!("a {name} that asks: {message}"));
            }
            return Ok(("InputRequiredResult".to_owned(), message["result"].clone()));
        }
        Ok((name.clone(), message["result"].clone()))
    }

    fn result_of(&self, method: &str, params: &Value) -> String {
        if params.get("task").is_some() && self.definition("CreateTaskResult").is_some() {
            return "CreateTaskResult".to_owned();
        }
        let request = match method {
            // It has the form of what the task's own request gives, and only tools make tasks.
            "tasks/result" => "tools/call",
            method => method,
        };
        let request = self.by_method(request, "Request").unwrap_or_default();
        let result = request.replace("Request", "Result");
        if self.definition(&result).is_some() {
            result
        } else {
            "EmptyResult".to_owned()
        }
    }

    fn by_method(&self, method: &str, kind: &str) -> Option<String> {
        self.document[self.definitions]
            .as_object()?
            .iter()
            .find(|(name, definition)| {
                name.ends_with(kind) && definition["properties"]["method"]["const"] == method
            })
            .map(|(name, _)| name.clone())
    }

    fn faults(&mut self, name: &str, body: &Value) -> Result<Vec<String>, String> {
        if !self.compiled.contains_key(name) {
            let mut schema = Map::new();
            if let Some(dialect) = self.document.get("$schema") {
                schema.insert("$schema".to_owned(), dialect.clone());
            }
            // In a draft-07 schema everything beside a reference is ignored, hence the allOf.
            let reference = json!({ "$ref": format!("#/{}/{name}", self.definitions) });
            schema.insert("allOf".to_owned(), json!([reference]));
            schema.insert(
                self.definitions.to_owned(),
                self.document[self.definitions].clone(),
            );
            let validator = jsonschema::validator_for(&Value::Object(schema))
                .map_err(|error| format!("{name}: {error}"))?;
            self.compiled.insert(name.to_owned(), validator);
        }
        let validator = &self.compiled[name];
        Ok(validator
            .iter_errors(body)
            .take(3)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect())
    }

    /// No schema of the protocol forbids further members, so a misspelled optional one passes it.
    /// Here every member must be named by a schema that describes its object, unless that schema
    /// leaves the names open on purpose.
    fn unknown_keys(&self, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
        if *schema == Value::Bool(true) {
            return Ok(());
        }
        let variants = self.variants(schema);
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    if path.is_empty() && matches!(key.as_str(), "jsonrpc" | "id") {
                        continue;
                    }
                    let below = format!("{path}/{key}");
                    if below == "/params/_meta" {
                        // Every request and notification may carry it; the older schemas say so
                        // at the base objects only.
                        continue;
                    }
                    let described: Vec<&Value> = variants
                        .iter()
                        .filter_map(|variant| {
                            variant["properties"]
                                .get(key)
                                .or_else(|| open_members(variant))
                        })
                        .collect();
                    if described.is_empty() {
                        return Err(format!("{below} is not in the schema"));
                    }
                    let known = described
                        .iter()
                        .any(|schema| self.unknown_keys(schema, member, &below).is_ok());
                    if !known {
                        return self.unknown_keys(described[0], member, &below);
                    }
                }
                Ok(())
            }
            Value::Array(items) => {
                for item in items {
                    let known = variants
                        .iter()
                        .filter_map(|variant| variant.get("items"))
                        .any(|schema| self.unknown_keys(schema, item, path).is_ok());
                    let anything = variants
                        .iter()
                        .all(|variant| variant.get("items").is_none());
                    if !known && !anything {
                        return Err(format!("{path} has an element that is not in the schema"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The schemas behind references and alternatives.
    fn variants<'s>(&'s self, schema: &'s Value) -> Vec<&'s Value> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return match self.definition(name) {
                Some(definition) => self.variants(definition),
                None => vec![schema],
            };
        }
        let mut found = vec![schema];
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for variant in schema[keyword].as_array().into_iter().flatten() {
                found.extend(self.variants(variant));
            }
        }
        found
    }
}

/// The schema of members without names of their own, where an object is meant to be open: its
/// definition has `additionalProperties` as a schema, or names no members at all.
fn open_members(schema: &Value) -> Option<&Value> {
    let names_none = schema["properties"].as_object().is_none_or(Map::is_empty);
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) if names_none => Some(&Value::Bool(true)),
        // The schemas within a tool from 2026-07-28 on: open although they name some.
        Some(Value::Object(anything))
            if anything.is_empty() && schema["properties"].get("$schema").is_some() =>
        {
            Some(&Value::Bool(true))
        }
        Some(additional) if names_none => Some(additional),
        // `inputSchema` names three of its keywords and leaves JSON Schema open.
        _ if is_json_schema(schema) => Some(&Value::Bool(true)),
        _ if names_none
            && ["anyOf", "oneOf", "allOf"]
                .iter()
                .all(|key| schema.get(key).is_none()) =>
        {
            Some(&Value::Bool(true))
        }
        _ => None,
    }
}

fn is_json_schema(schema: &Value) -> bool {
    schema["properties"]["type"]["const"] == "object"
        && schema["properties"].get("required").is_some()
}
