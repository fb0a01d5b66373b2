//! An event bus that several instances of a server share, and that a test looks at.

use std::sync::{Arc, Mutex};

use compere::server::listen::{Change, Deliver, EventBus};

/// Clones are the same bus.
#[derive(Clone, Default)]
pub struct Carrier {
    instances: Arc<Mutex<Vec<Deliver>>>,
    carried: Arc<Mutex<Vec<Change>>>,
}

impl Carrier {
    /// Everything that it has carried.
    pub fn carried(&self) -> Vec<Change> {
        self.carried.lock().expect("a lock").clone()
    }
}

impl EventBus for Carrier {
    fn attach(&self, deliver: Deliver) {
        self.instances.lock().expect("a lock").push(deliver);
    }

    fn publish(&self, change: &Change) {
        self.carried.lock().expect("a lock").push(change.clone());
        let instances = self.instances.lock().expect("a lock").clone();
        for deliver in instances {
            deliver(change);
        }
    }
}
