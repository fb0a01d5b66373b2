//! From the neutral model down to the shape of a revision, one step per revision.
//!
//! Each type says what it loses on the step to a revision from the one above it. The patterns
//! name every field, so that a new field cannot be forgotten. Nothing is lost in silence: what a
//! revision cannot carry becomes text or stays reachable by its URI. Upwards there is nothing to
//! do: decoding fills in defaults. Members that the model does not name travel as they are.

use serde_json::{Map, Value, json};

use crate::capability::{ClientCapabilities, ServerCapabilities};
use crate::completion::CompleteParams;
use crate::content::{
    Annotations, AudioContent, Content, EmbeddedResource, ImageContent, OneOrMany, TextContent,
};
use crate::elicitation::{ElicitParams, UrlElicitation};
use crate::jsonrpc::{ErrorObject, code};
use crate::lifecycle::{Implementation, InitializeParams, InitializeResult};
use crate::object::RawJson;
use crate::progress::ProgressParams;
use crate::prompts::{GetPromptResult, ListPromptsResult, Prompt, PromptArgument, PromptMessage};
use crate::resources::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use crate::revision::Revision;
use crate::roots::{ListRootsResult, Root};
use crate::sampling::{CreateMessageParams, CreateMessageResult, SamplingMessage};
use crate::tools::{CallToolResult, ListToolsResult, Tool};

/// A value of the neutral model that can take the shape of an older revision.
pub trait Project {
    /// Takes the shape of `to`, coming from the revision right above it.
    fn step_down(&mut self, to: Revision);

    /// Leaves out what the newest revision has no more.
    fn leave_behind(&mut self) {}

    /// Takes the shape of `revision`, coming from the newest one.
    fn project(&mut self, revision: Revision) {
        if revision == Revision::V2026_07_28 {
            self.leave_behind();
        }
        for step in revision.steps_down() {
            self.step_down(step);
        }
    }
}

fn each<T: Project>(values: &mut [T], to: Revision) {
    for value in values {
        value.step_down(to);
    }
}

fn inside<T: Project>(value: &mut Option<Box<T>>, to: Revision) {
    if let Some(value) = value {
        value.step_down(to);
    }
}

use Revision::{V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25};

impl Project for ErrorObject {
    fn step_down(&mut self, to: Revision) {
        if to == V2025_06_18 {
            self.leave_behind();
        }
    }

    fn leave_behind(&mut self) {
        if self.code != code::URL_ELICITATION_REQUIRED {
            return;
        }
        // Nobody there knows the code: the words say where to go.
        let mut message = self.message.to_string();
        for page in UrlElicitation::required(self) {
            message = format!("{message}; {}: {}", page.message, page.url);
        }
        message.push_str("; then call again");
        *self = Self::new(code::INTERNAL_ERROR, message);
    }
}

impl Project for Annotations {
    fn step_down(&mut self, to: Revision) {
        let Self {
            audience: _,
            priority: _,
            last_modified,
            extra: _,
        } = self;
        if to == V2025_03_26 {
            *last_modified = None;
        }
    }
}

impl Project for Content {
    fn step_down(&mut self, to: Revision) {
        match self {
            Self::Text(TextContent {
                text: _,
                annotations,
                meta,
                extra: _,
            }) => {
                inside(annotations, to);
                if to == V2025_03_26 {
                    *meta = None;
                }
            }
            Self::Image(content) => {
                let ImageContent {
                    data: _,
                    mime_type: _,
                    annotations,
                    meta,
                    extra: _,
                } = &mut **content;
                inside(annotations, to);
                if to == V2025_03_26 {
                    *meta = None;
                }
            }
            Self::Audio(content) => {
                let AudioContent {
                    data,
                    mime_type,
                    annotations,
                    meta,
                    extra: _,
                } = &mut **content;
                inside(annotations, to);
                if to == V2025_03_26 {
                    *meta = None;
                }
                if to == V2024_11_05 {
                    let contents = ResourceContents::blob("audio:content", std::mem::take(data))
                        .mime_type(std::mem::take(mime_type));
                    let mut embedded = EmbeddedResource::new(contents);
                    embedded.annotations = annotations.take();
                    *self = Self::Resource(Box::new(embedded));
                }
            }
            Self::Resource(content) => {
                let EmbeddedResource {
                    resource,
                    annotations,
                    meta,
                    extra: _,
                } = &mut **content;
                resource.step_down(to);
                inside(annotations, to);
                if to == V2025_03_26 {
                    *meta = None;
                }
            }
            Self::ResourceLink(resource) => {
                resource.step_down(to);
                if to == V2025_03_26 {
                    *self = Self::text(link_text(resource));
                }
            }
            Self::ToolUse(content) => {
                if to == V2025_06_18 {
                    *self = Self::text(format!(
                        "[tool use {}: {} {}]",
                        content.id,
                        content.name,
                        content.input.get()
                    ));
                }
            }
            Self::ToolResult(content) => {
                each(&mut content.content, to);
                if to == V2025_06_18 {
                    let texts: Vec<&str> =
                        content.content.iter().filter_map(Self::as_text).collect();
                    *self = Self::text(format!(
                        "[tool result {}: {}]",
                        content.tool_use_id,
                        texts.join("\n")
                    ));
                }
            }
            Self::Other(_) => {}
        }
    }
}

