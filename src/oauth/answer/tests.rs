use super::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn answer(status: u16, body: &Value) -> Answer {
    read_by(&AnswerRules::default(), status, body)
}

fn read_by(rules: &AnswerRules, status: u16, body: &Value) -> Answer {
    read(status, body.to_string().as_bytes(), rules, NOW)
}

fn tokens_by(rules: &AnswerRules, body: &Value) -> TokenAnswer {
    match read_by(rules, 200, body) {
        Answer::Tokens(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

fn refused_by(rules: &AnswerRules, status: u16, body: &Value) -> TokenRefusal {
    match read_by(rules, status, body) {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The rules of `oauth2:` in a description.
fn rules(oauth2: Value) -> AnswerRules {
    AnswerRules::new(&serde_json::from_value(oauth2).unwrap()).unwrap()
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
    let described = rules(json!({ "errors": { "transient": ["ratelimited"] } }));
    let refusal = refused_by(&described, 200, &json!({ "ok": false, "error": "ratelimited" }));
    assert_eq!((refusal.class, refusal.described), (ErrorClass::Transient, true));
}

#[test]
fn what_is_no_answer_at_all() {
    for body in ["<html>", "", "[]", "{}", "{\"access_token\":\"\"}", "{\"access_token\":\"a\\nb\"}", "{\"access_"] {
        assert!(matches!(read(200, body.as_bytes(), &AnswerRules::default(), NOW), Answer::Unreadable(_)), "{body}");
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

#[test]
fn what_says_that_there_is_no_error_is_none() {
    for error in [json!(null), json!(""), json!(false), json!(0)] {
        assert!(matches!(answer(200, &json!({ "access_token": "a", "error": error })), Answer::Tokens(_)), "{error}");
    }
    for error in [json!("no"), json!(true), json!(7), json!({}), json!([])] {
        assert!(matches!(answer(200, &json!({ "access_token": "a", "error": error })), Answer::Refused(_)), "{error}");
    }
}

#[test]
fn tokens_lie_where_the_description_says() {
    let described = rules(json!({ "tokenResponse": {
        "accessToken": "/data/key", "refreshToken": "/data/renewal", "tokenType": "/data/kind", "scope": "/data/may",
        "expiresIn": "/data/until", "refreshTokenExpiresIn": "/data/renewalUntil", "expiry": "UnixMilliseconds",
    }}));
    let body = json!({
        "data": { "key": "a-1", "renewal": "r-1", "kind": "bot", "may": "x,y", "until": "60000", "renewalUntil": 120_000 },
        "access_token": "another", "team": "T1",
    });
    let read = tokens_by(&described, &body);
    assert_eq!(read.access_token.expose(), "a-1");
    assert_eq!(read.refresh_token.unwrap().expose(), "r-1");
    assert_eq!(read.token_type, "bot");
    assert_eq!(read.scopes.unwrap(), ["x", "y"]);
    assert_eq!(read.lifetime.unwrap().as_secs(), 60);
    assert_eq!(read.refresh_token_lifetime.unwrap().as_secs(), 120);
    let told = json!({
        "data": { "kind": "bot", "may": "x,y", "until": "60000", "renewalUntil": 120_000 }, "team": "T1",
    });
    assert_eq!(read.body, told, "expressions see no token");
    let without = json!({ "access_token": "another" });
    assert!(matches!(read_by(&described, 200, &without), Answer::Unreadable(_)), "the main token is needed");
}

#[test]
fn further_tokens_lie_beside_each_other() {
    let described = rules(json!({ "tokenSets": {
        "user": { "accessToken": "/authed_user/access_token" },
        "admin": { "accessToken": "/admin" },
        "broken": { "accessToken": "/broken/token" },
        "absent": { "accessToken": "/nowhere/token" },
    }}));
    let body = json!({
        "access_token": "bot", "refresh_token": "bot-r", "expires_in": 60, "admin": "boss", "scope": "a",
        "authed_user": { "access_token": "user", "refresh_token": "user-r", "token_type": "user", "expires_in": 30, "scope": "b" },
        "broken": { "token": "a\nb" },
    });
    let read = tokens_by(&described, &body);
    assert_eq!(read.access_token.expose(), "bot");
    assert_eq!(read.sets.keys().collect::<Vec<_>>(), ["admin", "user"]);
    let user = &read.sets["user"];
    assert_eq!(user.access_token.expose(), "user");
    assert_eq!(user.refresh_token.as_ref().unwrap().expose(), "user-r");
    assert_eq!((user.token_type.as_str(), user.lifetime.unwrap().as_secs()), ("user", 30));
    assert_eq!(user.scopes.as_deref().unwrap(), ["b"]);
    assert!(read.body.get("admin").is_none(), "a token by a name that does not say so is cut out too");
    let alone = tokens_by(
        &described,
        &json!({ "access_token": "bot", "refresh_token": "r", "authed_user": { "access_token": "u" } }),
    );
    assert!(alone.sets["user"].refresh_token.is_none(), "no set takes the token of another");
}

#[test]
fn a_yes_is_what_the_description_says() {
    let described = rules(json!({ "tokenResponse": {
        "accessToken": "/data/key", "success": "response.code == 0 && !has(response.data.key)",
        "error": "/code", "errorDescription": "/msg",
    }}));
    assert_eq!(tokens_by(&described, &json!({ "code": 0, "data": { "key": "a" } })).access_token.expose(), "a");
    let refusal = refused_by(&described, 200, &json!({ "code": 40001, "msg": "no such code", "message": "other" }));
    assert_eq!((refusal.code.as_str(), refusal.description.as_deref()), ("40001", Some("no such code")));
    assert_eq!(refusal.class, ErrorClass::Configuration);
    let refusal = refused_by(&described, 200, &json!({ "data": { "key": "a" } }));
    assert_eq!((refusal.code.as_str(), refusal.class), ("HTTP 200", ErrorClass::Transient));
    let refusal = refused_by(&described, 400, &json!({ "code": 0, "data": { "key": "a" } }));
    assert_eq!(refusal.code, "HTTP 400", "another status than 2xx is no yes whatever the body says");
    let foolish = rules(json!({ "tokenResponse": { "success": "response.n + 'a' == 1" } }));
    let read = read_by(&foolish, 200, &json!({ "access_token": "a", "n": 1 }));
    assert!(matches!(read, Answer::Unreadable(_)), "nothing is concluded from a mistake of the expression");
}

#[test]
fn expressions_come_before_words_and_permanent_first() {
    let described = rules(json!({ "errors": {
        "permanent": ["expired"],
        "permanentWhen": "response.message.contains('revoked')",
        "transientWhen": "status == 400 && response.retry == true",
        "configurationWhen": "response.message.contains('client')",
    }}));
    for (status, body, class) in [
        (400, json!({ "error": "invalid_request", "message": "revoked" }), ErrorClass::Permanent),
        (400, json!({ "error": "expired", "retry": true, "message": "" }), ErrorClass::Transient),
        (403, json!({ "error": "expired", "retry": true, "message": "" }), ErrorClass::Permanent),
        (400, json!({ "error": "invalid_grant", "message": "wrong client" }), ErrorClass::Configuration),
        (400, json!({ "error": "invalid_request", "message": "client revoked" }), ErrorClass::Permanent),
        (400, json!({ "error": "invalid_request", "message": "revoked", "retry": true }), ErrorClass::Permanent),
        // An expression that cannot be evaluated says nothing.
        (400, json!({ "error": "invalid_grant", "message": 7 }), ErrorClass::Permanent),
        (400, json!({ "error": "invalid_scope" }), ErrorClass::Configuration),
    ] {
        assert_eq!(refused_by(&described, status, &body).class, class, "{status} {body}");
    }
    let only_status = rules(json!({ "errors": { "permanentWhen": "status == 410" } }));
    let Answer::Refused(refusal) = read(410, b"<html>", &only_status, NOW) else { panic!() };
    assert_eq!(refusal.class, ErrorClass::Permanent, "a body that is no JSON is null");
}

#[test]
fn what_is_the_clients_fault_is_known() {
    let described = rules(json!({ "errors": { "configuration": ["bad_client_secret"] } }));
    for (status, error, of_client) in [
        (400, "invalid_client", true),
        (401, "who_are_you", true),
        (200, "bad_client_secret", true),
        (400, "invalid_request", false),
        (400, "unauthorized_client", false),
        (401, "invalid_grant", false),
    ] {
        assert_eq!(refused_by(&described, status, &json!({ "error": error })).of_client, of_client, "{status} {error}");
    }
}
