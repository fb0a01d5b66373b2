//! What a server may use of models in a day.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Seconds of a day; days begin at midnight, UTC.
const DAY: u64 = 24 * 60 * 60;
/// What may be used where nothing is said.
const REQUESTS: u64 = 50;
const TOKENS: u64 = 100_000;

/// What a server may use in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests that reach a model.
    pub requests: u64,
    /// Tokens, of what is asked and of what is answered.
    pub tokens: u64,
    /// Money, in millionths of the unit that prices are given in; no bound if there is none.
    pub money: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            requests: REQUESTS,
            tokens: TOKENS,
            money: None,
        }
    }
}

impl Budget {
    /// As it stands in our file: `true`, or how much of what. `None`: it is off.
    pub(crate) fn read(value: Option<&Value>) -> Result<Option<Self>, String> {
        let members = match value {
            None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
            Some(Value::Bool(true)) => return Ok(Some(Self::default())),
            Some(Value::Object(members)) => members,
            Some(_) => return Err("`sampling` is neither true nor a budget".to_owned()),
        };
        let mut budget = Self::default();
        for (name, value) in members {
            let wrong = || format!("`sampling.{name}` is no number of them");
            match name.as_str() {
                "requests" => budget.requests = value.as_u64().ok_or_else(wrong)?,
                "tokens" => budget.tokens = value.as_u64().ok_or_else(wrong)?,
                "money" => {
                    let money = value.as_f64().filter(|money| (0.0..1e9).contains(money));
                    budget.money = Some(millionths(money.ok_or_else(wrong)?));
                }
                _ => return Err(format!("`sampling.{name}` is not known")),
            }
        }
        Ok(Some(budget))
    }
}

/// An amount of money in millionths; what is none, or too much to count, is as much as there can be.
pub(crate) fn millionths(money: f64) -> u64 {
    // The same sum as for the millionths of a second.
    let exact = Duration::try_from_secs_f64(money).map(|exact| exact.as_micros());
    let exact = exact.ok().and_then(|micros| u64::try_from(micros).ok());
    exact.unwrap_or(u64::MAX)
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// The day, counted from 1970.
    pub day: u64,
    /// Requests.
    pub requests: u64,
    /// Tokens.
    pub tokens: u64,
    /// Money, in millionths.
    pub money: u64,
}

/// Which part of a budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// There were so many requests today.
    Requests(u64),
    /// So many tokens are left, and more may be needed.
    Tokens(u64),
    /// The money for today is spent.
    Money,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(count) => write!(f, "it had its {count} requests of today"),
            Self::Tokens(left) => write!(f, "{left} tokens are left of today's, and it wants more"),
            Self::Money => f.write_str("the money for today is spent"),
        }
    }
}

/// What all servers used. Values in, values out: who has it keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budgets {
    spent: BTreeMap<String, Spent>,
}

impl Budgets {
    /// What a server has used on the day of this second.
    pub fn spent(&self, server: &str, seconds: u64) -> Spent {
        let day = seconds / DAY;
        let spent = self.spent.get(server).copied().unwrap_or_default();
        match spent.day == day {
            true => spent,
            false => Spent {
                day,
                ..Spent::default()
            },
        }
    }

    /// Takes a request that may need so many tokens, and so much money, out of a budget: before it is made,
    /// so that several at once stay within it. Nothing is taken if it is not there.
    pub fn take(
        &mut self,
        server: &str,
        budget: &Budget,
        need: Spent,
        seconds: u64,
    ) -> Result<(), Over> {
        let mut spent = self.spent(server, seconds);
        if spent.requests >= budget.requests {
            return Err(Over::Requests(budget.requests));
        }
        let left = budget.tokens.saturating_sub(spent.tokens);
        if need.tokens > left {
            return Err(Over::Tokens(left));
        }
        let money = spent.money.saturating_add(need.money);
        if budget.money.is_some_and(|most| money > most) {
            return Err(Over::Money);
        }
        spent.requests += 1;
        spent.tokens += need.tokens;
        spent.money = money;
        self.spent.insert(server.to_owned(), spent);
        Ok(())
    }

    /// It was done: what was taken for it, and what it needed. More than was taken counts too.
    pub fn settle(&mut self, server: &str, taken: Spent, needed: Spent, seconds: u64) {
        let mut spent = self.spent(server, seconds);
        spent.tokens = spent
            .tokens
            .saturating_add(needed.tokens)
            .saturating_sub(taken.tokens);
        spent.money = spent
            .money
            .saturating_add(needed.money)
            .saturating_sub(taken.money);
        self.spent.insert(server.to_owned(), spent);
    }

    /// It did not reach a model: nothing of it was used.
    pub fn give_back(&mut self, server: &str, taken: Spent, seconds: u64) {
        let mut spent = self.spent(server, seconds);
        spent.requests = spent.requests.saturating_sub(1);
        self.spent.insert(server.to_owned(), spent);
        self.settle(server, taken, Spent::default(), seconds);
    }
}
