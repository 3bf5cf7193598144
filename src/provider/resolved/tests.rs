use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::grant::ClientCredentials;
use crate::provider::endpoints::{Endpoints, RenderError};

/// A cluster provider of this description.
pub(crate) fn resolved(spec: &ProviderSpec) -> Provider {
    resolve(&serde_json::to_value(spec).unwrap()).unwrap()
}

/// A description with everything that must be there, and `over` on top.
fn resolve(over: &Value) -> Result<Provider, ProviderError> {
    fn merge(base: &mut Value, over: &Value) {
        match (base, over) {
            (Value::Object(base), Value::Object(over)) => {
                over.iter().for_each(|(key, value)| merge(base.entry(key).or_insert(Value::Null), value));
            }
            (base, over) => *base = over.clone(),
        }
    }
    let mut spec = json!({ "oauth2": {
        "authorizationURL": "https://app.example/authorize", "tokenURL": "https://app.example/token",
    }});
    merge(&mut spec, over);
    let public_url = Url::parse("https://connect.example").unwrap();
    let around = Surroundings {
        reference: ProviderRef {
            kind: ProviderKind::ClusterIntegrationProvider,
            namespace: None,
            name: "app".into(),
            uid: "uid".into(),
        },
        discovered: None,
        public_url: &public_url,
        tenant: None,
    };
    Provider::resolve(&serde_json::from_value(spec).unwrap(), &around)
}

/// The OAuth client of a description.
pub(in crate::provider) fn client(oauth2: &Value) -> OAuthClient {
    resolve(&json!({ "oauth2": oauth2 })).unwrap().oauth.unwrap()
}

fn render(over: &Value, values: &Value) -> Result<Endpoints, RenderError> {
    let provider = resolve(over).unwrap();
    let values: BTreeMap<String, String> = serde_json::from_value(values.clone()).unwrap();
    Endpoints::render(&provider, provider.oauth.as_ref().unwrap(), "id 1", &values)
}

#[test]
fn mistakes_name_the_field() {
    for (over, expected) in [
        (json!({ "oauth2": { "parameterNames": { "colour": "c" } } }), "oauth2.parameterNames.colour is no parameter"),
        (json!({ "oauth2": { "parameterNames": { "scope": "" } } }), "oauth2.parameterNames.scope must have a name"),
        (json!({ "oauth2": { "parameterNames": { "scope": "a b" } } }), "oauth2.parameterNames.scope must have a name"),
        (
            json!({ "oauth2": { "parameterNames": { "scope": "client_id" } } }),
            "oauth2.parameterNames.scope has a name that another parameter has already",
        ),
        (
            json!({ "oauth2": { "parameterNames": { "scope": "x", "state": "x" } } }),
            "oauth2.parameterNames.state has a name that another",
        ),
        (
            json!({ "oauth2": { "parameterNames": { "scope": "prompt" }, "authorizationParams": { "prompt": "x" } } }),
            "oauth2.parameterNames.scope has a name that another",
        ),
        (
            json!({ "oauth2": {
                "parameterNames": { "scope": "user_scope" },
                "tokenSets": { "user": { "scopeParameter": "user_scope", "accessToken": "/user/access_token" } },
            } }),
            "oauth2.parameterNames.scope has a name that another",
        ),
        (
            json!({ "oauth2": { "parameterNames": { "token": "t" }, "tokenParams": { "token": "x" } } }),
            "oauth2.tokenParams must not set token",
        ),
        (json!({ "oauth2": { "tokenParams": { "code_verifier": "x" } } }), "oauth2.tokenParams must not set"),
        (json!({ "oauth2": { "tokenHeaders": { "a b": "x" } } }), "oauth2.tokenHeaders.a b is not the name"),
        (json!({ "oauth2": { "tokenHeaders": { "x-a": "x\ny" } } }), "oauth2.tokenHeaders.x-a has a value that no"),
        (
            json!({ "oauth2": { "tokenHeaders": { "Authorization": "x" } } }),
            "oauth2.tokenHeaders.Authorization is set by",
        ),
        (json!({ "oauth2": { "tokenHeaders": { "X-A": "x", "x-a": "y" } } }), "oauth2.tokenHeaders.x-a is there twice"),
        (json!({ "oauth2": { "refreshURL": "not a url" } }), "oauth2.refreshURL: "),
        (
            json!({ "oauth2": { "refreshParams": { "audience": "https://{site}/" } } }),
            "oauth2.refreshParams uses {site}, but spec.parameters has no such entry",
        ),
        (
            json!({ "oauth2": { "tokenURL": "https://app.example/{team}/token" }, "parameters": { "team": { "optional": true } } }),
            "oauth2.tokenURL uses {team} in its host or path; give parameters.team a default",
        ),
        (json!({ "parameters": { "team": { "default": "a/b" } } }), "parameters.team.default: "),
        (
            json!({ "oauth2": { "tokenResponse": { "accessToken": "data" } } }),
            "oauth2.tokenResponse.accessToken: \"data\"",
        ),
        (json!({ "oauth2": { "tokenResponse": { "error": "/a~2" } } }), "oauth2.tokenResponse.error: \"/a~2\""),
        (json!({ "oauth2": { "tokenSets": { "user": {} } } }), "oauth2.tokenSets.user.accessToken is missing; "),
    ] {
        let error = resolve(&over).expect_err(&over.to_string()).to_string();
        assert!(error.starts_with(expected), "{over}: {error}");
    }
}

