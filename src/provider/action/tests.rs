use serde_json::json;

use super::*;
use crate::api::ProviderKind;
use crate::api::provider::Action;

fn rules(action: Value) -> Result<ActionRules, ActionError> {
    rules_of(ProviderKind::ClusterIntegrationProvider, action)
}

fn rules_of(kind: ProviderKind, mut action: Value) -> Result<ActionRules, ActionError> {
    if action["name"].is_null() {
        action["name"] = json!("do-it");
    }
    let action: Action = serde_json::from_value(action).unwrap();
    let headers = BTreeMap::from([("User-Agent".to_owned(), "x".to_owned())]);
    let common = Common { kind, headers: &headers, carriers: &[http::header::AUTHORIZATION], has_base: true };
    Ok(ActionRules::all(&[action], common)?.remove(0))
}

fn built(action: Value, input: Value) -> Result<Built, BuildError> {
    let variables = Variables { input, metadata: json!({ "guildId": "G1" }), ..Variables::default() };
    rules(action).unwrap().build(&"https://api.example.com/v2/".parse().unwrap(), &variables, Some("key-1"))
}

#[test]
fn a_request_is_made_of_the_input() {
    let action = json!({
        "input": { "type": "object" },
        "request": {
            "method": "POST",
            "path": "/guilds/{metadata.guildId}/channels/{input.channel}",
            "query": { "q": "input.text", "n": "input.n", "left": "input.out", "yes": "true" },
            "headers": { "X-Version": "1" },
            "body": { "text": "input.text", "thread": "input.thread", "nested": { "a": "input.none" }, "two": 2, "list": ["input.text", "input.none"] },
        },
        "idempotency": { "header": "Idempotency-Key", "field": "nonce" },
    });
    let request = built(action, json!({ "channel": "a/../b?c", "text": "hi & \"ho\"", "n": 3 })).unwrap();
    assert_eq!(
        request.url.as_str(),
        "https://api.example.com/v2/guilds/G1/channels/a%2F..%2Fb%3Fc?n=3&q=hi+%26+%22ho%22&yes=true"
    );
    assert_eq!(request.headers["x-version"], "1");
    assert_eq!(request.headers["user-agent"], "x");
    assert_eq!(request.headers["idempotency-key"], "key-1");
    let body: Value = serde_json::from_slice(&request.body.unwrap()).unwrap();
    assert_eq!(body, json!({ "text": "hi & \"ho\"", "two": 2, "list": ["hi & \"ho\""], "nonce": "key-1" }));
}

#[test]
fn no_input_leaves_its_segment() {
    for bad in
        [json!(""), json!("."), json!(".."), json!("..."), json!(1.5), json!(null), json!({}), json!("x".repeat(600))]
    {
        let error = built(json!({ "request": { "path": "/a/{input.id}" } }), json!({ "id": bad })).unwrap_err();
        assert!(matches!(error, BuildError::Path(PathError::Value { .. })), "{bad}");
    }
    for (id, segment) in [
        ("../../admin", "..%2F..%2Fadmin"),
        ("%2e%2e", "%252e%252e"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("a\\b", "a%5Cb"),
        ("a#b", "a%23b"),
        ("a\r\nb", "a%0D%0Ab"),
    ] {
        let request = built(json!({ "request": { "path": "/a/{input.id}/b" } }), json!({ "id": id })).unwrap();
        assert_eq!(request.url.as_str(), format!("https://api.example.com/v2/a/{segment}/b"));
    }
}

#[test]
fn a_query_takes_no_lists() {
    let error = built(json!({ "request": { "path": "/a", "query": { "q": "input.list" } } }), json!({ "list": [1] }));
    assert!(matches!(error, Err(BuildError::Query(name)) if name == "q"));
}

#[test]
fn a_key_that_is_too_long_becomes_a_digest() {
    let place = KeyPlace { header: None, field: Some("nonce".to_owned()), longest: 25 };
    assert_eq!(place.fit("short"), "short");
    let (one, other) = (place.fit(&"a".repeat(26)), place.fit(&"a".repeat(27)));
    assert!(one != other && one.len() <= 25, "{one}");
    assert_eq!(one, place.fit(&"a".repeat(26)));
}

#[test]
fn mistakes_name_their_field() {
    let request = json!({ "path": "/a" });
    let token = json!({ "application": { "key": "bot_token", "prefix": "Bot " } });
    for (action, said) in [
        (json!({ "name": "Do", "request": request }), "actions: \"Do\" must be"),
        (json!({ "request": {} }), "actions.do-it.request.path is missing"),
        (json!({ "request": { "path": "a" } }), "actions.do-it.request.path: must begin with one /"),
        (json!({ "request": { "path": "//evil.example/a" } }), "actions.do-it.request.path: must begin"),
        (json!({ "request": { "path": "/a/../b" } }), "actions.do-it.request.path: must begin"),
        (json!({ "request": { "path": "/a?b" } }), "actions.do-it.request.path: must begin"),
        (json!({ "request": { "path": "/{id}" } }), "actions.do-it.request.path: has a misplaced brace"),
        (json!({ "request": { "path": "/{response.id}" } }), "actions.do-it.request.path: has a misplaced brace"),
        (json!({ "request": { "path": "/a", "body": {} } }), "actions.do-it.request.body is for POST"),
        (
            json!({ "request": { "path": "/a", "method": "POST", "body": { "a": ["input."] } } }),
            "actions.do-it.request.body.a: the expression is wrong",
        ),
        (
            json!({ "request": { "path": "/a", "headers": { "Authorization": "x" } } }),
            "actions.do-it.request.headers must not set Authorization",
        ),
        (json!({ "request": request, "input": { "type": "array" } }), "actions.do-it.input is no JSON Schema"),
        (
            json!({ "request": request, "input": { "type": "object", "properties": { "a": { "$ref": "https://evil.example" } } } }),
            "actions.do-it.input is no JSON Schema",
        ),
        (
            json!({ "request": request, "input": { "type": "object", "required": 1 } }),
            "actions.do-it.input is no JSON Schema",
        ),
        (json!({ "request": request, "credential": token }), "actions.do-it.target is missing"),
        (json!({ "request": request, "credential": {} }), "actions.do-it.credential is one of"),
        (
            json!({ "request": {}, "credential": { "captured": { "secretMetadata": "url", "hosts": ["com"] } } }),
            "actions.do-it.credential.captured.hosts",
        ),
        (json!({ "request": request, "idempotency": {} }), "actions.do-it.idempotency needs"),
        (json!({ "request": request, "idempotency": { "field": "n" } }), "actions.do-it.idempotency.field"),
        (
            json!({ "request": request, "idempotency": { "header": "authorization" } }),
            "actions.do-it.idempotency.header",
        ),
    ] {
        let error = rules(action.clone()).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(said), "{action}: {error}");
    }
    let target = json!({ "path": "/a", "holds": "true" });
    let bot = json!({ "request": request, "credential": token, "target": target });
    assert!(rules(bot.clone()).is_ok());
    let error = rules_of(ProviderKind::IntegrationProvider, bot).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("for ClusterIntegrationProvider only"), "{error}");
}
