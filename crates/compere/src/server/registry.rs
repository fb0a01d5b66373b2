//! What a server offers, as an immutable snapshot. A change makes a new snapshot; a connection
//! that is in the middle of something keeps the one it has.
//!
//! Each definition is encoded once per revision. A page of a list is the fragments of what the
//! client may see, joined; the first page that everyone sees is kept.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use compere_proto::completion::CompletionReference;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::tools::Tool;
use compere_proto::wire::header::Mirrored;
use compere_proto::wire::project::Project;
use compere_proto::{Limits, Revision};
use serde::Serialize;

use crate::server::completion::Completer;
use crate::server::prompts::ServerPrompt;
use crate::server::resources::{ResourceOrTemplate, ServerResource, ServerTemplate};
use crate::server::session::Session;
use crate::server::tools::{ServerTool, Visible};
use crate::validate::Validation;

const REVISIONS: usize = Revision::ALL.len();

/// Something that is listed.
pub(crate) trait Listed: Send + Sync {
    /// The definition in the neutral model.
    type Definition: Project + Serialize + Clone;
    /// The member of the list result that holds the page.
    const MEMBER: &'static str;
    /// One letter in cursors, so that a cursor of one list is none of another.
    const LETTER: char;

    fn definition(&self) -> &Self::Definition;
    fn key(&self) -> &str;
    fn visible(&self) -> Option<&Visible>;
}

type EncodedPerRevision = [OnceLock<Box<[u8]>>; REVISIONS];

/// An entry with its place in the order of registration, which is what cursors hold on to.
pub(crate) struct Entry<T: Listed> {
    sequence: u64,
    pub(crate) item: T,
    /// Made when the first list is asked for: many servers are never asked.
    encoded: OnceLock<Box<EncodedPerRevision>>,
}

impl<T: Listed> Entry<T> {
    fn encoded(&self, revision: Revision) -> &[u8] {
        let encoded = self.encoded.get_or_init(Box::default);
        encoded[revision.index()].get_or_init(|| {
            let mut definition = self.item.definition().clone();
            definition.project(revision);
            serde_json::to_vec(&definition)
                .unwrap_or_default()
                .into_boxed_slice()
        })
    }
}

/// All entries of one kind.
pub(crate) struct Catalog<T: Listed> {
    entries: Vec<Arc<Entry<T>>>,
    by_key: HashMap<Box<str>, usize>,
    everyone: bool,
    first_page: [OnceLock<Arc<[u8]>>; REVISIONS],
}