#[test]
fn a_mistake_in_an_expression_shows_its_field_and_place() {
    for field in [
        "/oauth2/tokenResponse/success",
        "/oauth2/errors/permanentWhen",
        "/oauth2/errors/transientWhen",
        "/oauth2/errors/configurationWhen",
        "/oauth2/revocation/success",
        "/oauth2/grantIdentity",
        "/metadata/team",
        "/secretMetadata/hook",
    ] {
        let mut over = json!({ "oauth2": { "revocation": { "url": "https://app.example/revoke" } } });
        let mut place = &mut over;
        for key in field.split('/').skip(1) {
            place = &mut place[key];
        }
        *place = json!("response.ok ==");
        let error = resolve(&over).expect_err(field).to_string();
        let expected = format!("{}: the expression is wrong at line 1, column ", field[1..].replace('/', "."));
        assert!(error.starts_with(&expected), "{field}: {error}");
    }
}

#[test]
fn values_of_the_form_go_into_extra_parameters() {
    let over = json!({
        "oauth2": {
            "authorizationParams": { "audience": "https://{site}.example.com", "team": "{team}", "plan": "{plan}", "prompt": "consent" },
            "tokenParams": { "resource": "{site}/{plan}" },
            "refreshParams": { "resource": "{team}" },
        },
        "parameters": { "site": {}, "team": { "optional": true, "pattern": ".*" }, "plan": { "default": "free" } },
    });
    let endpoints = render(&over, &json!({ "site": "acme" })).unwrap();
    let map = |value: Value| serde_json::from_value::<BTreeMap<String, String>>(value).unwrap();
    let expected = map(json!({ "audience": "https://acme.example.com", "plan": "free", "prompt": "consent" }));
    assert_eq!(endpoints.authorization_params, expected, "one without its value is left out");
    assert_eq!(endpoints.token.code_params, map(json!({ "resource": "acme/free" })));
    assert!(endpoints.token.refresh_params.is_empty());
    let endpoints = render(&over, &json!({ "site": "acme", "team": "a&state=x" })).unwrap();
    assert_eq!(endpoints.authorization_params["team"], "a&state=x");
    assert!(matches!(render(&over, &json!({})), Err(RenderError::Missing { name }) if name == "site"));
    assert!(matches!(render(&over, &json!({ "site": "a/b" })), Err(RenderError::Value { name, .. }) if name == "site"));
}

#[test]
fn an_optional_value_leaves_its_part_of_a_query_out() {
    let over = json!({
        "oauth2": { "authorizationURL": "https://app.example/authorize?team={team}&fixed=1&client={client_id}" },
        "parameters": { "team": { "optional": true } },
    });
    let url = |values: Value| render(&over, &values).unwrap().authorization.to_string();
    assert_eq!(url(json!({})), "https://app.example/authorize?fixed=1&client=id%201");
    assert_eq!(url(json!({ "team": "t1" })), "https://app.example/authorize?team=t1&fixed=1&client=id%201");
}

#[test]
fn the_place_of_a_refresh_is_part_of_what_a_grant_is_bound_to() {
    let binding = |over: Value| {
        let provider = resolve(&over).unwrap();
        let client = provider.oauth.as_ref().unwrap();
        let endpoints = Endpoints::render(&provider, client, "id", &BTreeMap::new()).unwrap();
        endpoints.binding(&provider, client, &ClientCredentials::new("id", None))
    };
    let plain = binding(json!({}));
    let own = binding(json!({ "oauth2": { "refreshURL": "https://refresh.example/" } }));
    assert_ne!(plain.digest(), own.digest());
    assert_eq!(own.refresh_url.as_ref().unwrap().as_str(), "https://refresh.example/");
    assert!(!serde_json::to_string(&plain).unwrap().contains("refreshUrl"), "grants without it look as before");
}
