//! URI templates (RFC 6570): expansion of all four levels, and matching of the forms that name
//! resources.
//!
//! Matching is linear: there is no backtracking and no regular expression, so a hostile URI costs
//! no more than its length. `{x}` stops at `/`, `?` and `#`, `{+x}` takes anything, `{/x}` one path
//! segment, `{?x,y}` query members in any order. A variable that is followed by text ends at the
//! first place where that text stands, or at the last one when the text ends the template.

use std::collections::BTreeMap;
use std::fmt;

use crate::roots::percent_decode;

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// Pairs.
    Pairs(Vec<(String, String)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriTemplate {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Expression(Operator, Vec<Variable>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    name: String,
    modifier: Modifier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Modifier {
    None,
    Prefix(usize),
    Explode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Simple,
    Reserved,
    Fragment,
    Label,
    Path,
    Parameter,
    Query,
    Continuation,
}

/// Why a text is no template, or none that can be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTemplate {
    /// `{` without `}` or the other way round, at this byte.
    Unbalanced(usize),
    /// An expression without a variable, or with a name that is none.
    BadName(String),
    /// A prefix length that is no number from 1 to 9999.
    BadPrefix(String),
    /// An operator that is reserved for later.
    ReservedOperator(char),
    /// It expands, but cannot be matched: the expression.
    NotMatchable(String),
}

impl fmt::Display for InvalidTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbalanced(at) => write!(f, "unbalanced brace at byte {at}"),
            Self::BadName(name) => write!(f, "{name:?} is no variable name"),
            Self::BadPrefix(text) => write!(f, "{text:?} is no prefix length from 1 to 9999"),
            Self::ReservedOperator(operator) => write!(f, "the operator {operator:?} is reserved"),
            Self::NotMatchable(expression) => write!(
                f,
                "{expression} cannot be matched; {{x}}, {{+x}}, {{/x}} and {{?x}} can"
            ),
        }
    }
}

impl std::error::Error for InvalidTemplate {}

impl UriTemplate {
    /// Parses a template.
    pub fn parse(source: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut rest = source;
        while !rest.is_empty() {
            let at = source.len() - rest.len();
            match rest.find(['{', '}']) {
                None => {
                    parts.push(Part::Literal(rest.to_owned()));
                    break;
                }
                Some(0) if rest.starts_with('}') => return Err(InvalidTemplate::Unbalanced(at)),
                Some(0) => {
                    let end = rest.find('}').ok_or(InvalidTemplate::Unbalanced(at))?;
                    parts.push(parse_expression(&rest[1..end])?);
                    rest = &rest[end + 1..];
                }
                Some(end) => {
                    parts.push(Part::Literal(rest[..end].to_owned()));
                    rest = &rest[end..];
                }
            }
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The names of its variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .flat_map(|part| match part {
                Part::Literal(_) => [].as_slice(),
                Part::Expression(_, variables) => variables.as_slice(),
            })
            .map(|variable| variable.name.as_str())
    }

    /// Expands the template; variables that are not given are left out.
    pub fn expand(&self, values: &BTreeMap<String, Value>) -> String {
        let mut uri = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => encode(&mut uri, text, true),
                Part::Expression(operator, variables) => {
                    expand_expression(&mut uri, *operator, variables, values);
                }
            }
        }
        uri
    }

    /// Checks that [`UriTemplate::matches`] knows all forms in this template.
    pub fn check_matchable(&self) -> Result<(), InvalidTemplate> {
        for (index, part) in self.parts.iter().enumerate() {
            let Part::Expression(operator, variables) = part else {
                continue;
            };
            let last = index + 1 == self.parts.len();
            let plain = variables
                .iter()
                .all(|variable| variable.modifier == Modifier::None);
            let before_expression = matches!(self.parts.get(index + 1), Some(Part::Expression(..)));
            let ok = plain
                && match operator {
                    Operator::Simple | Operator::Reserved => {
                        variables.len() == 1
                            && !matches!(
                                self.parts.get(index + 1),
                                Some(Part::Expression(Operator::Simple | Operator::Reserved, _))
                            )
                            && (*operator == Operator::Simple || !before_expression)
                    }
                    Operator::Path => true,
                    Operator::Query => last,
                    _ => false,
                };
            if !ok {
                return Err(InvalidTemplate::NotMatchable(show(*operator, variables)));
            }
        }
        Ok(())
    }

    /// The values of the variables if the URI follows the template, percent-decoded. `None` also
    /// for values that are not UTF-8 and for templates that cannot be matched.
    pub fn matches(&self, uri: &str) -> Option<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut rest = uri;
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Expression(operator, variables) => {
                    let following = self.parts.get(index + 1..)?;
                    rest = match_expression(*operator, variables, following, rest, &mut found)?;
                }
            }
        }
        rest.is_empty().then_some(found)
    }
}