impl<T: Listed> Default for Catalog<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<T: Listed> Catalog<T> {
    fn new(entries: Vec<Arc<Entry<T>>>) -> Self {
        let by_key = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (entry.item.key().into(), index))
            .collect();
        let everyone = entries.iter().all(|entry| entry.item.visible().is_none());
        Self {
            entries,
            by_key,
            everyone,
            first_page: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.item)
    }

    /// The entry with this key, if the client may see it.
    pub(crate) fn get(&self, key: &str, session: impl FnOnce() -> Session) -> Option<&T> {
        let entry = self.entries.get(*self.by_key.get(key)?)?;
        match entry.item.visible() {
            Some(rule) if !rule(&session()) => None,
            _ => Some(&entry.item),
        }
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// The entries that the client may see, in order.
    pub(crate) fn visible<'a>(&'a self, session: &Session) -> impl Iterator<Item = &'a T> {
        let session = session.clone();
        self.entries
            .iter()
            .map(|entry| &entry.item)
            .filter(move |item| item.visible().is_none_or(|rule| rule(&session)))
    }

    /// With all of these at once: the start of a server registers everything in one go. A key that
    /// is there twice is given back.
    fn with(&self, sequence: &mut u64, items: impl IntoIterator<Item = T>) -> Result<Self, String> {
        let mut entries = self.entries.clone();
        for item in items {
            entries.push(Arc::new(Entry {
                sequence: *sequence,
                item,
                encoded: OnceLock::new(),
            }));
            *sequence += 1;
        }
        let catalog = Self::new(entries);
        if catalog.by_key.len() == catalog.entries.len() {
            return Ok(catalog);
        }
        let doubled = catalog
            .entries
            .iter()
            .enumerate()
            .find(|(index, entry)| catalog.by_key.get(entry.item.key()) != Some(index))
            .map_or("", |(_, entry)| entry.item.key());
        Err(doubled.to_owned())
    }

    fn without(&self, key: &str) -> Option<Self> {
        let index = *self.by_key.get(key)?;
        let mut entries = self.entries.clone();
        entries.remove(index);
        Some(Self::new(entries))
    }

    /// One page as the JSON text of a list result.
    pub(crate) fn page(
        &self,
        cursor: Option<&str>,
        page_size: usize,
        revision: Revision,
        session: impl Fn() -> Session,
    ) -> Result<Arc<[u8]>, ErrorObject> {
        let after = cursor.map(parse_cursor::<T>).transpose()?;
        if after.is_none() && self.everyone {
            return Ok(self.first_page[revision.index()]
                .get_or_init(|| self.encode_page(0, page_size, revision, &session))
                .clone());
        }
        let start = self
            .entries
            .partition_point(|entry| after.is_some_and(|after| entry.sequence <= after));
        Ok(self.encode_page(start, page_size, revision, &session))
    }

    fn encode_page(
        &self,
        start: usize,
        page_size: usize,
        revision: Revision,
        session: &impl Fn() -> Session,
    ) -> Arc<[u8]> {
        let session = (!self.everyone).then(session);
        let sees = |entry: &Entry<T>| match (entry.item.visible(), &session) {
            (Some(rule), Some(session)) => rule(session),
            _ => true,
        };
        let mut page = format!("{{\"{}\":[", T::MEMBER).into_bytes();
        let mut last = None;
        let mut entries = self.entries.iter().skip(start).filter(|entry| sees(entry));
        for entry in entries.by_ref().take(page_size) {
            if last.is_some() {
                page.push(b',');
            }
            page.extend_from_slice(entry.encoded(revision));
            last = Some(entry.sequence);
        }
        page.push(b']');
        if let (Some(last), Some(_)) = (last, entries.next()) {
            page.extend_from_slice(format!(",\"nextCursor\":\"{}{last:x}\"", T::LETTER).as_bytes());
        }
        page.push(b'}');
        page.into()
    }
}

/// A cursor names the last entry of the page before, so that what is added or removed meanwhile
/// moves nothing.
fn parse_cursor<T: Listed>(cursor: &str) -> Result<u64, ErrorObject> {
    cursor
        .strip_prefix(T::LETTER)
        .filter(|digits| !digits.starts_with('+'))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| ErrorObject::invalid_params("Invalid cursor"))
}

/// A tool with its definition and how its arguments are validated, which are made when the server
/// starts or, if it wants so, when they are first needed.
pub(crate) struct RegisteredTool {
    pub(crate) tool: ServerTool,
    /// Its name once more, for whoever works on a call of it.
    pub(crate) name: Arc<str>,
    limits: Arc<Limits>,
    prepared: OnceLock<Prepared>,
}

/// What is made of a tool when its schemas are made.
pub(crate) struct Prepared {
    pub(crate) definition: Tool,
    pub(crate) validation: Validation,
    /// Parameters that also stand in headers.
    pub(crate) mirrored: Box<[Mirrored]>,
}

impl RegisteredTool {
    fn new(tool: ServerTool, limits: &Arc<Limits>) -> Result<Self, String> {
        tool.check_name(limits)?;
        Ok(Self {
            name: tool.definition.name.as_str().into(),
            tool,
            limits: limits.clone(),
            prepared: OnceLock::new(),
        })
    }

