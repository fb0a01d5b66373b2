//! Resources of many servers under one roof: whose a URI is, and how it is written where two have it.
//!
//! A URI goes unchanged while only one server has it. One that several have is written with the name of
//! its server, everywhere alike, and that form is understood in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compere::gateway::Asked;
use compere::model::{ErrorObject, UriTemplate};
use compere::proto::Method;
use compere::text::escape_line;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::audit::{Durability, Kind as RecordKind};
use crate::consent::Judged;
use crate::consent::Now;
use crate::naming;
use crate::pins::{Item, Kind};
use crate::policy::Subject;
use crate::servers::Server;
use crate::session::Session;
use crate::session::passing::Errand;

/// Subscriptions of one app.
const SUBSCRIPTIONS: usize = 1_024;
/// URIs of one server that are known.
const KNOWN: usize = 10_000;

/// What is known of whose URIs are whose: those that a server listed, and those that stood in its
/// results.
#[derive(Debug, Default)]
pub(super) struct Uris {
    by_server: BTreeMap<String, BTreeSet<String>>,
}

impl Uris {
    fn owners(&self, uri: &str) -> Vec<&str> {
        let owners = self.by_server.iter().filter(|(_, uris)| uris.contains(uri));
        owners.map(|(server, _)| server.as_str()).collect()
    }

    fn learn(&mut self, server: &str, uri: &str) {
        let uris = self.by_server.entry(server.to_owned()).or_default();
        if uris.len() < KNOWN {
            uris.insert(uri.to_owned());
        }
    }

    /// How a URI of a server is written for the app.
    fn written(&self, server: &str, uri: &str) -> String {
        let others = self.owners(uri).into_iter().any(|owner| owner != server);
        match others {
            true => naming::wrapped(server, uri),
            false => uri.to_owned(),
        }
    }
}

impl Session {
    /// The resources of all servers that can be asked.
    pub(super) async fn resources(self: &Arc<Self>) -> Vec<Value> {
        let view = self.view();
        let having = view.servers.values();
        let having = having.filter(|server| server.approvals().abilities.resources);
        let asking = having.map(|server| async move {
            let listed = match self.running(server).await {
                Ok(running) => running
                    .resources()
                    .await
                    .map_err(|error| format!("{error:?}")),
                Err(error) => Err(error.message.to_string()),
            };
            match listed {
                Ok(resources) => Some((server.name.clone(), resources)),
                Err(why) => {
                    tracing::warn!(server = server.name, why, "its resources are not listed");
                    None
                }
            }
        });
        let listed: Vec<(String, Vec<Value>)> =
            join_all(asking).await.into_iter().flatten().collect();
        let uri_of = |resource: &Value| {
            let uri = resource.get("uri").and_then(Value::as_str);
            uri.map(str::to_owned)
        };
        let mut state = self.lock();
        for (server, resources) in &listed {
            for uri in resources.iter().filter_map(uri_of) {
                state.uris.learn(server, &uri);
            }
        }
        let mut all = Vec::new();
        for (server, resources) in listed {
            for mut resource in resources {
                if let (Some(uri), Value::Object(members)) = (uri_of(&resource), &mut resource) {
                    let written = state.uris.written(&server, &uri);
                    members.insert("uri".to_owned(), written.into());
                    all.push(resource);
                }
            }
        }
        all
    }

    /// Whose a URI is, and how that server writes it.
    pub(super) async fn owner_of(
        self: &Arc<Self>,
        uri: &str,
    ) -> Result<(Arc<Server>, String), ErrorObject> {
        let view = self.view();
        if let Some((handle, uri)) = naming::unwrapped(uri)
            && let Some(server) = view.servers.get(handle)
        {
            return Ok((server.clone(), uri));
        }
        let by_name = |name: &str| view.servers.values().find(|server| server.name == name);
        let listed = |session: &Self| -> Vec<Arc<Server>> {
            let state = session.lock();
            let owners = state.uris.owners(uri);
            owners.into_iter().filter_map(by_name).cloned().collect()
        };
        let mut owners = listed(self);
        if owners.is_empty() {
            owners = templated(&view.template_names, uri);
        }
        let having = || {
            let having = view.servers.values();
            having.filter(|server| server.approvals().abilities.resources)
        };
        if owners.is_empty() && having().count() == 1 {
            owners = having().cloned().collect();
        }
        if owners.is_empty() {
            // Nobody asked for the lists yet.
            self.resources().await;
            owners = listed(self);
        }
        match owners.as_slice() {
            [only] => Ok((only.clone(), uri.to_owned())),
            [] => {
                let error = compere::model::code::RESOURCE_NOT_FOUND;
                let error = ErrorObject::new(error, "No server here has this resource");
                Err(error.with_data(&json!({"uri": uri})))
            }
            several => {
                let forms: Vec<String> = several
                    .iter()
                    .map(|server| naming::wrapped(&server.name, uri))
                    .collect();
                Err(ErrorObject::invalid_params(format!(
                    "Several servers have this resource; say which: {}",
                    forms.join(", ")
                )))
            }
        }
    }