impl fmt::Display for UriTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

fn parse_expression(body: &str) -> Result<Part, InvalidTemplate> {
    let (operator, list) = match body.chars().next() {
        Some('+') => (Operator::Reserved, &body[1..]),
        Some('#') => (Operator::Fragment, &body[1..]),
        Some('.') => (Operator::Label, &body[1..]),
        Some('/') => (Operator::Path, &body[1..]),
        Some(';') => (Operator::Parameter, &body[1..]),
        Some('?') => (Operator::Query, &body[1..]),
        Some('&') => (Operator::Continuation, &body[1..]),
        Some(reserved @ ('=' | ',' | '!' | '@' | '|')) => {
            return Err(InvalidTemplate::ReservedOperator(reserved));
        }
        _ => (Operator::Simple, body),
    };
    let variables = list
        .split(',')
        .map(parse_variable)
        .collect::<Result<_, _>>()?;
    Ok(Part::Expression(operator, variables))
}

fn parse_variable(text: &str) -> Result<Variable, InvalidTemplate> {
    let (name, modifier) = if let Some(name) = text.strip_suffix('*') {
        (name, Modifier::Explode)
    } else if let Some((name, length)) = text.split_once(':') {
        let length = length
            .parse()
            .ok()
            .filter(|length| (1..10_000).contains(length) && length_is_plain(text))
            .ok_or_else(|| InvalidTemplate::BadPrefix(text.to_owned()))?;
        (name, Modifier::Prefix(length))
    } else {
        (text, Modifier::None)
    };
    if !is_name(name) {
        return Err(InvalidTemplate::BadName(name.to_owned()));
    }
    Ok(Variable {
        name: name.to_owned(),
        modifier,
    })
}

fn length_is_plain(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(_, length)| length.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.ends_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'%'))
}

fn show(operator: Operator, variables: &[Variable]) -> String {
    let names: Vec<String> = variables
        .iter()
        .map(|variable| match variable.modifier {
            Modifier::None => variable.name.clone(),
            Modifier::Prefix(length) => format!("{}:{length}", variable.name),
            Modifier::Explode => format!("{}*", variable.name),
        })
        .collect();
    format!("{{{}{}}}", operator.sign(), names.join(","))
}

impl Operator {
    const fn sign(self) -> &'static str {
        match self {
            Self::Simple => "",
            Self::Reserved => "+",
            Self::Fragment => "#",
            Self::Label => ".",
            Self::Path => "/",
            Self::Parameter => ";",
            Self::Query => "?",
            Self::Continuation => "&",
        }
    }

    /// What stands before the first value.
    const fn first(self) -> &'static str {
        match self {
            Self::Simple | Self::Reserved => "",
            other => other.sign(),
        }
    }

    const fn separator(self) -> &'static str {
        match self {
            Self::Simple | Self::Reserved | Self::Fragment => ",",
            Self::Label => ".",
            Self::Path => "/",
            Self::Parameter => ";",
            Self::Query | Self::Continuation => "&",
        }
    }

    const fn is_named(self) -> bool {
        matches!(self, Self::Parameter | Self::Query | Self::Continuation)
    }

    const fn keeps_reserved(self) -> bool {
        matches!(self, Self::Reserved | Self::Fragment)
    }
}

fn expand_expression(
    uri: &mut String,
    operator: Operator,
    variables: &[Variable],
    values: &BTreeMap<String, Value>,
) {
    let mut started = false;
    for variable in variables {
        let Some(value) = values.get(&variable.name) else {
            continue;
        };
        let defined = match value {
            Value::Text(_) => true,
            Value::List(items) => !items.is_empty(),
            Value::Pairs(pairs) => !pairs.is_empty(),
        };
        if !defined {
            continue;
        }
        uri.push_str(if started {
            operator.separator()
        } else {
            operator.first()
        });
        started = true;
        expand_value(uri, operator, variable, value);
    }
}