    /// Makes everything now.
    fn prepare(&self) -> Result<(), String> {
        let _ = self.prepared.set(self.tool.prepare(&self.limits)?);
        Ok(())
    }

    fn prepared(&self) -> &Prepared {
        self.prepared.get_or_init(|| {
            self.tool.prepare(&self.limits).unwrap_or_else(|why| {
                // Noticed at start unless the server put it off.
                tracing::error!("{why}; the tool cannot be called");
                Prepared {
                    definition: self.tool.definition.clone(),
                    validation: Validation::Unusable(why),
                    mirrored: Box::default(),
                }
            })
        })
    }

    pub(crate) fn validation(&self) -> &Validation {
        &self.prepared().validation
    }

    /// Parameters that also stand in headers.
    pub(crate) fn mirrored(&self) -> &[Mirrored] {
        &self.prepared().mirrored
    }
}

impl Listed for RegisteredTool {
    type Definition = Tool;
    const MEMBER: &'static str = "tools";
    const LETTER: char = 't';

    fn definition(&self) -> &Self::Definition {
        &self.prepared().definition
    }

    fn key(&self) -> &str {
        &self.tool.definition.name
    }

    fn visible(&self) -> Option<&Visible> {
        self.tool.visible.as_ref()
    }
}

impl Listed for ServerPrompt {
    type Definition = compere_proto::prompts::Prompt;
    const MEMBER: &'static str = "prompts";
    const LETTER: char = 'p';

    fn definition(&self) -> &Self::Definition {
        &self.definition
    }

    fn key(&self) -> &str {
        &self.definition.name
    }

    fn visible(&self) -> Option<&Visible> {
        self.visible.as_ref()
    }
}

impl Listed for ServerResource {
    type Definition = compere_proto::resources::Resource;
    const MEMBER: &'static str = "resources";
    const LETTER: char = 'r';

    fn definition(&self) -> &Self::Definition {
        &self.definition
    }

    fn key(&self) -> &str {
        &self.definition.uri
    }

    fn visible(&self) -> Option<&Visible> {
        self.visible.as_ref()
    }
}

impl Listed for ServerTemplate {
    type Definition = compere_proto::resources::ResourceTemplate;
    const MEMBER: &'static str = "resourceTemplates";
    const LETTER: char = 'm';

    fn definition(&self) -> &Self::Definition {
        &self.definition
    }

    fn key(&self) -> &str {
        &self.definition.uri_template
    }

    fn visible(&self) -> Option<&Visible> {
        self.visible.as_ref()
    }
}

/// What completes one argument.
pub(crate) type CompletionKey = (CompletionReferenceKey, Box<str>);

/// A prompt by name, or a template by its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum CompletionReferenceKey {
    Prompt(Box<str>),
    Resource(Box<str>),
}

impl From<&CompletionReference> for CompletionReferenceKey {
    fn from(reference: &CompletionReference) -> Self {
        match reference {
            CompletionReference::Prompt { name } => Self::Prompt(name.as_str().into()),
            CompletionReference::Resource { uri } => Self::Resource(uri.as_str().into()),
        }
    }
}

/// Everything that a server offers at one time.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) tools: Arc<Catalog<RegisteredTool>>,
    pub(crate) prompts: Arc<Catalog<ServerPrompt>>,
    pub(crate) resources: Arc<Catalog<ServerResource>>,
    pub(crate) templates: Arc<Catalog<ServerTemplate>>,
    pub(crate) completers: Arc<HashMap<CompletionKey, Completer>>,
    next_sequence: u64,
}

impl Registry {
    fn next(&self) -> Self {
        Self {
            tools: self.tools.clone(),
            prompts: self.prompts.clone(),
            resources: self.resources.clone(),
            templates: self.templates.clone(),
            completers: self.completers.clone(),
            next_sequence: self.next_sequence + 1,
        }
    }

