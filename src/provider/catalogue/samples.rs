//! Values for the forms of entries, so that a test can fill them as a person would.

use std::collections::BTreeMap;

use crate::api::provider::{Parameter, ProviderSpec};
use crate::provider::template::ParameterRule;

/// Values that forms ask for: names, hosts, numbers, identifiers, addresses.
const VALUES: [&str; 37] = [
    "acme",
    "example.com",
    "1",
    "12",
    "123",
    "1234",
    "12345",
    "123456",
    "12345678",
    "1234567890",
    "ACME",
    "AB12",
    "us",
    "eu",
    "us1",
    "us21",
    "US",
    "EU",
    "com",
    "na1",
    "v1",
    "1.0",
    "a1b2c3d4",
    "acme.example.com",
    "https://acme.example.com",
    "ann@example.com",
    "acme/web",
    "0f8fad5b-d9cd-469f-a165-70867728950e",
    "0123456789abcdef0123456789abcdef",
    "AC0123456789abcdef0123456789abcdef",
    "production",
    "sandbox",
    "true",
    "https://example.com/path",
    "123-456-7890",
    "acme_1",
    "2024-01-01",
];

/// A value for every question of the form: the default, one that its pattern lists, or one of [`VALUES`].
pub(super) fn values(entry: &str, spec: &ProviderSpec) -> BTreeMap<String, String> {
    spec.parameters.iter().map(|(name, parameter)| (name.clone(), value(entry, name, parameter))).collect()
}

fn value(entry: &str, name: &str, parameter: &Parameter) -> String {
    let rule = match ParameterRule::new(parameter.pattern.as_deref()) {
        Ok(rule) => rule,
        Err(error) => panic!("{entry}: parameters.{name}: {error}"),
    };
    if let Some(default) = &parameter.default {
        let fits = rule.check(default);
        assert!(fits.is_ok(), "{entry}: parameters.{name}: the default {default} does not match its own pattern");
        return default.clone();
    }
    // `(?:com|eu|in)` lists its values.
    let pattern = parameter.pattern.clone().unwrap_or_default();
    let listed = pattern.split(['|', '(', ')', '^', '$']).map(|part| part.trim_start_matches("?:").replace('\\', ""));
    let known = VALUES.iter().map(|value| (*value).to_owned());
    let found = known.chain(listed).find(|value| rule.check(value).is_ok());
    found.unwrap_or_else(|| {
        panic!("{entry}: parameters.{name}: no sample matches {pattern}; is the pattern right? If so, add a sample")
    })
}
