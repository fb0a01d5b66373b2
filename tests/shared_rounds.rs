//! Calls of clients without sessions whose rounds reach one instance of a server after the other: what one has
//! sealed another opens, and what runs only once runs once in all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use compere::model::ElicitParams;
use compere::prelude::*;
use compere::server::seal::StateKey;
use compere::server::used_states::{MemoryUsedStates, Soon, StoreError, UsedStates};
use compere_testkit::used_states::UsedStatesInstances;
use compere_tests::doors::{Door, Said, request};
use serde_json::{Value, json};

// Scripts are for the other stores.
#[allow(dead_code)]
#[path = "shared/redis_server.rs"]
mod redis_server;
#[path = "shared/redis_used_states.rs"]
mod redis_used_states;

use redis_server::Server as Redis;
use redis_used_states::Used;

#[tokio::test]
async fn used_states_in_memory_keep_the_contract() {
    let known = MemoryUsedStates::new();
    let (one, other) = (Arc::new(known.clone()), Arc::new(known));
    UsedStatesInstances { one, other }.keep_the_contract().await;
}

#[tokio::test]
async fn used_states_over_redis_keep_the_contract() {
    let redis = Redis::start().await;
    let (one, other) = (Used::of(&redis).await, Used::of(&redis).await);
    let (one, other) = (Arc::new(one), Arc::new(other));
    UsedStatesInstances { one, other }.keep_the_contract().await;
}

/// How often money was sent.
#[derive(Clone, Default)]
struct Sent(Arc<AtomicU32>);

impl Sent {
    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

fn server(sent: &Sent) -> Server {
    let key = StateKey::new([7; 32]);
    Server::new("bank", "1")
        .state(sent.clone())
        .state_keys([key])
        .tool(
            tool_fn(
                "send",
                |context: Context, State(sent): State<Sent>| async move {
                    let form = json!({"type": "object", "properties": {}});
                    let form = ElicitParams::new("Really?").requested_schema(form);
                    let answer = context.elicit("really", form).await?;
                    sent.0.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, ToolError>(format!("{:?}", answer.action))
                },
            )
            .single_use(),
        )
}

fn instance(sent: &Sent, used: impl UsedStates) -> Door {
    Door::pipe(&server(sent).used_states(used).start().unwrap())
}

fn call(id: u32, more: &Value) -> Value {
    let mut params = json!({"name": "send"});
    let more = more.as_object().unwrap().clone();
    params.as_object_mut().unwrap().extend(more);
    request(id, "tools/call", params, json!({"elicitation": {}}))
}

/// The answer to what was asked.
fn agreed(said: &Said) -> Value {
    let state = &said.answer["result"]["requestState"];
    assert!(state.is_string(), "{said:?}");
    json!({"requestState": state, "inputResponses": {"really": {"action": "accept", "content": {}}}})
}

async fn a_state_is_good_once(sent: &Sent, [mut one, mut other]: [Door; 2]) {
    let asked = one.say(&call(1, &json!({}))).await;
    let again = agreed(&asked);
    // Who comes at the same time with the same is refused, wherever.
    let ((first, second), (third, fourth)) = tokio::join!(
        async {
            let first = one.say(&call(2, &again)).await;
            (first, one.say(&call(3, &again)).await)
        },
        async {
            let third = other.say(&call(4, &again)).await;
            (third, other.say(&call(5, &again)).await)
        }
    );
    let all = [first, second, third, fourth];
    let good: Vec<_> = all.iter().filter(|said| said.text() == "Accept").collect();
    assert_eq!(good.len(), 1, "{all:?}");
    for said in all.iter().filter(|said| said.text() != "Accept") {
        assert_eq!(said.code(), -32602, "{said:?}");
    }
    assert_eq!(sent.count(), 1);
    // Another call is another one, and may go on elsewhere.
    let asked = other.say(&call(6, &json!({}))).await;
    assert_eq!(one.say(&call(7, &agreed(&asked))).await.text(), "Accept");
    assert_eq!(sent.count(), 2);
}

// E-219
#[tokio::test]
async fn a_state_is_good_once_in_all_instances() {
    let (sent, known) = (Sent::default(), MemoryUsedStates::new());
    let both = [instance(&sent, known.clone()), instance(&sent, known)];
    a_state_is_good_once(&sent, both).await;
    let (sent, redis) = (Sent::default(), Redis::start().await);
    let (one, other) = (Used::of(&redis).await, Used::of(&redis).await);
    a_state_is_good_once(&sent, [instance(&sent, one), instance(&sent, other)]).await;
}

/// What cannot be asked answers nothing.
struct Broken;

impl UsedStates for Broken {
    fn use_up(&self, _state: &str, _expires: Duration) -> Soon<Result<bool, StoreError>> {
        Soon::later(async { Err(StoreError::new("the wire of secrets is cut")) })
    }
}

#[tokio::test]
async fn what_nobody_can_know_is_not_done() {
    let sent = Sent::default();
    let mut door = instance(&sent, Broken);
    let asked = door.say(&call(1, &json!({}))).await;
    let refused = door.say(&call(2, &agreed(&asked))).await;
    assert_eq!(refused.code(), -32603);
    assert!(!refused.answer.to_string().contains("wire"), "{refused:?}");
    assert_eq!(sent.count(), 0);
}