fn expand_value(uri: &mut String, operator: Operator, variable: &Variable, value: &Value) {
    let reserved = operator.keeps_reserved();
    let explode = variable.modifier == Modifier::Explode;
    match value {
        Value::Text(text) => {
            let shown: String = match variable.modifier {
                Modifier::Prefix(length) => text.chars().take(length).collect(),
                _ => text.clone(),
            };
            named(uri, operator, &variable.name, shown.is_empty());
            encode(uri, &shown, reserved);
        }
        Value::List(items) => {
            if !explode {
                named(uri, operator, &variable.name, false);
            }
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    uri.push_str(if explode { operator.separator() } else { "," });
                }
                if explode {
                    named(uri, operator, &variable.name, item.is_empty());
                }
                encode(uri, item, reserved);
            }
        }
        Value::Pairs(pairs) => {
            if !explode {
                named(uri, operator, &variable.name, false);
            }
            for (index, (key, item)) in pairs.iter().enumerate() {
                if index > 0 {
                    uri.push_str(if explode { operator.separator() } else { "," });
                }
                encode(uri, key, reserved);
                if explode && item.is_empty() && operator == Operator::Parameter {
                    continue;
                }
                uri.push(if explode { '=' } else { ',' });
                encode(uri, item, reserved);
            }
        }
    }
}

fn named(uri: &mut String, operator: Operator, name: &str, empty: bool) {
    if operator.is_named() {
        uri.push_str(name);
        if !empty || operator != Operator::Parameter {
            uri.push('=');
        }
    }
}

fn encode(uri: &mut String, text: &str, keep_reserved: bool) {
    use fmt::Write;
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let reserved = b":/?#[]@!$&'()*+,;=".contains(byte);
        let encoded = *byte == b'%'
            && bytes
                .get(index + 1..index + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if unreserved || keep_reserved && (reserved || encoded) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
}

fn match_expression<'u>(
    operator: Operator,
    variables: &[Variable],
    following: &[Part],
    rest: &'u str,
    found: &mut BTreeMap<String, String>,
) -> Option<&'u str> {
    let mut keep = |variable: &Variable, value: &str| {
        let value = String::from_utf8(percent_decode(value)).ok()?;
        found.insert(variable.name.clone(), value);
        Some(())
    };
    match operator {
        Operator::Simple | Operator::Reserved => {
            let variable = variables.first()?;
            let end = end_of_value(operator, following, rest)?;
            keep(variable, &rest[..end])?;
            Some(&rest[end..])
        }
        Operator::Path => {
            let mut rest = rest;
            for variable in variables {
                let Some(segment) = rest.strip_prefix('/') else {
                    break;
                };
                let end = end_of_value(Operator::Simple, following, segment)?;
                keep(variable, &segment[..end])?;
                rest = &segment[end..];
            }
            Some(rest)
        }
        Operator::Query => {
            let Some(query) = rest.strip_prefix('?') else {
                return Some(rest);
            };
            for member in query.split('&').filter(|member| !member.is_empty()) {
                let (name, value) = member.split_once('=').unwrap_or((member, ""));
                let variable = variables.iter().find(|variable| variable.name == name)?;
                keep(variable, value)?;
            }
            Some("")
        }
        _ => None,
    }
}

/// Where the value of a simple or reserved expression ends.
fn end_of_value(operator: Operator, following: &[Part], rest: &str) -> Option<usize> {
    let stop = match operator {
        Operator::Simple => rest.find(['/', '?', '#']).unwrap_or(rest.len()),
        _ => rest.len(),
    };
    match following {
        [] => Some(stop),
        [Part::Literal(text)] => {
            let end = rest.len().checked_sub(text.len())?;
            (end <= stop && rest.ends_with(text.as_str())).then_some(end)
        }
        [Part::Literal(text), ..] => {
            let end = rest.find(text.as_str())?;
            (end <= stop).then_some(end)
        }
        [Part::Expression(Operator::Query, _), ..] => {
            Some(rest.find('?').unwrap_or(stop).min(stop))
        }
        [Part::Expression(..), ..] => Some(stop),
    }
}
