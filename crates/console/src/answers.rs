//! From a form that was sent to what the person has said.

use compere_host::consent::{Answer, Question, Topic};
use serde_json::Value;

use crate::card::parts;

/// What a form holds, in its order.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) fn read(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    /// The first of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut of = self.0.iter().filter(|(of, _)| of == name);
        of.next().map(|(_, value)| value.as_str())
    }

    /// Every one of this name.
    pub(crate) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        let of = self.0.iter().filter(move |(of, _)| of == name);
        of.map(|(_, value)| value.as_str())
    }

    /// The first of this name that says anything.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Text as it was typed. Browsers send every end of a line as two signs.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|text| text.replace("\r\n", "\n"))
    }
}

/// The answer that a form is. The error says what is wrong with it.
pub(crate) fn answer(question: &Question, fields: &Fields) -> Result<Answer, String> {
    let owned = |name: &str| fields.get(name).unwrap_or_default().to_owned();
    let all = |name: &str| fields.all(name).map(str::to_owned).collect::<Vec<_>>();
    let lasts = || {
        let seconds = fields.filled("lasts").map(str::parse);
        seconds
            .transpose()
            .map_err(|_| "how long it holds is no number of seconds".to_owned())
    };
    match (fields.get("say").unwrap_or_default(), &question.topic) {
        ("once", _) => Ok(Answer::Once),
        ("deny", _) => Ok(Answer::Deny {
            reason: owned("reason"),
        }),
        ("session", _) => Ok(Answer::Session {
            shape: owned("shape"),
        }),
        ("exactly", _) => Ok(Answer::Exactly { lasts: lasts()? }),
        ("shape", _) => Ok(Answer::Shape {
            shape: owned("shape"),
            lasts: lasts()?,
        }),
        ("approve", _) => Ok(Answer::Approve {
            digest: owned("digest"),
            except: all("except"),
            reads: all("reads"),
        }),
        ("edit", Topic::Sampling(_)) => edited(question, fields),
        ("edit", _) => {
            let text = fields.text("arguments").unwrap_or_default();
            let arguments = serde_json::from_str(&text)
                .map_err(|error| format!("the arguments are no JSON: {error}"))?;
            Ok(Answer::Edit { arguments })
        }
        _ => Err("no answer was chosen".to_owned()),
    }
}

/// What is changed of one half of sampling. What was not changed goes on as it is, to the last sign.
fn edited(question: &Question, fields: &Fields) -> Result<Answer, String> {
    let Topic::Sampling(reviewing) = &question.topic else {
        return Err("no answer was chosen".to_owned());
    };
    let mut content = reviewing.content.clone();
    for part in parts(reviewing) {
        let (Some(before), Some(after)) = (&part.text, fields.text(&part.name)) else {
            continue;
        };
        if before.replace("\r\n", "\n") != after
            && let Some(place) = content.pointer_mut(&part.pointer)
        {
            *place = Value::from(after);
        }
    }
    let most = fields.filled("maxTokens").map(str::parse::<u64>);
    let most = most
        .transpose()
        .map_err(|_| "that is no number of tokens")?;
    if let (Some(most), Some(before)) = (most, content.get_mut("maxTokens"))
        && before.as_u64() != Some(most)
    {
        *before = Value::from(most);
    }
    let is_same = content == reviewing.content;
    Ok(match fields.filled("model") {
        Some(model) => Answer::Use {
            model: model.to_owned(),
            arguments: (!is_same).then_some(content),
        },
        None if is_same => Answer::Once,
        None => Answer::Edit { arguments: content },
    })
}
