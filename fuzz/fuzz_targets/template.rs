//! Any text as a template and any text as a URI: no panic, and a match gives only known variables.
#![no_main]

use compere_proto::uri_template::UriTemplate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, String)| {
    let (template, uri) = input;
    let Ok(template) = UriTemplate::parse(&template) else { return };
    let _ = template.expand(&std::collections::BTreeMap::new());
    if let Some(values) = template.matches(&uri) {
        let known: Vec<&str> = template.variables().collect();
        assert!(values.keys().all(|name| known.contains(&name.as_str())));
    }
});
