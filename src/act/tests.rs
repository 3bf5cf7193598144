use std::sync::Mutex;

use http::StatusCode;
use serde_json::json;

use super::*;
use crate::api::provider::ProviderSpec;
use crate::provider::gate::GateOptions;
use crate::provider::outbound::{OutboundResponse, Player};

/// Gives answers in their order, and writes requests down.
#[derive(Default)]
struct Script {
    answers: Mutex<Vec<(u16, Value)>>,
    requests: Mutex<Vec<(String, Value)>>,
    carried: Mutex<Vec<String>>,
}

impl Player for Script {
    fn play(&self, request: &OutboundRequest) -> Result<OutboundResponse, SendError> {
        let body = request.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        self.requests.lock().unwrap().push((format!("{} {}", request.method, request.url), body));
        let carried = request.headers.get("authorization").map(|value| value.to_str().unwrap()).unwrap_or_default();
        self.carried.lock().unwrap().push(carried.to_owned());
        let (status, body) = self.answers.lock().unwrap().remove(0);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Ok(OutboundResponse { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body })
    }
}

/// What came of an action, and the requests that were made for it: method and address, and the JSON body.
pub(super) struct Played {
    pub(super) outcome: Result<Done, Failure>,
    pub(super) requests: Vec<(String, Value)>,
}

/// Carries out an action of a description; whatever it acts with is `hunter2hunter2`.
pub(super) async fn carry_out(
    spec: &ProviderSpec,
    action: &str,
    base: &str,
    input: Value,
    answers: &[(u16, Value)],
) -> Played {
    let provider = crate::provider::resolved::tests::resolved(spec);
    let rules = provider.actions.iter().find(|rules| rules.name == action).unwrap();
    let problems: Vec<_> = rules.input.iter_errors(&input).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{action}: {problems:?}");
    let script = Arc::new(Script { answers: Mutex::new(answers.to_vec()), ..Script::default() });
    let actor = Actor {
        outbound: &Outbound::played(script.clone()),
        gates: &Gates::new(GateOptions::default()),
        uid: "uid-1",
        errors: &provider.errors,
        base: &base.parse().unwrap(),
        credential: Some((http::header::AUTHORIZATION, HeaderValue::from_static("Bearer hunter2hunter2"))),
        private_networks: Arc::from([]),
        variables: Variables { input, metadata: json!({ "guildId": "G1" }), ..Variables::default() },
        secrets: vec!["hunter2hunter2"],
    };
    let outcome = actor.act(rules, "key-1").await;
    assert!(script.carried.lock().unwrap().iter().all(|carried| carried == "Bearer hunter2hunter2"));
    let requests = script.requests.lock().unwrap().clone();
    Played { outcome, requests }
}

async fn act(action: Value, input: Value, answers: &[(u16, Value)]) -> (Result<Done, Failure>, Vec<(String, Value)>) {
    let name = action["name"].as_str().unwrap().to_owned();
    let spec: ProviderSpec = serde_json::from_value(json!({
        "apiKey": {},
        "api": { "baseURL": "https://api.example.com/v1", "errors": {
            "code": "response.error", "message": "response.text", "limited": ["slow_down"], "expired": ["token_expired"],
            "advice": { "not_in_channel": "Invite the bot.", "404": "Look for it." },
        } },
        "actions": [action],
    }))
    .unwrap();
    let Played { outcome, requests } = carry_out(&spec, &name, "https://api.example.com/v1", input, answers).await;
    (outcome, requests)
}

fn post() -> Value {
    json!({
        "name": "post", "input": { "type": "object" },
        "request": { "method": "POST", "path": "/post", "body": { "text": "input.text" } },
        "success": "response.ok == true",
        "result": { "id": "response.id" },
        "next": "response.next",
    })
}

