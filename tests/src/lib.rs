//! The behaviour tests of the workspace live beside this folder; the library is empty.
