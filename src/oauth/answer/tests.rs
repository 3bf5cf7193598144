use super::*;
use serde_json::json;

fn answer(status: u16, body: &Value) -> Answer {
    read(status, body.to_string().as_bytes(), &ErrorWords::default())
}

#[allow(clippy::needless_pass_by_value)]
fn lifetime_of(expires_in: Value) -> Option<i64> {
    match answer(200, &json!({ "access_token": "a", "expires_in": expires_in })) {
        Answer::Tokens(answer) => answer.lifetime.map(|lifetime| lifetime.as_secs()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lifetimes_as_servers_send_them() {
    assert_eq!(lifetime_of(json!(3600)), Some(3600));
    assert_eq!(lifetime_of(json!("3600")), Some(3600));
    assert_eq!(lifetime_of(json!(0.001)), Some(1));
    assert_eq!(lifetime_of(json!(1e99)), Some(MAX_LIFETIME.as_secs()));
    for nonsense in [json!(0), json!(-1), json!(null), json!("soon"), json!([]), json!(true)] {
        assert_eq!(lifetime_of(nonsense.clone()), None, "{nonsense}");
    }
}

#[test]
fn token_types() {
    for (sent, kept) in [(json!("bEaReR"), "Bearer"), (json!("bot"), "bot"), (json!(null), "Bearer")] {
        let Answer::Tokens(answer) = answer(201, &json!({ "access_token": "a", "token_type": sent })) else {
            panic!("not taken")
        };
        assert_eq!(answer.token_type, kept);
    }
}

#[test]
fn empty_and_null_refresh_tokens_mean_none() {
    for sent in [json!(null), json!(""), json!(7)] {
        let Answer::Tokens(answer) = answer(200, &json!({ "access_token": "a", "refresh_token": sent })) else {
            panic!("not taken")
        };
        assert!(answer.refresh_token.is_none());
    }
}

#[test]
fn scopes_in_every_form() {
    for sent in [json!("a b"), json!("a,b"), json!(["a", "b"]), json!("a, b")] {
        let Answer::Tokens(answer) = answer(200, &json!({ "access_token": "a", "scope": sent })) else {
            panic!("not taken")
        };
        assert_eq!(answer.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}

#[test]
fn refusals_with_status_200_and_the_others() {
    let class = |status, body: &Value| match answer(status, body) {
        Answer::Refused(refusal) => refusal.class,
        other => panic!("{other:?}"),
    };
    assert_eq!(class(400, &json!({ "error": "invalid_grant" })), ErrorClass::Permanent);
    assert_eq!(class(403, &json!({ "error": "invalid_grant" })), ErrorClass::Permanent);
    assert_eq!(class(401, &json!({ "error": "invalid_client" })), ErrorClass::Configuration);
    assert_eq!(class(200, &json!({ "ok": false, "error": "ratelimited" })), ErrorClass::Configuration);
    assert_eq!(class(503, &json!({})), ErrorClass::Transient);
    assert_eq!(class(429, &json!({ "error": "slow_down" })), ErrorClass::Transient);
    let words = ErrorWords { transient: vec!["ratelimited".into()], ..ErrorWords::default() };
    let Answer::Refused(refusal) = read(200, br#"{"ok":false,"error":"ratelimited"}"#, &words) else { panic!() };
    assert_eq!(refusal.class, ErrorClass::Transient);
}

#[test]
fn what_is_no_answer_at_all() {
    for body in ["<html>", "", "[]", "{}", "{\"access_token\":\"\"}", "{\"access_token\":\"a\\nb\"}", "{\"access_"] {
        assert!(matches!(read(200, body.as_bytes(), &ErrorWords::default()), Answer::Unreadable(_)), "{body}");
    }
    let large = json!({ "access_token": "x".repeat(MAX_TOKEN + 1) });
    assert!(matches!(answer(200, &large), Answer::Unreadable(_)));
}

#[test]
fn descriptions_are_tamed() {
    let body = json!({ "error": "invalid_grant\u{1b}[31m", "error_description": "a\nb\u{202e}c".repeat(400) });
    let Answer::Refused(refusal) = answer(400, &body) else { panic!() };
    assert_eq!(refusal.code, "invalid_grant[31m");
    assert!(refusal.description.unwrap().len() <= 256);
}