#[tokio::test(start_paused = true)]
async fn an_answer_becomes_a_result() {
    let answer = (200, json!({ "ok": true, "id": 7, "next": "c2" }));
    let (done, requests) = act(post(), json!({ "text": "hi" }), &[answer]).await;
    assert_eq!(done.unwrap(), Done { status: 200, result: json!({ "id": 7 }), next: Some(json!("c2")) });
    assert_eq!(requests, [("POST https://api.example.com/v1/post".to_owned(), json!({ "text": "hi" }))]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_apps_word_and_advice() {
    let refused = json!({ "ok": false, "error": "not_in_channel", "text": "no\nway" });
    let (failure, requests) = act(post(), json!({}), &[(200, refused)]).await;
    let Failure::Refused(refusal) = failure.unwrap_err() else { panic!("not refused") };
    assert_eq!(refusal.code.as_deref(), Some("not_in_channel"));
    assert_eq!(refusal.message.as_deref(), Some("noway"));
    assert_eq!(refusal.advice.as_deref(), Some("Invite the bot."));
    assert_eq!(requests.len(), 1);
    let (failure, _) = act(post(), json!({}), &[(404, Value::Null)]).await;
    assert!(matches!(failure, Err(Failure::Refused(refusal)) if refusal.advice.as_deref() == Some("Look for it.")));
}

#[tokio::test(start_paused = true)]
async fn words_and_statuses_are_told_apart() {
    let word = |word: &str| json!({ "ok": false, "error": word });
    for (answer, outcome) in [
        ((200, word("slow_down")), "limited"),
        ((429, Value::Null), "limited"),
        ((200, word("token_expired")), "unauthorized"),
        ((401, Value::Null), "unauthorized"),
        ((302, Value::Null), "refused"),
        ((422, Value::Null), "refused"),
        ((503, Value::Null), "unavailable"),
    ] {
        let (failure, requests) = act(post(), json!({}), std::slice::from_ref(&answer)).await;
        assert_eq!(failure.unwrap_err().outcome(), outcome, "{answer:?}");
        assert_eq!(requests.len(), 1, "a POST without a key is sent once: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_safe_to_repeat_is_repeated() {
    let mut action = post();
    action["idempotency"] = json!({ "field": "nonce" });
    let answers = [(503, Value::Null), (500, Value::Null), (200, json!({ "ok": true }))];
    let (done, requests) = act(action, json!({}), &answers).await;
    assert!(done.is_ok());
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|(_, body)| body["nonce"] == "key-1"), "{requests:?}");
    let read = json!({ "name": "read", "request": { "path": "/read" } });
    let (failure, requests) = act(read, json!({}), &[(503, Value::Null), (503, Value::Null), (503, Value::Null)]).await;
    assert!(matches!(failure, Err(Failure::Failed(_))));
    assert_eq!(requests.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_target_is_proven_first() {
    let mut action = post();
    action["target"] = json!({ "path": "/channels/{input.channel}", "holds": "response.guild_id == metadata.guildId" });
    let ours = (200, json!({ "guild_id": "G1" }));
    let input = json!({ "channel": "C1" });
    let (done, requests) = act(action.clone(), input.clone(), &[ours, (200, json!({ "ok": true }))]).await;
    assert!(done.is_ok());
    assert_eq!(requests[0].0, "GET https://api.example.com/v1/channels/C1");
    for other in [
        (200, json!({ "guild_id": "G2" })),
        (200, json!({ "guild_id": null })),
        (200, json!({})),
        (200, json!([])),
        (200, Value::Null),
        (404, Value::Null),
        (403, Value::Null),
    ] {
        let (failure, requests) = act(action.clone(), input.clone(), std::slice::from_ref(&other)).await;
        assert!(matches!(failure, Err(Failure::NotOurs)), "{other:?}");
        assert_eq!(requests.len(), 1, "nothing is done: {other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_never_holds_the_credential() {
    let read = json!({ "name": "read", "request": { "path": "/read" } });
    let (done, _) = act(read.clone(), json!({}), &[(200, json!({ "echo": "Bearer hunter2hunter2" }))]).await;
    assert_eq!(done.unwrap().result, Value::Null);
    let (done, _) = act(read, json!({}), &[(200, json!({ "id": 1, "access_token": "other" }))]).await;
    assert_eq!(done.unwrap().result, json!({ "id": 1 }));
    let refused = json!({ "ok": false, "error": "hunter2hunter2", "text": "hunter2hunter2" });
    let (failure, _) = act(post(), json!({}), &[(200, refused)]).await;
    let Err(Failure::Refused(refusal)) = failure else { panic!("not refused") };
    assert_eq!((refusal.code, refusal.message), (None, None));
}
