//! The contract of what several instances of a server know of used states. Whoever implements it runs this
//! against two views of the same, as two instances would have them.

use std::sync::Arc;
use std::time::Duration;

use compere::server::used_states::UsedStates;

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(600);

/// Two instances that know the same, which is nothing yet.
pub struct UsedStatesInstances {
    /// One of them.
    pub one: Arc<dyn UsedStates>,
    /// The other.
    pub other: Arc<dyn UsedStates>,
}

async fn use_up(store: &Arc<dyn UsedStates>, state: &str, expires: Duration) -> bool {
    let used = store.use_up(state, expires).await;
    used.unwrap_or_else(|error| panic!("the store failed: {error}"))
}

impl UsedStatesInstances {
    /// Everything at once.
    ///
    /// # Panics
    ///
    /// If the contract is broken; it says where.
    pub async fn keep_the_contract(&self) {
        let Self { one, other } = self;
        for state in ["a", "b", "a ", "A", "a:b", "", &"long".repeat(50)] {
            assert!(use_up(one, state, LONG).await, "{state:?} is new");
            for _ in 0..2 {
                assert!(!use_up(other, state, LONG).await, "{state:?} was used");
                assert!(!use_up(one, state, LONG).await, "{state:?} was used");
            }
        }
        // Of those who come at the same time, one is first.
        for round in 0..20 {
            let coming = (0..8).map(|number| {
                let store = [one, other][number % 2].clone();
                tokio::spawn(async move { use_up(&store, &format!("race {round}"), LONG).await })
            });
            let mut first = 0;
            for coming in coming.collect::<Vec<_>>() {
                first += usize::from(coming.await.expect("one that comes"));
            }
            assert_eq!(first, 1, "race {round}");
        }
        // What nobody takes any more makes no difference to the others.
        assert!(use_up(one, "short", Duration::from_millis(1)).await);
        for number in 0..3_000 {
            assert!(use_up(one, &format!("many {number}"), LONG).await);
        }
        assert!(!use_up(other, "a", LONG).await);
        assert!(!use_up(other, "many 0", LONG).await);
    }
}
