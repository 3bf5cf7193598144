//! Takes secrets out of text and objects, before they leave.
//!
//! Nothing that is collected should hold any: Secrets' data is never read into a report, and logs have none. This is for
//! what people put where it does not belong. Where names are known (flags, annotations), what is not known is left out;
//! elsewhere, what looks like a token is. Rather too much than too little.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use clap::CommandFactory as _;
use integration_operator::api::GROUP;
use regex::{Captures, Regex};
use serde_json::{Map, Value};

/// What stands in its place.
pub(crate) const LEFT_OUT: &str = "[left out]";

/// An opaque word is a token from this length on.
const OPAQUE: usize = 20;
/// The same in one case, as hexadecimal digits are; names of objects are shorter.
const OPAQUE_IN_ONE_CASE: usize = 24;
/// Annotations that are not of this project, and hold nothing of anybody's.
const ANNOTATIONS: [&str; 1] = ["deployment.kubernetes.io/revision"];

/// Patterns and what replaces them, in this order.
static PATTERNS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let patterns = [
        (r"(?s)-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\z)", LEFT_OUT),
        (r#"(?i)\b(authorization"?\s*[:=]\s*"?)[^\r\n"]+"#, "$1[left out]"),
        (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", "$1 [left out]"),
        (r"\beyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*", LEFT_OUT),
        (
            r"\b(?:xox[a-z](?:\.xox[a-z])?-|xapp-|gh[a-z]_|github_pat_|glpat-|[srp]k_(?:live|test)_|whsec_|ya29\.|AKIA|SG\.|lin_api_|shp[a-z]{2}_)[A-Za-z0-9._-]{6,}",
            LEFT_OUT,
        ),
        (r"://[^/\s@]+@", "://[left out]@"),
        (r#"([?&#][A-Za-z0-9_.\[\]-]+)=[^&\s"'#]+"#, "$1=[left out]"),
        (
            r#"(?i)((?:access|refresh|id|bot|user)_?token|client_?secret(?:_next)?|api_?key|private_?key|signing_?secret|password|passwd|ticket|confirmation|code_verifier)((?:\\?")?\s*[:=]\s*(?:\\?")?)[^\s"',;&}\\]+"#,
            "$1$2[left out]",
        ),
    ];
    // A pattern that does not compile would be seen by the first test.
    patterns.into_iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, with))).collect()
});
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[A-Za-z0-9_+/=~-]{20,}").ok());
static UUID: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$").ok());
static SECRETIVE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)token|secret|passw|api[-_]?key|private|credential|signature|assertion|cookie|auth|bearer|headers|pin$|key$").ok()
});

/// Text without what looks like a secret.
pub(crate) fn text(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, with) in PATTERNS.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    let Some(word) = WORD.as_ref() else { return LEFT_OUT.to_owned() };
    let whole = text.clone();
    let replaced = word.replace_all(&whole, |found: &Captures<'_>| {
        let (word, start) = found.get(0).map_or(("", 0), |word| (word.as_str(), word.start()));
        let digest = whole.get(..start).is_some_and(|before| before.ends_with("sha256:"));
        if !digest && is_opaque(word) { LEFT_OUT.to_owned() } else { word.to_owned() }
    });
    replaced.into_owned()
}

/// Whether a word is more likely a token than a name.
fn is_opaque(word: &str) -> bool {
    let word = word.trim_matches(['=', '/', '-', '_', '~', '+']);
    if UUID.as_ref().is_none_or(|uuid| uuid.is_match(word)) {
        return false;
    }
    // Names that the operator makes of hashes: they say nothing, and tell which Secret belongs to what.
    let hashed = ["grant-", "authorization-"].into_iter().find_map(|prefix| word.strip_prefix(prefix));
    if hashed.is_some_and(|hash| hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return false;
    }
    let count = |kind: fn(&u8) -> bool, text: &str| text.as_bytes().iter().filter(|byte| kind(byte)).count();
    let (digits, upper, lower) =
        (count(u8::is_ascii_digit, word), count(u8::is_ascii_uppercase, word), count(u8::is_ascii_lowercase, word));
    if word.len() >= OPAQUE && digits >= 2 && upper >= 2 && lower >= 2 {
        return true;
    }
    word.split(['-', '_', '/', '+', '=', '~']).any(|part| {
        let (digits, letters) = (count(u8::is_ascii_digit, part), count(u8::is_ascii_alphabetic, part));
        part.len() >= OPAQUE_IN_ONE_CASE && digits >= 3 && letters >= 3
    })
}