    /// The result of a server with its URIs as the app is to see them.
    pub(super) fn mapped(&self, server: &Arc<Server>, result: Box<str>) -> Box<str> {
        if !result.contains("\"uri\"") {
            return result;
        }
        let Ok(mut value) = serde_json::from_str::<Value>(&result) else {
            return result;
        };
        let mut changed = false;
        let mut state = self.lock();
        let mut each = |place: &mut Value| {
            if let Some(uri) = place.get("uri").and_then(Value::as_str).map(str::to_owned) {
                state.uris.learn(&server.name, &uri);
                let written = state.uris.written(&server.name, &uri);
                if written != uri
                    && let Value::Object(members) = place
                {
                    members.insert("uri".to_owned(), written.into());
                    changed = true;
                }
            }
        };
        for place in places(&mut value) {
            each(place);
        }
        drop(state);
        match changed {
            true => value.to_string().into(),
            false => result,
        }
    }

    /// May the app subscribe to one more?
    pub(super) fn may_subscribe(&self, as_named: &str) -> Result<(), ErrorObject> {
        let state = self.lock();
        let known = state.subscriptions.contains_key(as_named);
        match known || state.subscriptions.len() < SUBSCRIPTIONS {
            true => Ok(()),
            false => Err(ErrorObject::limit("subscriptions", SUBSCRIPTIONS)),
        }
    }

    pub(super) fn subscribed(&self, as_named: &str, server: &str, uri: &str) {
        let mut state = self.lock();
        let there = (server.to_owned(), uri.to_owned());
        state.subscriptions.insert(as_named.to_owned(), there);
        drop(state);
        // It is not idle while it is to tell something.
        let running = self.host.server(server);
        if let Some(running) = running.and_then(|server| server.running_for(self.id)) {
            running.is_watched();
        }
    }

    /// A resource has changed: the app hears of it in its own words, if it wants to.
    pub(super) fn updated(&self, server: &str, uri: &str) {
        let state = self.lock();
        // It may be one below what the app is subscribed to.
        let subscribed = state.subscriptions.iter();
        let subscribed = subscribed
            .filter(|(_, (of, at))| of == server && (at == uri || uri.starts_with(at.as_str())));
        let told: BTreeSet<String> = subscribed
            .map(|(as_named, (_, at))| match at == uri {
                true => as_named.clone(),
                false => state.uris.written(server, uri),
            })
            .collect();
        drop(state);
        for uri in told {
            let params = json!({"uri": uri}).to_string();
            self.app.tell(Method::ResourcesUpdated, Some(&params), None);
        }
    }

    pub(super) async fn unsubscribe(
        self: &Arc<Self>,
        asked: &Asked,
    ) -> Result<Box<str>, ErrorObject> {
        let params: Value = serde_json::from_str(asked.params()).unwrap_or_default();
        let uri = params.get("uri").and_then(Value::as_str);
        let uri = uri.ok_or_else(|| ErrorObject::invalid_params("A URI is missing"))?;
        let there = self.lock().subscriptions.remove(uri);
        if let Some((server, uri)) = there
            && !self.others_watch(&server, &uri)
            && let Some(server) = self.host.server(&server)
            && let Some(running) = server.running_for(self.id)
            && let Err(error) = running.unsubscribe(&json!({"uri": uri}).to_string()).await
        {
            tracing::debug!(?error, "a server does not take the end of a subscription");
        }
        Ok("{}".into())
    }

