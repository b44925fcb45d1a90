//! Any text: reading, compiling, validating and printing never panic, and printing then parsing is identity.
#![no_main]

use daypass::policy::{
    Document, DocumentKind, Policy,
    validate::{Surroundings, validate},
};
use libfuzzer_sys::fuzz_target;

const KINDS: [DocumentKind; 5] = [
    DocumentKind::Identity,
    DocumentKind::Resource,
    DocumentKind::Trust,
    DocumentKind::ServiceControl,
    DocumentKind::ResourceControl,
];

fuzz_target!(|text: &str| {
    for kind in KINDS {
        let (read, findings) = Document::read(text, kind);
        for finding in &findings {
            assert!(text.get(finding.span.start..finding.span.end).is_some(), "{finding:?} is not in the text");
        }
        let parsed = Document::parse(text, kind);
        assert_eq!(parsed.is_ok(), read.is_some() && findings.is_empty());
        if let Ok(document) = parsed {
            let again = Document::parse(&document.to_string(), kind).expect("what is printed parses");
            assert_eq!(document, again);
            assert_eq!(Policy::compile(&document, kind).is_ok(), Policy::compile(&again, kind).is_ok());
        }
        let _ = validate(text, &Surroundings::none(kind));
    }
});