/// Whether something of this name is a secret by its name.
pub(crate) fn is_secretive(name: &str) -> bool {
    SECRETIVE.as_ref().is_none_or(|secretive| secretive.is_match(name))
}

/// An object without what does not belong outside.
pub(crate) fn object(value: &Value) -> Value {
    walk(value, "")
}

/// `path`: names of the fields above, with a slash before each.
fn walk(value: &Value, path: &str) -> Value {
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => Value::Array(items.iter().map(|item| walk(item, path)).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().filter_map(|(name, value)| field(name, value, path)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn field(name: &str, value: &Value, path: &str) -> Option<(String, Value)> {
    let below = format!("{path}/{name}");
    let value = match (name, value) {
        ("managedFields", _) => return None,
        ("annotations", Value::Object(annotations)) => mapped(annotations, |name, value| {
            let known =
                ANNOTATIONS.contains(&name) || name.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'));
            if known { walk(value, &below) } else { LEFT_OUT.into() }
        }),
        ("env", Value::Array(variables)) => Value::Array(variables.iter().map(variable).collect()),
        ("args" | "command", Value::Array(words)) => Value::Array(arguments(words)),
        ("httpHeaders", _) => LEFT_OUT.into(),
        // What the app said of the account: people's names and addresses, and no help to anybody else.
        ("metadata", Value::Object(account)) if path.ends_with("/status") => mapped(account, |_, _| LEFT_OUT.into()),
        (name, Value::Object(values)) if is_free(name) => mapped(values, |name, value| match value {
            Value::String(_) if is_secretive(name) => LEFT_OUT.into(),
            value => walk(value, &format!("{below}/{name}")),
        }),
        ("default", Value::String(_)) if path.contains("/parameters/") && is_secretive(path) => LEFT_OUT.into(),
        (_, value) => walk(value, &below),
    };
    Some((name.to_owned(), value))
}

/// Maps whose names and values a person chooses.
fn is_free(name: &str) -> bool {
    ["parameters", "headers"].contains(&name) || name.ends_with("Params") || name.ends_with("Headers")
}

fn mapped(fields: &Map<String, Value>, with: impl Fn(&str, &Value) -> Value) -> Value {
    Value::Object(fields.iter().map(|(name, value)| (name.clone(), with(name, value))).collect())
}

/// The operator's flags and their variables: of these the values are known to be no secrets.
static KNOWN: LazyLock<(BTreeSet<String>, BTreeSet<String>)> = LazyLock::new(|| {
    let mut command = integration_operator::config::Cli::command();
    command.build();
    let (mut flags, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for argument in command.get_subcommands().flat_map(clap::Command::get_arguments) {
        let Some(long) = argument.get_long() else { continue };
        // A file, or an address, that is named is no secret; what is named so otherwise may be one some day.
        let harmless = ["-file", "-url", "-check"].iter().any(|end| long.ends_with(end));
        if argument.is_hide_env_values_set() || (is_secretive(long) && !harmless) {
            continue;
        }
        flags.insert(format!("--{long}"));
        variables.extend(argument.get_env().map(|name| name.to_string_lossy().into_owned()));
    }
    (flags, variables)
});

/// A variable of a container: its value only where it is a setting of the operator.
fn variable(value: &Value) -> Value {
    let mut value = value.clone();
    let known = value["name"].as_str().is_some_and(|name| KNOWN.1.contains(name));
    if let Some(set) = value.get_mut("value") {
        *set = if known { walk(set, "") } else { LEFT_OUT.into() };
    }
    value
}

/// Words of a command line: the operator's own flags with their values, of others the names alone.
fn arguments(words: &[Value]) -> Vec<Value> {
    let mut open = false;
    let mut kept = Vec::with_capacity(words.len());
    for word in words {
        let word = word.as_str().unwrap_or_default();
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if word.starts_with("--") => (flag, Some(value)),
            _ => (word, None),
        };
        let known = KNOWN.0.contains(flag);
        kept.push(Value::String(match value {
            Some(value) if known => format!("{flag}={}", text(value)),
            Some(_) => format!("{flag}={LEFT_OUT}"),
            None if word.starts_with("--") => text(word),
            None if open || word == "run" || word.ends_with("integration-operator") => text(word),
            None => LEFT_OUT.to_owned(),
        }));
        open = known && value.is_none();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!(PATTERNS.len(), 8);
        assert!(WORD.is_some() && UUID.is_some() && SECRETIVE.is_some());
    }

    #[test]
    fn what_looks_like_a_secret_goes() {
        for (secret, around) in [
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "token {} was refused"),
            ("AbCdEf123456", "Authorization: Bearer {}"),
            ("xoxb-12345-abcdef", "{}"),
            ("ghp_abcdefghij0123456789", "\"{}\""),
            ("hunter2", "https://jane:{}@proxy.example.com/"),
            ("hunter2", "GET /callback?code={}&state=x HTTP/1.1"),
            ("hunter2", "refresh_token={}"),
            ("hunter2", r#"{"client_secret": "{}", "a": 1}"#),
            ("hunter2", r#"{\"access_token\":\"{}\"}"#),
            ("Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA==", "key {} here"),
            ("0123456789abcdef0123456789abcdef", "digest {}"),
            ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----", "a {} b"),
        ] {
            let redacted = text(&around.replacen("{}", secret, 1).replace("{}", secret));
            let inner = secret.strip_prefix("-----BEGIN PRIVATE KEY-----\n").unwrap_or(secret);
            assert!(!redacted.contains(inner) && redacted.contains(LEFT_OUT), "{around}: {redacted}");
        }
    }

    #[test]
    fn what_a_support_case_needs_stays() {
        for kept in [
            "2026-05-01T12:00:00.123456Z  INFO reconcile: integration_operator::controller: a refresh succeeded",
            "namespace acme, integration web.slack: RevocationSkippedShared",
            "grant-0123456789abcdef0123456789abcdef01234567",
            "6d5b7e3a-9b0f-4c53-8f0e-2b9a3f7d1c11",
            "integration-operator-7d9f8b6c5d-x2x4z",
            "registry.example.com/integration-operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "code=\"rate_limited\" milliseconds=12 route=/api/public/integrations/{type}/callback",
            "https://slack.com/api/oauth.v2.access",
        ] {
            assert_eq!(text(kept), kept);
        }
    }

    #[test]
    fn annotations_and_accounts_are_left_out_unless_they_are_ours() {
        let redacted = object(&json!({
            "metadata": {
                "managedFields": [{}],
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "canary",
                    "integrations.tms.dev.evil/x": "canary",
                    "integrations.tms.dev/refresh-requested-at": "2026-05-01T12:00:00Z",
                },
            },
            "status": { "metadata": { "email": "canary" } },
        }));
        assert!(!redacted.to_string().contains("canary"), "{redacted}");
        assert_eq!(
            redacted["metadata"]["annotations"]["integrations.tms.dev/refresh-requested-at"],
            "2026-05-01T12:00:00Z"
        );
        assert!(redacted["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn parameters_that_are_secrets_by_name_or_look_go() {
        let redacted = object(&json!({ "spec": {
            "parameters": { "subdomain": "acme", "apiToken": "canary", "site": "Canary0123456789canaryCanary" },
            "oauth2": { "tokenURL": "https://a.example/token", "tokenParams": { "api_key": "canary", "audience": "x" } },
        } }));
        assert!(!redacted.to_string().to_lowercase().contains("canary"), "{redacted}");
        assert_eq!(redacted["spec"]["parameters"]["subdomain"], "acme");
        assert_eq!(redacted["spec"]["oauth2"]["tokenURL"], "https://a.example/token");
        assert_eq!(redacted["spec"]["oauth2"]["tokenParams"]["audience"], "x");
        let form =
            object(&json!({ "spec": { "parameters": { "apiToken": { "default": "canary", "title": "Token" } } } }));
        assert_eq!(form["spec"]["parameters"]["apiToken"]["default"], LEFT_OUT);
        assert_eq!(form["spec"]["parameters"]["apiToken"]["title"], "Token");
    }

    #[test]
    fn settings_of_the_operator_stay_and_others_go() {
        let redacted = object(&json!({
            "command": ["/integration-operator"],
            "args": ["run", "--public-url", "https://a.example", "--log=debug", "--api-token", "canary", "--x=canary", "canary"],
            "env": [
                { "name": "PUBLIC_URL", "value": "https://a.example" },
                { "name": "GREETING", "value": "canary" },
                { "name": "HTTPS_PROXY", "value": "http://u:canary@proxy" },
                { "name": "POD_UID", "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } } },
            ],
            "livenessProbe": { "httpGet": { "httpHeaders": [{ "name": "x", "value": "canary" }] } },
        }));
        assert!(!redacted.to_string().contains("canary"), "{redacted}");
        assert_eq!(redacted["args"][2], "https://a.example");
        assert_eq!(redacted["args"][3], "--log=debug");
        assert_eq!(redacted["env"][0]["value"], "https://a.example");
        assert_eq!(redacted["env"][3]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.uid");
    }
}
