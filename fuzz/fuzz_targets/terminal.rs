//! Any text of a server, shown on a terminal: a terminal emulator sees printable characters, line
//! breaks and tabs, and nothing that acts.
#![no_main]

use compere::text::{escape, escape_line};
use libfuzzer_sys::fuzz_target;

struct Screen {
    lines: bool,
}

impl vte::Perform for Screen {
    fn print(&mut self, letter: char) {
        assert!(!letter.is_control(), "{letter:?} is printed");
        assert!(
            !matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}'),
            "{letter:?} turns the text round or hides"
        );
    }

    fn execute(&mut self, byte: u8) {
        assert!(self.lines && matches!(byte, b'\n' | b'\t'), "{byte} is executed");
    }

    fn csi_dispatch(&mut self, _: &vte::Params, _: &[u8], _: bool, action: char) {
        panic!("an escape sequence {action}");
    }

    fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
        panic!("an escape {byte}");
    }

    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        panic!("an operating system command");
    }

    fn hook(&mut self, _: &vte::Params, _: &[u8], _: bool, _: char) {
        panic!("a device control string");
    }
}

fuzz_target!(|text: &str| {
    vte::Parser::new().advance(&mut Screen { lines: true }, escape(text).as_bytes());
    vte::Parser::new().advance(&mut Screen { lines: false }, escape_line(text).as_bytes());
});