    pub(crate) fn with_tools(
        &self,
        tools: Vec<ServerTool>,
        limits: &Limits,
        schemas_later: bool,
    ) -> Result<Self, String> {
        let mut next = self.next();
        let limits = Arc::new(limits.clone());
        let tools = tools
            .into_iter()
            .map(|tool| {
                let tool = RegisteredTool::new(tool, &limits)?;
                if !schemas_later {
                    tool.prepare()?;
                }
                Ok(tool)
            })
            .collect::<Result<Vec<_>, String>>()?;
        let tools = self.tools.with(&mut next.next_sequence, tools);
        next.tools = Arc::new(tools.map_err(|key| twice("tool", &key))?);
        Ok(next)
    }

    pub(crate) fn with_prompts(&self, prompts: Vec<ServerPrompt>) -> Result<Self, String> {
        let mut next = self.next();
        let prompts = self.prompts.with(&mut next.next_sequence, prompts);
        next.prompts = Arc::new(prompts.map_err(|key| twice("prompt", &key))?);
        Ok(next)
    }

    pub(crate) fn with_resources(
        &self,
        registered: Vec<ResourceOrTemplate>,
        limits: &Limits,
    ) -> Result<Self, String> {
        let mut next = self.next();
        let (mut resources, mut templates) = (Vec::new(), Vec::new());
        for one in registered {
            match one {
                ResourceOrTemplate::Resource(resource) => {
                    check_uri(&resource.definition.uri, limits)?;
                    resources.push(resource);
                }
                ResourceOrTemplate::Template(template) => {
                    if let Err(why) = &template.template {
                        return Err(why.clone());
                    }
                    check_uri(&template.definition.uri_template, limits)?;
                    templates.push(template);
                }
            }
        }
        let resources = self.resources.with(&mut next.next_sequence, resources);
        next.resources = Arc::new(resources.map_err(|key| twice("resource", &key))?);
        let templates = self.templates.with(&mut next.next_sequence, templates);
        next.templates = Arc::new(templates.map_err(|key| twice("template", &key))?);
        Ok(next)
    }

    pub(crate) fn with_completers(
        &self,
        registered: Vec<(CompletionKey, Completer)>,
    ) -> Result<Self, String> {
        let mut next = self.next();
        let mut completers = (*self.completers).clone();
        for (key, completer) in registered {
            let shown = format!("{key:?}");
            if completers.insert(key, completer).is_some() {
                return Err(format!("two completions for {shown}"));
            }
        }
        next.completers = Arc::new(completers);
        Ok(next)
    }

    pub(crate) fn without_tool(&self, name: &str) -> Option<Self> {
        let mut next = self.next();
        next.tools = Arc::new(self.tools.without(name)?);
        Some(next)
    }

    pub(crate) fn without_prompt(&self, name: &str) -> Option<Self> {
        let mut next = self.next();
        next.prompts = Arc::new(self.prompts.without(name)?);
        Some(next)
    }

    pub(crate) fn without_resource(&self, uri: &str) -> Option<Self> {
        let mut next = self.next();
        next.resources = Arc::new(self.resources.without(uri)?);
        Some(next)
    }

    /// Can anything be subscribed to?
    pub(crate) fn subscribable(&self) -> bool {
        self.resources.iter().any(|resource| resource.subscribable)
            || self.templates.iter().any(|template| template.subscribable)
    }
}

fn twice(kind: &str, key: &str) -> String {
    format!("the {kind} {key:?} is registered twice")
}

/// A URI has a scheme, is not too long, and holds no white space or control characters.
pub(crate) fn check_uri(uri: &str, limits: &Limits) -> Result<(), String> {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_scheme {
        return Err(format!("{:?} is no URI", shown(uri)));
    }
    if uri.len() > limits.uri_bytes {
        return Err(format!("a URI is longer than {} bytes", limits.uri_bytes));
    }
    if uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("{:?} is no URI", shown(uri)));
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
