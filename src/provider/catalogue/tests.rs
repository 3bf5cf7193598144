use std::collections::BTreeMap;

use serde_json::json;
use url::Url;

use super::*;
use crate::{
    api::ProviderKind,
    api::provider::{Method, OAuth2, Pkce, RefreshProfile, Revocation, Rotation},
    grant::binding::ProviderRef,
    provider::{
        discovery::ServerMetadata,
        endpoints::Endpoints,
        expression::{Expression, Variables, without_tokens},
        resolved::{Provider, Surroundings},
        template::UrlTemplate,
    },
};

/// Every string in a value that stands under one of these keys, with its place.
fn strings(value: &Value, wanted: &impl Fn(&str) -> bool, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                match value {
                    Value::String(text) if wanted(&path) => found.push((path, text.clone())),
                    _ => strings(value, wanted, &path, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, wanted, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// The CEL sources of a description.
fn expressions(spec: &Value) -> Vec<(String, String)> {
    let is_expression = |path: &str| {
        let field = path.rsplit('.').next().unwrap_or(path);
        let is_text = path.starts_with(".api.errors.advice.") || path.contains(".input.");
        !is_text
            && [
                "success",
                "grantIdentity",
                "baseURLFrom",
                "from",
                "permanentWhen",
                "transientWhen",
                "configurationWhen",
            ]
            .contains(&field)
            || path.starts_with(".metadata.")
            || path.starts_with(".secretMetadata.")
    };
    let mut found = Vec::new();
    strings(spec, &is_expression, "", &mut found);
    found
}

/// The addresses of a description.
fn urls(spec: &Value) -> Vec<(String, String)> {
    let is_url = |path: &str| {
        let field = path.rsplit('.').next().unwrap_or(path);
        (field.ends_with("URL") || field == "url" || field == "issuer")
            && !path.starts_with(".metadata.")
            && !path.starts_with(".secretMetadata.")
            && !path.starts_with(".actions")
    };
    let mut found = Vec::new();
    strings(spec, &is_url, "", &mut found);
    found
}

fn written(document: &str) -> Value {
    serde_yaml::from_str(document).unwrap_or_default()
}

#[test]
fn every_document_is_read_and_nothing_in_it_is_lost() {
    for (name, document) in &DOCUMENTS {
        let manifest = serde_yaml::from_str::<ClusterIntegrationProvider>(document);
        assert!(manifest.is_ok(), "{name}: {:?}", manifest.err());
        // What is written and what is understood are the same, so no field is misspelt.
        assert_eq!(
            manifest.ok().and_then(|manifest| serde_json::to_value(manifest).ok()),
            Some(written(document)),
            "{name}"
        );
        assert!(
            document.starts_with('#') && document.contains("# Facts: https://"),
            "{name} does not say where its facts are from"
        );
    }
}

#[test]
fn every_entry_says_what_it_is() {
    for (name, document) in &DOCUMENTS {
        let manifest = written(document);
        assert_eq!(manifest["metadata"]["name"], *name, "the name is not that of the file");
        let label = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        assert!(label && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-'), "{name} is no DNS label");
        assert!(!["lint", "test", "diff", "help"].contains(name), "{name} is a subcommand of `providers`");
        let Some(entry) = entry(name) else {
            panic!("{name}: {GRADE_ANNOTATION} must be verified or community, and {SOURCE_ANNOTATION} an address")
        };
        assert!(entry.source.starts_with("https://"), "{name}: {SOURCE_ANNOTATION} is {}", entry.source);
        assert!(entry.spec.display_name.is_some(), "{name} has no displayName");
        assert_ne!(Kind::of(&entry.spec), Kind::Neither, "{name} has neither oauth2 nor apiKey");
        assert_eq!((&entry.spec.preset, &entry.spec.client_credentials_ref), (&None, &None), "{name}");
    }
    assert_eq!(entries().count(), DOCUMENTS.len());
    assert_eq!(preset("nosuch"), None);
}

#[test]
fn every_expression_compiles_and_every_url_is_https() {
    for (name, document) in &DOCUMENTS {
        let spec = &written(document)["spec"];
        for (path, source) in expressions(spec) {
            let compiled = Expression::compile(&source);
            assert!(
                compiled.is_ok(),
                "{name}: {path}: {source}: {}",
                compiled.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
        for (path, url) in urls(spec) {
            assert!(url.starts_with("https://"), "{name}: {path}: {url}");
            assert!(UrlTemplate::parse(&url).is_ok(), "{name}: {path}: {url}: {:?}", UrlTemplate::parse(&url).err());
        }
    }
}

/// A description as a provider, as the operator would have it.
fn provider(name: &str, spec: &ProviderSpec) -> Provider {
    let public_url = Url::parse("https://connect.example.com").unwrap();
    let kind = ProviderKind::ClusterIntegrationProvider;
    let reference = ProviderRef { kind, namespace: None, name: name.to_owned(), uid: String::new() };
    // Discovery would have filled what an issuer's metadata says.
    let issuer = spec.oauth2.as_ref().and_then(|client| client.issuer.as_deref());
    let discovered = issuer.and_then(|issuer| {
        let metadata = json!({"issuer": issuer, "authorization_endpoint": issuer, "token_endpoint": issuer});
        serde_json::from_value::<ServerMetadata>(metadata).ok()
    });
    let around = Surroundings { reference, discovered: discovered.as_ref(), public_url: &public_url, tenant: None };
    match Provider::resolve(spec, &around) {
        Ok(provider) => provider,
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn every_entry_can_be_used() {
    for Entry { name, spec, .. } in entries() {
        let provider = provider(&name, &spec);
        let values = samples::values(&name, &spec);
        let Some(client) = &provider.oauth else { continue };
        let endpoints = Endpoints::render(&provider, client, "4711", &values);
        assert!(endpoints.is_ok(), "{name}: {:?}: {values:?}", endpoints.err());
        let Some(text) = spec.oauth2.as_ref().and_then(|client| client.authorization_url.as_deref()) else { continue };
        let described =
            values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
        let host = |url: &Url| url.host_str().map(str::to_owned);
        assert_eq!(
            endpoints.ok().as_ref().and_then(|found| host(&found.authorization)),
            Url::parse(&described).ok().as_ref().and_then(host),
            "{name}"
        );
    }
}

#[test]
fn the_catalogue_is_as_large_as_it_says() {
    let count = |wanted: &dyn Fn(&Entry) -> bool| entries().filter(|entry| wanted(entry)).count();
    let kind = |kind: Kind| count(&|entry| Kind::of(&entry.spec) == kind);
    let grade = |grade: Grade| count(&|entry| entry.grade == grade);
    let found =
        [kind(Kind::OAuth2), kind(Kind::ApiKey), kind(Kind::Both), grade(Grade::Verified), grade(Grade::Community)];
    let least = [177, 10, 1, 60, 110];
    let enough = found.iter().zip(least).all(|(found, least)| *found >= least);
    assert!(enough, "[oauth2, api-key, both, verified, community]: {found:?}, and should be {least:?} at least");
}

fn evaluate(source: &str, response: &Value, identity: &Value) -> Option<Value> {
    let variables =
        Variables { response: without_tokens(response), identity: identity.clone(), ..Variables::default() };
    Expression::compile(source).ok()?.evaluate(&variables).ok()
}

fn metadata(name: &str, response: &Value, identity: &Value) -> (Option<Value>, BTreeMap<String, Value>) {
    let spec = preset(name).unwrap_or_default();
    let grant = spec.oauth2.and_then(|oauth2| evaluate(&oauth2.grant_identity?, response, identity));
    let values = spec.metadata.into_iter().chain(spec.secret_metadata);
    (
        grant,
        values
            .filter_map(|(key, source)| {
                Some((key, evaluate(&source, response, identity).filter(|value| !value.is_null())?))
            })
            .collect(),
    )
}

#[test]
fn slack_answers_are_understood() {
    let response = json!({
        "ok": true, "access_token": "xoxb-1", "token_type": "bot", "scope": "chat:write", "bot_user_id": "U0", "app_id": "A0", "team": {"id": "T0", "name": "Acme"},
        "enterprise": null, "is_enterprise_install": false, "authed_user": {"id": "U1"},
        "incoming_webhook": {"channel": "#general", "channel_id": "C0", "configuration_url": "https://acme.slack.com/services/B0", "url": "https://hooks.slack.com/services/T0/B0/x"},
    });
    let (grant, values) = metadata("slack", &response, &Value::Null);
    assert_eq!(grant, Some(json!("T0")));
    let expected = json!({
        "workspaceId": "T0", "workspaceName": "Acme", "botUserId": "U0", "appId": "A0", "installedByUserId": "U1", "incomingWebhookChannel": "#general",
        "incomingWebhookChannelId": "C0", "incomingWebhookConfigurationURL": "https://acme.slack.com/services/B0",
        "incoming_webhook_url": "https://hooks.slack.com/services/T0/B0/x",
    });
    assert_eq!(serde_json::to_value(values).ok(), Some(expected));

    let organization = json!({"ok": true, "team": null, "enterprise": {"id": "E0", "name": "Acme Group"}, "is_enterprise_install": true});
    let (grant, values) = metadata("slack", &organization, &Value::Null);
    assert_eq!(grant, Some(json!("E0")));
    assert_eq!(values.get("enterpriseName"), Some(&json!("Acme Group")));
    assert_eq!(
        evaluate("identity.ok == true", &Value::Null, &json!({"ok": false, "error": "invalid_auth"})),
        Some(json!(false))
    );
}

#[test]
fn discord_and_github_answers_are_understood() {
    let response = json!({"access_token": "a", "scope": "bot identify guilds", "guild": {"id": "41771983423143937", "name": "Server"}});
    let (grant, values) =
        metadata("discord", &response, &json!({"application": {"id": "1"}, "user": {"id": "2", "username": "ann"}}));
    assert_eq!(grant, Some(json!("41771983423143937")));
    assert_eq!(
        serde_json::to_value(values).ok(),
        Some(json!({
            "guildId": "41771983423143937", "guildName": "Server", "applicationId": "1", "userId": "2", "username": "ann",
        }))
    );

    let (grant, values) =
        metadata("github", &json!({"scope": "repo,gist"}), &json!({"id": 583_231, "login": "octocat", "name": null}));
    assert_eq!(grant, Some(json!("583231")));
    assert_eq!(
        serde_json::to_value(values).ok(),
        Some(json!({"id": 583_231, "login": "octocat", "scopes": "repo,gist"}))
    );
}

#[test]
fn the_object_goes_over_its_preset() {
    let spec = ProviderSpec {
        preset: Some("slack".to_owned()),
        display_name: Some("Ours".to_owned()),
        oauth2: Some(OAuth2 {
            token_url: Some("http://127.0.0.1:9/token".to_owned()),
            scopes: Some(vec!["chat:write".to_owned()]),
            pkce: Some(Pkce::S256),
            ..OAuth2::default()
        }),
        metadata: BTreeMap::from([("workspaceId".to_owned(), "response.x".to_owned())]),
        ..ProviderSpec::default()
    };
    let merged = with_preset(&spec).unwrap_or_default();
    let oauth2 = merged.oauth2.clone().unwrap_or_default();
    assert_eq!(merged.preset.as_deref(), Some("slack"));
    assert_eq!(merged.display_name.as_deref(), Some("Ours"));
    assert_eq!(oauth2.token_url.as_deref(), Some("http://127.0.0.1:9/token"));
    assert_eq!(oauth2.authorization_url.as_deref(), Some("https://slack.com/oauth/v2/authorize"));
    assert_eq!(oauth2.scopes, Some(vec!["chat:write".to_owned()]));
    assert_eq!(oauth2.pkce, Some(Pkce::S256));
    assert_eq!(oauth2.refresh.and_then(|refresh| refresh.rotation), Some(Rotation::Grace));
    assert_eq!(merged.metadata.get("workspaceId").map(String::as_str), Some("response.x"));
    assert_eq!(merged.metadata.get("appId").map(String::as_str), Some("response.app_id"));
    assert_eq!(merged.identity, preset("slack").unwrap_or_default().identity);
}

#[test]
fn every_url_can_be_moved_alone() {
    let moved = |preset: &str| -> ProviderSpec {
        let spec = json!({
            "preset": preset,
            "oauth2": {"revocation": {"url": "http://127.0.0.1:9/revoke"}},
            "identity": {"url": "http://127.0.0.1:9/me"},
        });
        let spec = serde_json::from_value(spec).unwrap_or_default();
        with_preset(&spec).unwrap_or_default()
    };
    let slack = moved("slack");
    let identity = slack.identity.unwrap_or_default();
    assert_eq!(identity.call.url.as_deref(), Some("http://127.0.0.1:9/me"));
    assert_eq!(identity.call.method, Some(Method::Post));
    assert_eq!(identity.success.as_deref(), Some("identity.ok == true"));
    let revocation = moved("github").oauth2.and_then(|oauth2| oauth2.revocation).unwrap_or_default();
    let original = preset("github").and_then(|spec| spec.oauth2?.revocation).unwrap_or_default();
    assert_eq!(revocation, Revocation { url: Some("http://127.0.0.1:9/revoke".to_owned()), ..original });
}

#[test]
fn a_rotation_of_its_own_is_a_profile_of_its_own() {
    let refresh = RefreshProfile { rotation: Some(Rotation::Strict), ..RefreshProfile::default() };
    let spec = ProviderSpec {
        preset: Some("slack".to_owned()),
        oauth2: Some(OAuth2 { refresh: Some(refresh), ..OAuth2::default() }),
        ..ProviderSpec::default()
    };
    let refresh = with_preset(&spec).ok().and_then(|merged| merged.oauth2?.refresh);
    assert_eq!(refresh.and_then(|refresh| refresh.rotation), Some(Rotation::Strict));
}

#[test]
fn without_a_preset_nothing_changes_and_an_unknown_one_is_an_error() {
    let spec = ProviderSpec { display_name: Some("Ours".to_owned()), ..ProviderSpec::default() };
    assert_eq!(with_preset(&spec).ok(), Some(spec));
    let unknown = ProviderSpec { preset: Some("slac".to_owned()), ..ProviderSpec::default() };
    let message = with_preset(&unknown).err().map(|error| error.to_string());
    assert_eq!(
        message.as_deref(),
        Some("there is no preset `slac` (`integration-operator providers` lists all); did you mean slack?")
    );
}
