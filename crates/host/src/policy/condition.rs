//! Conditions on arguments, in CEL. They see `arguments`, `app`, `server`, `name` and `claims`, and
//! nothing of the machine.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr};
use cel::{Context, IdedExpr, Program, Value as Cel};
use serde_json::Value;

use crate::policy::{Claims, Question};

/// The longest condition.
const CHARACTERS: usize = 1_024;
/// What reading a condition of that length may need.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Deepest nesting in a condition: judging it takes stack for each level.
const DEPTH: usize = 32;
/// Arguments with more values than this are not judged.
const VALUES: usize = 10_000;

/// What a condition may speak of.
const KNOWN: [&str; 5] = ["arguments", "app", "server", "name", "claims"];

/// A condition that was read.
pub struct Condition {
    text: String,
    program: Program,
}

impl Condition {
    /// Reads a condition. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.chars().count() > CHARACTERS {
            return Err(format!("a condition has at most {CHARACTERS} characters"));
        }
        let mut depth = 0_usize;
        for letter in text.chars() {
            match letter {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH {
                return Err(format!(
                    "a condition has at most {DEPTH} brackets in each other"
                ));
            }
        }
        // The parser takes stack for whatever is nested, brackets or not; here there is enough.
        let given = text.to_owned();
        let reading = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let program = Program::compile(&given).map_err(|error| error.to_string())?;
                let mut seen = Seen::default();
                seen.look(program.expression(), 0);
                if seen.depth > DEPTH {
                    return Err(format!("a condition is at most {DEPTH} deep"));
                }
                Ok((program, seen.free))
            });
        let read = reading.map_err(|error| error.to_string())?.join();
        let (program, free) = match read {
            Ok(read) => read.map_err(|why| why.trim().to_owned())?,
            Err(_) => return Err("it cannot be read".to_owned()),
        };
        let unknown: Vec<&str> = free
            .iter()
            .map(String::as_str)
            .filter(|name| !KNOWN.contains(name))
            .collect();
        if !unknown.is_empty() {
            return Err(format!(
                "it speaks of {}; there are {}",
                unknown.join(", "),
                KNOWN.join(", ")
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            program,
        })
    }

    /// Does it hold? `None` if that cannot be said: something that it speaks of is not there, or it is
    /// no yes or no.
    pub(crate) fn holds(&self, question: &Question<'_>) -> Option<bool> {
        let mut values = 0;
        let arguments = cel(question.arguments, &mut values)?;
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::default();
            context.add_variable_from_value("arguments", arguments);
            context.add_variable_from_value("app", question.app);
            context.add_variable_from_value("server", question.server);
            context.add_variable_from_value("name", question.name);
            context.add_variable_from_value("claims", claims(question.claims));
            self.program.execute(&context)
        }));
        match judged {
            Ok(Ok(Cel::Bool(holds))) => Some(holds),
            _ => None,
        }
    }
}

/// What there is in a condition.
#[derive(Default)]
struct Seen {
    depth: usize,
    /// Names that it gives to the items of lists, where they hold.
    bound: Vec<String>,
    /// Names that it takes from outside.
    free: BTreeSet<String>,
}

impl Seen {
    fn look(&mut self, expression: &IdedExpr, depth: usize) {
        self.depth = self.depth.max(depth);
        let depth = depth + 1;
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !self.bound.contains(name) {
                    self.free.insert(name.clone());
                }
            }
            Expr::Call(call) => {
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.look(part, depth);
                }
            }
            Expr::List(list) => {
                for part in &list.elements {
                    self.look(part, depth);
                }
            }
            Expr::Select(select) => self.look(&select.operand, depth),
            Expr::Map(map) => self.entries(&map.entries, depth),
            Expr::Struct(made) => self.entries(&made.entries, depth),
            Expr::Comprehension(over) => {
                self.look(&over.iter_range, depth);
                self.look(&over.accu_init, depth);
                let before = self.bound.len();
                let names = [
                    Some(&over.iter_var),
                    over.iter_var2.as_ref(),
                    Some(&over.accu_var),
                ];
                self.bound.extend(names.into_iter().flatten().cloned());
                for part in [&over.loop_cond, &over.loop_step, &over.result] {
                    self.look(part, depth);
                }
                self.bound.truncate(before);
            }
        }
    }

    fn entries(&mut self, entries: &[IdedEntryExpr], depth: usize) {
        for entry in entries {
            match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.look(&entry.key, depth);
                    self.look(&entry.value, depth);
                }
                EntryExpr::StructField(field) => self.look(&field.value, depth),
            }
        }
    }
}

/// Only what the server said; what it did not say cannot be asked for.
fn claims(claims: Claims) -> HashMap<&'static str, Cel> {
    let said = [
        ("readOnly", claims.read_only),
        ("destructive", claims.destructive),
        ("idempotent", claims.idempotent),
        ("openWorld", claims.open_world),
    ];
    said.into_iter()
        .filter_map(|(name, said)| Some((name, Cel::Bool(said?))))
        .collect()
}

/// Whole numbers are whole, so that they compare with those of a condition.
fn cel(value: &Value, values: &mut usize) -> Option<Cel> {
    *values += 1;
    if *values > VALUES {
        return None;
    }
    Some(match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::String(text) => Cel::from(text.as_str()),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Cel::Int(number),
            (None, Some(number), _) => Cel::UInt(number),
            (None, None, Some(number)) => Cel::Float(number),
            _ => return None,
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| cel(item, values));
            Cel::from(items.collect::<Option<Vec<Cel>>>()?)
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let value = cel(value, values)?;
                Some((name.clone(), value))
            });
            Cel::from(members.collect::<Option<HashMap<String, Cel>>>()?)
        }
    })
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}
