//! What the tests of this workspace share: the hostile peers. The tests stand beside this folder.

#[path = "../hostile/attacks.rs"]
pub mod attacks;
#[path = "../hostile/impostors.rs"]
pub mod impostors;
