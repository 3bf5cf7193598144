use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    api::provider::{Method, OAuth2, Pkce, RefreshProfile, Revocation, Rotation},
    provider::{
        expression::{Expression, Variables, without_tokens},
        template::UrlTemplate,
    },
};

fn expressions(spec: &ProviderSpec) -> Vec<String> {
    let identity = spec.identity.as_ref().and_then(|identity| identity.success.clone());
    let grant = spec.oauth2.as_ref().and_then(|oauth2| oauth2.grant_identity.clone());
    spec.metadata.values().chain(spec.secret_metadata.values()).cloned().chain(identity).chain(grant).collect()
}

fn urls(spec: &ProviderSpec) -> Vec<String> {
    let oauth2 = spec.oauth2.clone().unwrap_or_default();
    [
        oauth2.authorization_url,
        oauth2.token_url,
        oauth2.revocation_url,
        oauth2.revocation.and_then(|revocation| revocation.url),
    ]
    .into_iter()
    .flatten()
    .chain(spec.identity.clone().and_then(|identity| identity.call.url))
    .collect()
}

#[test]
fn every_document_is_read_and_nothing_in_it_is_lost() {
    for (name, document) in DOCUMENTS {
        let spec = preset(name).unwrap_or_default();
        let written: Option<Value> = serde_yaml::from_str(document).ok();
        assert!(written.is_some(), "{name}");
        // What is written and what is understood are the same, so no field is misspelt.
        assert_eq!(serde_json::to_value(&spec).ok(), written, "{name}");
        assert!(document.contains("# Facts: https://"), "{name}");
    }
    assert_eq!(names().collect::<Vec<_>>(), ["discord", "github", "slack"]);
    assert_eq!(preset("nosuch"), None);
}

#[test]
fn every_expression_compiles_and_every_url_is_https() {
    for name in names() {
        let spec = preset(name).unwrap_or_default();
        for source in expressions(&spec) {
            assert!(Expression::compile(&source).is_ok(), "{name}: {source}");
        }
        for url in urls(&spec) {
            assert!(url.starts_with("https://") && UrlTemplate::parse(&url).is_ok(), "{name}: {url}");
        }
    }
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
    assert_eq!(message.as_deref(), Some("there is no preset `slac`; there are discord, github, slack"));
}