    /// Is another app subscribed to this at the same process?
    fn others_watch(&self, server: &str, uri: &str) -> bool {
        let is_shared = |server: Arc<Server>| server.entry.settings.shared;
        self.host.server(server).is_some_and(is_shared)
            && self.host.sessions().iter().any(|session| {
                let state = session.lock();
                let mut subscribed = state.subscriptions.values();
                subscribed.any(|(of, at)| of == server && at == uri)
            })
    }

    /// Suggestions: asked of the server only where that is allowed outright. Nobody is asked for leave
    /// with every letter that they type.
    pub(super) async fn complete(self: &Arc<Self>, asked: Asked) -> Result<Box<str>, ErrorObject> {
        let mut params: Value = serde_json::from_str(asked.params()).unwrap_or_default();
        let view = self.view();
        let reference = params.get("ref").cloned().unwrap_or_default();
        let text = |name: &str| reference.get(name).and_then(Value::as_str);
        let (kind, owner, member) = match text("type") {
            Some("ref/prompt") => {
                let name = text("name").unwrap_or_default();
                (Kind::Prompt, view.prompt_names.get(name).cloned(), "name")
            }
            Some("ref/resource") => {
                let uri = text("uri").unwrap_or_default();
                (Kind::Template, view.template_names.get(uri).cloned(), "uri")
            }
            _ => return Err(ErrorObject::invalid_params("This reference is not known")),
        };
        let Some((server, item)) = owner else {
            return Err(ErrorObject::invalid_params("This reference is not known"));
        };
        if !server.approvals().abilities.completions {
            return Ok(no_suggestions());
        }
        if let Some(reference) = params.get_mut("ref").and_then(Value::as_object_mut) {
            reference.insert(member.to_owned(), item.name.clone().into());
        }
        let arguments = params.get("argument").cloned().unwrap_or_default();
        let errand = Errand {
            server,
            subject: Subject::Completion,
            name: item.name.clone(),
            item: Some(Item::new(kind, item.name)),
            written: Some(arguments.to_string().into()),
            meta: None,
        };
        let wanted = self.wanted(&errand)?;
        match self.host.consent.judge(&wanted, Now::read()) {
            Judged::Leave(leave) => {
                let params = params.to_string().into();
                self.carry(&asked, &errand, &wanted, leave, params).await
            }
            Judged::Ask(_) => Ok(no_suggestions()),
            Judged::Refused(refused) => {
                let mut record = self.record(
                    RecordKind::Refused,
                    asked.method(),
                    &wanted,
                    &wanted.arguments,
                );
                record.rule = refused.rule;
                record.outcome = escape_line(&refused.why);
                let _ = self.host.append(record, Durability::Written).await;
                Ok(no_suggestions())
            }
        }
    }
}

fn no_suggestions() -> Box<str> {
    r#"{"completion":{"values":[]}}"#.into()
}

/// The servers that have a template which a URI fits.
fn templated(templates: &BTreeMap<String, (Arc<Server>, Item)>, uri: &str) -> Vec<Arc<Server>> {
    let mut owners: Vec<Arc<Server>> = Vec::new();
    for (server, item) in templates.values() {
        let fits = UriTemplate::parse(&item.name).is_ok_and(|of| of.matches(uri).is_some());
        if fits && !owners.iter().any(|known| known.name == server.name) {
            owners.push(server.clone());
        }
    }
    owners
}

/// Where results have URIs of resources: links and embedded ones of tools and prompts, and contents.
fn places(result: &mut Value) -> Vec<&mut Value> {
    let mut found = Vec::new();
    let Value::Object(members) = result else {
        return found;
    };
    for (name, member) in members.iter_mut() {
        match (name.as_str(), member) {
            ("contents", Value::Array(contents)) => found.extend(contents.iter_mut()),
            ("content", Value::Array(blocks)) => found.extend(blocks.iter_mut().filter_map(linked)),
            ("messages", Value::Array(messages)) => found.extend(
                messages
                    .iter_mut()
                    .filter_map(|message| message.get_mut("content").and_then(linked)),
            ),
            _ => {}
        }
    }
    found
}

/// The part of a block that has a URI.
fn linked(block: &mut Value) -> Option<&mut Value> {
    match block.get("type").and_then(Value::as_str)? {
        "resource_link" => Some(block),
        "resource" => block.get_mut("resource"),
        _ => None,
    }
}