fn link_text(resource: &Resource) -> String {
    let mut text = format!("Resource {}: {}", resource.name, resource.uri);
    if let Some(description) = &resource.description {
        text.push('\n');
        text.push_str(description);
    }
    text
}

impl Project for ResourceContents {
    fn step_down(&mut self, to: Revision) {
        let Self {
            uri: _,
            mime_type: _,
            data: _,
            meta,
            extra: _,
        } = self;
        if to == V2025_03_26 {
            *meta = None;
        }
    }
}

impl Project for Resource {
    fn step_down(&mut self, to: Revision) {
        let Self {
            uri: _,
            name: _,
            title,
            description: _,
            mime_type: _,
            annotations,
            size: _,
            icons,
            meta,
            extra: _,
        } = self;
        inside(annotations, to);
        match to {
            V2025_06_18 => *icons = None,
            V2025_03_26 => (*title, *meta) = (None, None),
            _ => {}
        }
    }
}

impl Project for ResourceTemplate {
    fn step_down(&mut self, to: Revision) {
        let Self {
            uri_template: _,
            name: _,
            title,
            description: _,
            mime_type: _,
            annotations,
            icons,
            meta,
            extra: _,
        } = self;
        inside(annotations, to);
        match to {
            V2025_06_18 => *icons = None,
            V2025_03_26 => (*title, *meta) = (None, None),
            _ => {}
        }
    }
}

impl Project for Tool {
    fn leave_behind(&mut self) {
        self.execution = None;
    }

    fn step_down(&mut self, to: Revision) {
        let Self {
            name: _,
            input_schema: _,
            title,
            description: _,
            output_schema,
            annotations,
            icons,
            execution,
            meta,
            extra: _,
        } = self;
        match to {
            V2025_11_25 => {
                if let Some(schema) = output_schema
                    && let Some(wrapped) = wrap_schema(schema)
                {
                    *schema = wrapped;
                }
            }
            V2025_06_18 => (*icons, *execution) = (None, None),
            V2025_03_26 => (*title, *output_schema, *meta) = (None, None, None),
            V2024_11_05 => *annotations = None,
            Revision::V2026_07_28 => {}
        }
    }
}

/// An output schema whose root is no object becomes one with the member `result`. Definitions
/// stay at the root, so that references into them hold.
fn wrap_schema(schema: &RawJson) -> Option<RawJson> {
    let mut root: Map<String, Value> = schema.decode().ok()?;
    if root.get("type").is_some_and(|kind| kind == "object") {
        return None;
    }
    let mut wrapped = Map::new();
    for key in ["$schema", "$defs", "definitions"] {
        if let Some(value) = root.remove(key) {
            wrapped.insert(key.to_owned(), value);
        }
    }
    wrapped.insert("type".to_owned(), json!("object"));
    wrapped.insert("properties".to_owned(), json!({ "result": root }));
    wrapped.insert("required".to_owned(), json!(["result"]));
    Some(wrapped.into())
}

