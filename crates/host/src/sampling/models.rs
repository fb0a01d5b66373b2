//! The models of the person: what the file says of them, and which one suits a request. Values in, values
//! out.

use serde_json::{Map, Value};

use crate::sampling::budget::millionths;

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// What `OpenAI` speaks, and many others do.
    OpenAi,
    /// What Anthropic speaks.
    Anthropic,
    /// What Google speaks for Gemini.
    Gemini,
    /// What Ollama speaks.
    Ollama,
}

impl Provider {
    /// All of them, and how they are written.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::OpenAi, "openai"),
        (Self::Anthropic, "anthropic"),
        (Self::Gemini, "gemini"),
        (Self::Ollama, "ollama"),
    ];
}

/// A model of the person.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What the person calls it.
    pub name: String,
    /// Who has it.
    pub provider: Provider,
    /// What the provider calls it.
    pub model: String,
    /// Where the provider is, if not where it usually is.
    pub url: Option<String>,
    /// The key, as it is written: it stands for a secret.
    pub key: Option<String>,
    /// What a million tokens cost, asked and answered, in millionths.
    pub price: (u64, u64),
    /// How able it is, from 0 to 1, as the person sees it.
    pub intelligence: f64,
    /// How fast it is, from 0 to 1, as the person sees it.
    pub speed: f64,
}

impl Model {
    /// What so many tokens cost, in millionths.
    pub fn cost(&self, asked: u64, answered: u64) -> u64 {
        let of = |tokens: u64, price: u64| {
            let cost = u128::from(tokens) * u128::from(price) / 1_000_000;
            u64::try_from(cost).unwrap_or(u64::MAX)
        };
        of(asked, self.price.0).saturating_add(of(answered, self.price.1))
    }

    /// Reads one of our file.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        const MEMBERS: [&str; 8] = [
            "name",
            "provider",
            "model",
            "url",
            "key",
            "price",
            "intelligence",
            "speed",
        ];
        let Value::Object(members) = value else {
            return Err("it is no object".to_owned());
        };
        if let Some(name) = members
            .keys()
            .find(|name| !MEMBERS.contains(&name.as_str()))
        {
            return Err(format!("`{name}` is not known"));
        }
        let name = required(members, "name")?;
        let provider = required(members, "provider")?;
        let provider = Provider::ALL.iter().find(|(_, known)| *known == provider);
        let Some((provider, _)) = provider else {
            let known = Provider::ALL.map(|(_, name)| name).join(", ");
            return Err(format!("`provider` is none of {known}"));
        };
        let price = match members.get("price") {
            None | Some(Value::Null) => (0, 0),
            Some(Value::Object(price)) => {
                let of = |name: &str| match price.get(name) {
                    None => Ok(0),
                    Some(value) => match value.as_f64().filter(|price| *price >= 0.0) {
                        Some(price) => Ok(millionths(price)),
                        None => Err(format!("`price.{name}` is no price")),
                    },
                };
                (of("asked")?, of("answered")?)
            }
            Some(_) => return Err("`price` has no `asked` and `answered`".to_owned()),
        };
        Ok(Self {
            model: text(members, "model")?.unwrap_or_else(|| name.clone()),
            name,
            provider: *provider,
            url: text(members, "url")?,
            key: text(members, "key")?,
            price,
            intelligence: share(members, "intelligence")?,
            speed: share(members, "speed")?,
        })
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{name}` is no text")),
    }
}

fn required(members: &Map<String, Value>, name: &str) -> Result<String, String> {
    text(members, name)?.ok_or_else(|| format!("`{name}` is missing"))
}

/// From 0 to 1; in the middle if nothing is said.
fn share(members: &Map<String, Value>, name: &str) -> Result<f64, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(0.5),
        Some(value) => value
            .as_f64()
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| format!("`{name}` is not between 0 and 1")),
    }
}

/// The models in the order in which they suit the preferences of a request, the best first.
///
/// Hints come before priorities: the first hint that any model fits decides which ones come first. A hint
/// fits a model whose name holds it, the person's or the provider's, whatever the case. Among those, and
/// among the rest, what is asked for most weighs most; equals stay in the order of the file.
pub fn suited<'m>(models: &'m [Model], preferences: Option<&Value>) -> Vec<&'m Model> {
    let hints = preferences
        .and_then(|preferences| preferences.get("hints"))
        .and_then(Value::as_array);
    let hints = hints.into_iter().flatten();
    let mut hints = hints.filter_map(|hint| hint.get("name")?.as_str().map(str::to_lowercase));
    let fits = |model: &Model, hint: &str| {
        [&model.name, &model.model]
            .iter()
            .any(|name| name.to_lowercase().contains(hint))
    };
    let hint = hints.find(|hint| !hint.is_empty() && models.iter().any(|model| fits(model, hint)));
    let priority = |name: &str| {
        let priority = preferences.and_then(|preferences| preferences.get(name)?.as_f64());
        priority.unwrap_or_default().clamp(0.0, 1.0)
    };
    let (cost, speed, intelligence) = (
        priority("costPriority"),
        priority("speedPriority"),
        priority("intelligencePriority"),
    );
    let price = |model: &Model| model.cost(500_000, 500_000);
    let dearest = models.iter().map(price).max().unwrap_or_default().max(1);
    let score = |model: &Model| {
        let share = price(model).saturating_mul(1_000) / dearest;
        let cheap = 1.0 - f64::from(u32::try_from(share).unwrap_or(1_000)) / 1_000.0;
        cost * cheap + speed * model.speed + intelligence * model.intelligence
    };
    let mut sorted: Vec<&Model> = models.iter().collect();
    sorted.sort_by(|one, other| {
        let hinted = |model: &Model| hint.as_ref().is_some_and(|hint| fits(model, hint));
        let by_hint = hinted(other).cmp(&hinted(one));
        by_hint.then(score(other).total_cmp(&score(one)))
    });
    sorted
}