impl Project for CallToolResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            content,
            structured_content,
            is_error: _,
            meta: _,
            extra: _,
        } = self;
        each(content, to);
        match to {
            V2025_11_25 => {
                if let Some(value) = structured_content
                    && !value.is_object()
                    && let Ok(wrapped) =
                        RawJson::from_text(format!("{{\"result\":{}}}", value.get()))
                {
                    *value = wrapped;
                }
            }
            V2025_03_26 => {
                if let Some(value) = structured_content.take()
                    && content.is_empty()
                {
                    content.push(Content::text(value.get()));
                }
            }
            _ => {}
        }
    }
}

impl Project for Prompt {
    fn step_down(&mut self, to: Revision) {
        let Self {
            name: _,
            title,
            description: _,
            arguments,
            icons,
            meta,
            extra: _,
        } = self;
        if let Some(arguments) = arguments {
            each(arguments, to);
        }
        match to {
            V2025_06_18 => *icons = None,
            V2025_03_26 => (*title, *meta) = (None, None),
            _ => {}
        }
    }
}

impl Project for PromptArgument {
    fn step_down(&mut self, to: Revision) {
        let Self {
            name: _,
            title,
            description: _,
            required: _,
            extra: _,
        } = self;
        if to == V2025_03_26 {
            *title = None;
        }
    }
}

impl Project for PromptMessage {
    fn step_down(&mut self, to: Revision) {
        let Self {
            role: _,
            content,
            extra: _,
        } = self;
        content.step_down(to);
    }
}

impl Project for GetPromptResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            messages,
            description: _,
            meta: _,
            extra: _,
        } = self;
        each(messages, to);
    }
}

impl Project for ReadResourceResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            contents,
            meta: _,
            extra: _,
        } = self;
        each(contents, to);
    }
}

impl Project for ListToolsResult {
    fn leave_behind(&mut self) {
        self.tools.iter_mut().for_each(Project::leave_behind);
    }

    fn step_down(&mut self, to: Revision) {
        let Self {
            tools,
            next_cursor: _,
            meta: _,
            extra: _,
        } = self;
        each(tools, to);
    }
}

impl Project for ListPromptsResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            prompts,
            next_cursor: _,
            meta: _,
            extra: _,
        } = self;
        each(prompts, to);
    }
}

impl Project for ListResourcesResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            resources,
            next_cursor: _,
            meta: _,
            extra: _,
        } = self;
        each(resources, to);
    }
}

impl Project for ListResourceTemplatesResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            resource_templates,
            next_cursor: _,
            meta: _,
            extra: _,
        } = self;
        each(resource_templates, to);
    }
}

impl Project for SamplingMessage {
    fn step_down(&mut self, to: Revision) {
        let Self {
            role: _,
            content,
            meta,
            extra: _,
        } = self;
        sampling_content(content, to);
        if to == V2025_06_18 {
            *meta = None;
        }
    }
}

/// Sampling never holds resources, so sound becomes a note where it is unknown.
fn sampling_content(content: &mut OneOrMany, to: Revision) {
    for block in &mut content.0 {
        if to == V2024_11_05
            && let Content::Audio(audio) = block
        {
            *block = Content::text(format!("[audio, {}, left out]", audio.mime_type));
        } else {
            block.step_down(to);
        }
    }
}

impl Project for CreateMessageParams {
    fn step_down(&mut self, to: Revision) {
        let Self {
            messages,
            max_tokens: _,
            model_preferences: _,
            system_prompt: _,
            include_context: _,
            temperature: _,
            stop_sequences: _,
            metadata: _,
            tools,
            tool_choice,
            meta: _,
            extra: _,
        } = self;
        each(messages, to);
        if to == V2025_06_18 {
            (*tools, *tool_choice) = (None, None);
            // One block per message from here down: several blocks become several messages.
            *messages = std::mem::take(messages)
                .into_iter()
                .flat_map(|message| {
                    let SamplingMessage { role, content, .. } = message;
                    content
                        .0
                        .into_iter()
                        .map(move |block| SamplingMessage::new(role.clone(), block))
                })
                .collect();
        }
    }
}

impl Project for CreateMessageResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            role: _,
            content,
            model: _,
            stop_reason: _,
            meta: _,
            extra: _,
        } = self;
        sampling_content(content, to);
        if to == V2025_06_18 && content.0.len() != 1 {
            let text = content.text();
            *content = OneOrMany::from(text);
        }
    }
}

impl Project for Root {
    fn step_down(&mut self, to: Revision) {
        let Self {
            uri: _,
            name: _,
            meta,
            extra: _,
        } = self;
        if to == V2025_03_26 {
            *meta = None;
        }
    }
}

impl Project for ListRootsResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            roots,
            meta: _,
            extra: _,
        } = self;
        each(roots, to);
    }
}

impl Project for ElicitParams {
    fn step_down(&mut self, to: Revision) {
        let Self {
            message: _,
            mode,
            requested_schema,
            url: _,
            elicitation_id: _,
            meta: _,
            extra: _,
        } = self;
        if to == V2025_06_18 {
            if mode.as_deref() == Some("form") {
                *mode = None;
            }
            if let Some(form) = requested_schema {
                without_defaults(form);
            }
        }
    }

    fn leave_behind(&mut self) {
        // Nothing is told of a page afterwards any more.
        self.elicitation_id = None;
    }
}

/// Before 2025-11-25 only a truth in a form has a default.
fn without_defaults(form: &mut RawJson) {
    let Ok(mut schema) = form.decode::<Value>() else {
        return;
    };
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    for field in fields.into_iter().flat_map(Map::values_mut) {
        if field["type"] != "boolean"
            && let Some(members) = field.as_object_mut()
        {
            members.remove("default");
        }
    }
    *form = schema.into();
}

impl Project for ProgressParams {
    fn step_down(&mut self, to: Revision) {
        let Self {
            progress_token: _,
            progress: _,
            total: _,
            message,
            meta: _,
            extra: _,
        } = self;
        if to == V2024_11_05 {
            *message = None;
        }
    }
}

impl Project for CompleteParams {
    fn step_down(&mut self, to: Revision) {
        let Self {
            reference: _,
            argument: _,
            context,
            meta: _,
            extra: _,
        } = self;
        if to == V2025_03_26 {
            *context = None;
        }
    }
}

impl Project for Implementation {
    fn step_down(&mut self, to: Revision) {
        let Self {
            name: _,
            version: _,
            title,
            description,
            icons,
            website_url,
            extra: _,
        } = self;
        match to {
            V2025_06_18 => (*description, *icons, *website_url) = (None, None, None),
            V2025_03_26 => *title = None,
            _ => {}
        }
    }
}

impl Project for ClientCapabilities {
    fn step_down(&mut self, to: Revision) {
        let forms = self.elicits_forms();
        let Self {
            experimental: _,
            roots: _,
            sampling,
            elicitation,
            tasks,
            extensions,
            extra: _,
        } = self;
        let bare = |capability: &mut Option<RawJson>| {
            if capability.is_some() {
                *capability = Some(Map::new().into());
            }
        };
        match to {
            V2025_11_25 => *extensions = None,
            V2025_06_18 => {
                bare(sampling);
                // There are forms only, and who has none cannot be asked.
                if forms {
                    bare(elicitation);
                } else {
                    *elicitation = None;
                }
                *tasks = None;
            }
            V2025_03_26 => *elicitation = None,
            _ => {}
        }
    }
}

impl Project for ServerCapabilities {
    fn step_down(&mut self, to: Revision) {
        let Self {
            experimental: _,
            logging: _,
            completions,
            prompts: _,
            resources: _,
            tools: _,
            tasks,
            extensions,
            extra: _,
        } = self;
        match to {
            V2025_11_25 => *extensions = None,
            V2025_06_18 => *tasks = None,
            V2024_11_05 => *completions = None,
            _ => {}
        }
    }
}

impl Project for InitializeParams {
    fn step_down(&mut self, to: Revision) {
        let Self {
            protocol_version: _,
            capabilities,
            client_info,
            meta: _,
            extra: _,
        } = self;
        capabilities.step_down(to);
        client_info.step_down(to);
    }
}

impl Project for InitializeResult {
    fn step_down(&mut self, to: Revision) {
        let Self {
            protocol_version: _,
            capabilities,
            server_info,
            instructions: _,
            meta: _,
            extra: _,
        } = self;
        capabilities.step_down(to);
        server_info.step_down(to);
    }
}
